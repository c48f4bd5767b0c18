"""Results in a notebook: numbers, a small picture, tables folded away; and as data frames."""

import base64
import io
import re
import sys

import numpy as np
import pytest
from PIL import Image

from landscape.errors import LandscapeError
from landscape.results import Eigenpairs, Estimate, LayerRow, Layers, Line, Plane, Score, Scores


@pytest.fixture
def line():
    x = np.linspace(-1, 1, 21)
    return Line(x=x, values={"train/loss": x**2, "test/loss": x**2 + 0.1}, provenance={"torch": "2.13", "seed": 3})


def picture(result):
    found = re.search(r"src='data:image/png;base64,([^']+)'", result._repr_html_())
    return None if found is None else base64.b64decode(found[1])


def test_a_picture_is_small_and_can_be_read(line):
    data = picture(line)
    assert 2000 < len(data) < 40_000
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (360, 240)


def test_a_plane_is_small_too():
    x = np.linspace(-1, 1, 51)
    loss = x**2 + np.cos(5 * x[:, None])
    plane = Plane(x=x, y=x, values={"train/loss": loss}, computed=np.ones((51, 51)))
    assert 2000 < len(picture(plane)) < 40_000


def test_drawing_leaves_pyplot_alone(line):
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    line._repr_html_()
    assert pyplot.get_fignums() == before


def test_what_cannot_be_drawn_still_shows_its_numbers(line, monkeypatch):
    def fail(result):
        raise ZeroDivisionError

    monkeypatch.setattr("landscape.plots.thumbnails.thumbnail", fail)
    assert picture(line) is None
    assert "train/loss" in line._repr_html_()


def test_scores_show_numbers_and_a_table_instead_of_a_picture():
    panel = Scores(
        rows=(Score(name="trace", value=2.0, standard_error=0.1), Score(name="margin", value=1.0)), examples=5
    )
    text = panel._repr_html_()
    assert "2.00 ± 0.10" in text
    assert "<summary>table</summary>" in text
    assert picture(panel) is None


def test_where_a_result_came_from_is_folded_away(line):
    assert "<details><summary>provenance</summary><pre" in line._repr_html_()
    assert "torch  2.13" in line._repr_html_()


def test_what_did_not_converge_stands_out():
    pairs = Eigenpairs(
        values=np.ones(1), residuals=np.ones(1), operator="hessian", which="LA", tol=1e-3, matvecs=3, converged=False,
        message="raise max_matvecs",
    )  # fmt: skip
    assert "#b35900'>no: raise max_matvecs" in pairs._repr_html_()
    assert "#b35900" not in pairs.replace(converged=True)._repr_html_()


def test_data_frames_have_a_row_for_everything_counted(line):
    pandas = pytest.importorskip("pandas")
    frame = line.to_pandas()
    assert list(frame) == ["x", "train/loss", "test/loss"]
    assert len(frame) == 21
    row = LayerRow("0", 6, 1.0, 0.1, 2.0, 0.2, 0.5, 0.05)
    layers = Layers(
        rows=(row, row), missed=0.1, missed_error=0.01, operator="hessian", tol=1e-3, converged=True, probes=1,
        matvecs=1, passes=1,
    )  # fmt: skip
    assert layers.to_pandas()["share"].tolist() == [0.5, 0.5]
    one = Estimate(value=2.0, standard_error=0.1, matvecs=3, method="exact", quantity="trace")
    assert isinstance(one.to_pandas(), pandas.DataFrame)


def test_without_pandas_the_remedy_is_named(line, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(LandscapeError, match="pip install pandas"):
        line.to_pandas()
