import errno
import os
import re
import zlib
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from landscape import plots
from landscape.errors import LandscapeError
from landscape.spectra import top_eigenpairs


def test_every_format_is_written_and_nothing_else(valley, tmp_path):
    files = plots.save(plots.contour(valley), tmp_path / "deep" / "fig.v2", dpi=100)
    assert files == [tmp_path / "deep" / "fig.v2.png", tmp_path / "deep" / "fig.v2.pdf"]
    assert sorted(os.listdir(tmp_path / "deep")) == ["fig.v2.pdf", "fig.v2.png"]
    assert Image.open(files[0]).width == round(100 * plots.SINGLE)


def test_the_same_figure_gives_the_same_bytes(valley, tmp_path):
    for name in ("a", "b"):
        plots.save(plots.contour(valley, limit=1.0), tmp_path / name, formats=("png", "pdf", "svg"), dpi=50)
    for suffix in ("png", "pdf", "svg"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


def test_pdf_fonts_are_embedded_as_outlines_and_surfaces_are_rasters(valley, tmp_path):
    (file,) = plots.save(plots.surface(valley), tmp_path / "surface", formats=("pdf",), dpi=60)
    raw = file.read_bytes()
    streams = [zlib.decompress(found) for found in re.findall(rb"stream\r?\n(x.+?)\r?\nendstream", raw, re.DOTALL)]
    whole = raw + b"".join(streams)
    assert b"/Subtype /Type0" in whole or b"/Type /Font" in whole
    assert b"/FontFile2" in whole
    assert b"/Type3" not in whole
    assert b"/Subtype /Image" in raw
    assert b"CreationDate" not in raw


def test_a_saved_figure_is_released(valley, tmp_path):
    from matplotlib import pyplot

    plots.save(plots.contour(valley), tmp_path / "a", formats=("png",), dpi=50)
    assert not pyplot.get_fignums()


def test_figures_axes_and_parts_of_figures_can_be_saved(tmp_path):
    figure = Figure()
    part = figure.subfigures(1, 2)[0]
    for index, drawn in enumerate((figure, part, part.add_subplot())):
        plots.save(drawn, tmp_path / str(index), formats=("png",), dpi=50)
        assert Image.open(tmp_path / f"{index}.png").width == round(50 * figure.get_figwidth())


@pytest.mark.parametrize(
    ("name", "formats", "message"),
    [
        ("a", ("gif",), "'gif'"),
        ("a", (), "no format"),
        ("a.pdf", ("pdf",), "without it"),
        ("file/a", ("png",), "cannot write"),
    ],
)
def test_wrong_targets_are_refused(tmp_path, name, formats, message):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LandscapeError, match=message):
        plots.save(Figure(), tmp_path / name, formats=formats)
    assert os.listdir(tmp_path) == ["file"]


def test_a_failed_format_leaves_the_old_files(monkeypatch, tmp_path):
    figure = Figure()
    (old,) = plots.save(figure, tmp_path / "a", formats=("png",), dpi=50)
    before = old.read_bytes()
    figure.text(0.5, 0.5, "changed")
    written = Figure.savefig

    def full(self, file, **options):
        if options["format"] == "pdf":
            raise OSError(28, "No space left on device")
        written(self, file, **options)

    monkeypatch.setattr(Figure, "savefig", full)
    with pytest.raises(LandscapeError, match="No space left"):
        plots.save(figure, tmp_path / "a", dpi=50)
    assert old.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.png"]


def test_a_full_disk_is_said_in_one_line_whatever_the_format(tmp_path, valley, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(LandscapeError, match=r"cannot write a\.pdf: No space left on device"):
        plots.save(plots.contour(valley), tmp_path / "a", formats=("pdf",))
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_looks_like_a_formula_and_is_none_is_shown_as_it_is(tmp_path):
    results = {name: top_eigenpairs(torch.diag(torch.arange(1.0, 9.0)), k=2) for name in (r"$\frac{$", r"$\eta$")}
    axes = plots.eigenvalues(results)
    axes.set_title(r"$\sqrt{$ of what")
    assert plots.save(axes, tmp_path / "figure", formats=("png",))
