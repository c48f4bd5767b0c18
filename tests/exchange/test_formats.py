"""What all formats have in common."""

import pytest

from landscape import export
from landscape.errors import LandscapeError


@pytest.mark.parametrize("name", sorted(export.FORMATS.keys() - {"latex"}))
def test_every_format_refuses_a_place_that_cannot_be_written(name, plane, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(LandscapeError, match="cannot write"):
        export.FORMATS[name](plane, tmp_path / "file" / "plane.out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
