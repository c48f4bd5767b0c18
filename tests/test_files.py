"""Files are complete or absent."""

import pytest

from landscape.errors import LandscapeError
from landscape.files import replacing, write_text


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


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(LandscapeError, match="is a folder"):
        write_text(tmp_path, "text")
