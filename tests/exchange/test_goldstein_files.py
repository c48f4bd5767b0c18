"""Surface files of others: the reshape rule, the transposed copies, damage and malice."""

import h5py
import numpy as np
import pytest

from landscape import importers
from landscape.errors import LandscapeError

X, Y = np.linspace(-1, 1, 11), np.linspace(-1, 1, 7)
LOSS = (X - X[7]) ** 2 + 3 * (Y[:, None] - Y[2]) ** 2


def original(path, *, shape=(11, 7), **more):
    """Write what the original writes: x fastest, declared (nx, ny)."""
    with h5py.File(path, "w") as file:
        file["dir_file"] = "dirs.h5"
        file["xcoordinates"], file["ycoordinates"] = X, Y
        file["train_loss"] = LOSS.reshape(shape)
        file["train_acc"] = (100 / (1 + LOSS)).reshape(shape)
        for name, value in more.items():
            file[name] = value
    return path


def transposed(path):
    """Write what LightZero writes: a loop over x outside, no dir_file."""
    with h5py.File(path, "w") as file:
        file["xcoordinates"], file["ycoordinates"] = X, Y
        file["train_loss"] = np.array([[LOSS[j, i] for j in range(7)] for i in range(11)])
    return path


@pytest.mark.parametrize("shape", [(11, 7), (7, 11)])
def test_the_buffer_is_reshaped_not_transposed(tmp_path, shape):
    plane = importers.goldstein(original(tmp_path / "a.h5", shape=shape))
    np.testing.assert_array_equal(plane.loss, LOSS)
    np.testing.assert_allclose(plane.accuracy, 1 / (1 + LOSS))
    assert plane.provenance["layout"] == "yx"


def test_copies_without_dir_file_are_transposed(tmp_path):
    path = transposed(tmp_path / "a.h5")
    np.testing.assert_array_equal(importers.goldstein(path).loss, LOSS)
    np.testing.assert_array_equal(importers.goldstein(path, layout="xy").loss, LOSS)
    assert not np.array_equal(importers.goldstein(path, layout="yx").loss, LOSS)


def test_square_files_follow_the_layout_too(tmp_path):
    square = LOSS[:, :7]
    for name, dir_file, stored in (("a.h5", True, square), ("b.h5", False, square.T)):
        with h5py.File(tmp_path / name, "w") as file:
            file["xcoordinates"], file["ycoordinates"], file["train_loss"] = X[:7], Y, stored
            if dir_file:
                file["dir_file"] = "dirs.h5"
        np.testing.assert_array_equal(importers.goldstein(tmp_path / name).loss, square)


def test_minus_one_is_missing(tmp_path):
    loss = LOSS.copy()
    loss[0, 3] = -1
    path = tmp_path / "a.h5"
    original(path)
    with h5py.File(path, "a") as file:
        file["train_loss"][...] = loss.reshape(11, 7)
    plane = importers.goldstein(path)
    assert np.argwhere(np.isnan(plane.loss)).tolist() == [[0, 3]]
    assert np.argwhere(plane.computed == 0).tolist() == [[0, 3]]
    assert np.isnan(plane.accuracy[0, 3])


def test_other_metrics_of_copies_keep_their_names(tmp_path):
    plane = importers.goldstein(original(tmp_path / "a.h5", train_policy_loss=LOSS.reshape(11, 7)))
    np.testing.assert_array_equal(plane.values["train/policy_loss"], LOSS)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda f: f.pop("xcoordinates"), {}, "holds no array 'xcoordinates'"),
        (lambda f: (f.pop("train_loss"), f.pop("train_acc")), {}, "no values such as train_loss"),
        (lambda f: (f.pop("ycoordinates"), f.__setitem__("ycoordinates", Y[:5])), {}, "expected"),
        (lambda f: f.__setitem__("test_loss", h5py.ExternalLink("/etc/passwd", "/a")), {}, "link"),
        (lambda f: f.__setitem__("test_loss", h5py.SoftLink("/train_loss")), {}, "link"),
        (lambda f: f.create_dataset("test_loss", shape=(10**9, 10**3), dtype="f8"), {}, "claims"),
        (lambda f: f.__setitem__("test_loss", "text"), {}, "expected numbers"),
        (lambda f: None, {"layout": "ij"}, "layout='ij'"),
        (lambda f: (f.pop("train_loss"), f.__setitem__("train_loss", LOSS)), {"layout": "xy"}, "for 'xy'"),
    ],
)
def test_foreign_and_malicious_files_are_refused(tmp_path, change, options, message):
    path = original(tmp_path / "a.h5")
    with h5py.File(path, "a") as file:
        change(file)
    with pytest.raises(LandscapeError, match=message):
        importers.goldstein(path, **options)


def test_damage_is_told_apart(tmp_path):
    path = original(tmp_path / "a.h5")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(LandscapeError, match="truncated"):
        importers.goldstein(path)
    path.write_bytes(b"text")
    with pytest.raises(LandscapeError, match=r"no HDF5 file.*surface file"):
        importers.goldstein(path)
    with pytest.raises(LandscapeError, match="there is no file"):
        importers.goldstein(tmp_path / "absent.h5")


def test_directions_of_states_keep_scalars(tmp_path):
    path = tmp_path / "dirs.h5"
    with h5py.File(path, "w") as file:
        for axis, factor in (("xdirection", 1.0), ("ydirection", 2.0)):
            for index, tensor in enumerate([np.ones((2, 3)), np.float32(3.0), np.zeros(2)]):
                file[f"{axis}/{index}"] = factor * tensor
    found = importers.goldstein_directions(path)
    assert found.vectors.shape == (2, 9)
    assert found.info["shapes"] == [[2, 3], [], [2]]
    assert found.cosines[0, 1] == pytest.approx(1)
    with pytest.raises(LandscapeError, match="no array 'proj_xcoord'"):
        importers.goldstein_projection(path)
    with pytest.raises(LandscapeError, match="no directions"):
        importers.goldstein_directions(original(tmp_path / "surface.h5"))
