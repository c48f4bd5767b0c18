"""Files are complete or absent."""

import os

import h5py
import pytest
from study_examples import estimate

from landscape.errors import LandscapeError
from landscape.store import open_study
from landscape.store.files import replacing, write_text


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


def test_a_study_is_not_replaced_by_an_export(tmp_path):
    study, other = tmp_path / "study.h5", tmp_path / "other.h5"
    estimate().save(study, "sgd-0/trace")
    before = study.read_bytes()
    with pytest.raises(LandscapeError, match=r"study\.h5 is a study, which this would replace"):
        write_text(study, "x,y")
    assert study.read_bytes() == before
    with h5py.File(other, "w"):
        pass
    write_text(other, "x,y")
    assert other.read_text() == "x,y"


@pytest.mark.parametrize(
    "use", [lambda path: write_text(path, "text"), lambda path: estimate().save(path, "a/t"), open_study]
)
def test_pipes_devices_folders_and_links_in_a_circle_are_refused(tmp_path, use):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    no_file = "pipe or a device"
    for path, reason in (
        (tmp_path / "pipe", no_file),
        (os.devnull, no_file),
        (tmp_path / "a", "loop"),
        (tmp_path, "is a folder"),
    ):
        with pytest.raises(LandscapeError, match=reason):
            use(path)
