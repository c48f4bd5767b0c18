"""Files of losscape, Landscaper, dnn-mode-connectivity and how-do-vits-work, made as those tools make them."""

import io
import zipfile

import h5py
import numpy as np
import pytest

from landscape import importers
from landscape.errors import LandscapeError

X, Y = np.linspace(-1, 1, 11), np.linspace(-1, 1, 7)
LOSS = (X - X[7]) ** 2 + 3 * (Y[:, None] - Y[2]) ** 2


def test_losscape(tmp_path):
    for name, indexing, losses in (("a.h5", "xy", LOSS), ("b.h5", "ij", LOSS.T)):
        with h5py.File(tmp_path / name, "w") as file:
            file["X"], file["Y"] = np.meshgrid(X, Y, indexing=indexing)
            file["losses"] = losses
        plane = importers.losscape(tmp_path / name)
        np.testing.assert_array_equal(plane.loss, LOSS)
        np.testing.assert_array_equal(plane.x, X)
    with h5py.File(tmp_path / "c.h5", "w") as file:
        file["X"], file["Y"], file["losses"] = np.random.default_rng(0).random((3, 7, 11))
    with pytest.raises(LandscapeError, match="no regular grid"):
        importers.losscape(tmp_path / "c.h5")


def test_landscaper(tmp_path):
    square = LOSS[:, :7]
    np.savez(tmp_path / "plane.npz", loss=square.T, coordinates=[X[:7], Y])
    plane = importers.landscaper(tmp_path / "plane.npz")
    np.testing.assert_array_equal(plane.loss, square)
    np.testing.assert_array_equal(plane.x, X[:7])
    np.savez(tmp_path / "line.npz", loss=X**2, coordinates=[X])
    np.testing.assert_array_equal(importers.landscaper(tmp_path / "line.npz").loss, X**2)
    np.savez(tmp_path / "cube.npz", loss=np.zeros((2, 2, 2)), coordinates=np.zeros((3, 2)))
    with pytest.raises(LandscapeError, match="3 dimensions"):
        importers.landscaper(tmp_path / "cube.npz")
    np.savez(tmp_path / "other.npz", loss=X)
    with pytest.raises(LandscapeError, match="expected loss and coordinates"):
        importers.landscaper(tmp_path / "other.npz")


def test_pickles_and_false_sizes_in_npz_are_refused(tmp_path):
    np.savez(tmp_path / "pickle.npz", loss=LOSS.T, coordinates=np.array([X, Y], dtype=object))
    with pytest.raises(LandscapeError, match="Python objects"):
        importers.landscaper(tmp_path / "pickle.npz")
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)})
    with zipfile.ZipFile(tmp_path / "huge.npz", "w") as archive:
        archive.writestr("loss.npy", header.getvalue() + b"\0" * 64)
    with pytest.raises(LandscapeError, match="claims 8000000000000 bytes"):
        importers.landscaper(tmp_path / "huge.npz")
    data = (tmp_path / "pickle.npz").read_bytes()
    for name, text in (("cut.npz", data[:100]), ("text.npz", b"text")):
        (tmp_path / name).write_bytes(text)
        with pytest.raises(LandscapeError, match="cannot be read"):
            importers.landscaper(tmp_path / name)


def test_mode_connectivity(tmp_path):
    dx, dy = 30.0, 12.0
    grid = np.stack(np.meshgrid(X * dx, Y * dy, indexing="ij"), axis=-1)
    np.savez(
        tmp_path / "plane.npz", grid=grid, alphas=X, betas=Y, tr_loss=LOSS.T + 1, tr_nll=LOSS.T,
        tr_acc=100 / (1 + LOSS.T), te_nll=LOSS.T + 2,
        bend_coordinates=np.zeros((3, 2)), curve_coordinates=np.zeros((5, 2)), ts=np.zeros(5),
    )  # fmt: skip
    plane = importers.mode_connectivity(tmp_path / "plane.npz")
    np.testing.assert_array_equal(plane.loss, LOSS)
    np.testing.assert_array_equal(plane.values["train/penalised-loss"], LOSS + 1)
    np.testing.assert_array_equal(plane.x, X * dx)
    np.testing.assert_allclose(plane.accuracy, 1 / (1 + LOSS))
    assert len(plane.directions.info["points"]) == 3
    np.savez(tmp_path / "other.npz", tr_loss=LOSS)
    with pytest.raises(LandscapeError, match="no grid of points"):
        importers.mode_connectivity(tmp_path / "other.npz")


def test_vits_work(tmp_path):
    rows = [
        [x, y, 1e5, 1e3, LOSS[j, i], 0.0, 0.9, 1 / (1 + LOSS[j, i]), *range(11)]
        for j, y in enumerate(Y)
        for i, x in enumerate(X)
    ]
    path = tmp_path / "losslandscape.csv"
    path.write_text("".join(",".join(map(repr, map(float, row))) + "\n" for row in rows))
    plane = importers.vits_work(path, dataset="test")
    np.testing.assert_array_equal(plane.loss, LOSS)
    np.testing.assert_array_equal(plane.values["test/accuracy"], 1 / (1 + LOSS))
    for text, message in (
        ("1,2\n", "too few columns"),
        ("a,b,c\n", "no table of numbers"),
        ("".join(path.read_text().splitlines(keepends=True)[:-1]), "some are missing"),
        ("", "too few columns"),
    ):
        path.write_text(text)
        with pytest.raises(LandscapeError, match=message):
            importers.vits_work(path)
