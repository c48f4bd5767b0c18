"""One surface on a non-square grid has its minimum at the same place in arrays, study, exports and figure."""

import csv

import h5py
import numpy as np
import pytest
import torch
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from torch import nn

import landscape as ls
from landscape import export
from landscape.plots.planes import heatmap


@pytest.fixture(scope="module")
def surface():
    """L = (x − 0.5)² + 3 y² on 9 × 5 points; its minimum is at (0.5, 0)."""
    loss = ls.BatchLoss(lambda model, batch: (model.weight[0, 0] - 0.5) ** 2 + 3 * model.weight[0, 1] ** 2)
    objective = ls.Objective(nn.Linear(2, 1, bias=False), [(torch.zeros(1),)], loss, dtype=torch.float64)
    return ls.plane(objective.at(torch.zeros(2)), torch.eye(2), span=(1.0, 2.0), points=(9, 5))


def minimum(x, y, values):
    j, i = np.unravel_index(np.asarray(values).argmin(), np.shape(values))
    return float(x[i]), float(y[j])


def test_arrays_and_study(surface, tmp_path):
    assert minimum(surface.x, surface.y, surface.loss) == (0.5, 0.0)
    surface.save(tmp_path / "study.h5", "sgd-0/plane")
    again = ls.open_study(tmp_path / "study.h5")["sgd-0/plane"]
    assert minimum(again.x, again.y, again.loss) == (0.5, 0.0)


def test_exports(surface, tmp_path):
    path = export.goldstein(surface, tmp_path / "surface.h5")[0]
    with h5py.File(path) as file:
        assert minimum(file["xcoordinates"][:], file["ycoordinates"][:], file["train_loss"][:]) == (0.5, 0.0)
    export.csv(surface, tmp_path / "surface.csv")
    with open(tmp_path / "surface.csv") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    lowest = min(rows, key=lambda row: float(row["train/loss"]))
    assert (float(lowest["x"]), float(lowest["y"])) == (0.5, 0.0)


def test_figure(surface):
    ax = heatmap(surface, Figure().add_subplot())
    mesh = next(artist for artist in ax.collections if isinstance(artist, QuadMesh))
    corners, values = mesh.get_coordinates(), np.asarray(mesh.get_array()).reshape(surface.loss.shape)
    j, i = np.unravel_index(values.argmin(), values.shape)
    cell = corners[j : j + 2, i : i + 2].reshape(-1, 2)
    centre = cell.mean(0)
    assert tuple(centre) == pytest.approx((0.5, 0.0), abs=1e-9)
