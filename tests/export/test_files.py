"""Exports are complete or absent."""

import pytest

from landscape import export
from landscape.errors import LandscapeError
from landscape.export.files import replacing, write_text


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    target = write_text(tmp_path / "a.txt", "old")

    def fail():
        with replacing(target) as fresh:
            fresh.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("name", sorted(export.FORMATS.keys() - {"latex"}))
def test_every_format_refuses_a_place_that_cannot_be_written(name, plane, tmp_path):
    if name == "netcdf":
        pytest.importorskip("h5netcdf")
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(LandscapeError, match="cannot write"):
        export.FORMATS[name](plane, tmp_path / "file" / "plane.out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(LandscapeError, match="is a folder"):
        write_text(tmp_path, "text")
