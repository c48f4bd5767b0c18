"""``plane.npz`` of dnn-mode-connectivity: a plane through three solutions, in Euclidean distances."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from landscape.errors import LandscapeError
from landscape.importers.files import npz
from landscape.importers.grids import as_plane, axes_of
from landscape.results import Directions, Plane

METRICS = {"nll": "loss", "loss": "penalised-loss", "acc": "accuracy"}
"""Its ``loss`` contains a penalty on the weights; the loss on the data is its ``nll``."""


def mode_connectivity(path: str | os.PathLike[str]) -> Plane:
    """Read the plane that dnn-mode-connectivity computes around a curve between two solutions.

    Args:
        path: the file ``plane.npz``.

    Returns:
        A plane over true distances along two orthonormal axes. ``directions.info`` has the points of the solutions and
        of the curve in the plane. Batch statistics were computed anew at every point.

    Raises:
        LandscapeError: a file of another kind, damaged, or with Python objects.
    """
    arrays = npz(path, "a plane.npz of dnn-mode-connectivity")
    file = Path(path)
    if "grid" not in arrays or arrays["grid"].ndim != 3 or arrays["grid"].shape[2] != 2:
        raise LandscapeError(f"{file.name} holds no grid of points (G, G, 2); expected plane.npz of that tool")
    grid = arrays["grid"]
    x, y, transposed = axes_of(grid[..., 0], grid[..., 1], file)
    values = {}
    for short, data in (("tr", "train"), ("te", "test")):
        for theirs, ours in METRICS.items():
            found = arrays.get(f"{short}_{theirs}")
            if found is not None:
                scaled = found / 100 if ours == "accuracy" else found
                values[f"{data}/{ours}"] = scaled.T if transposed else scaled
    points = {
        name: arrays[key].tolist()
        for name, key in (("points", "bend_coordinates"), ("curve", "curve_coordinates"))
        if key in arrays
    }
    directions = Directions(
        norms=np.ones(2), cosines=np.eye(2), direction_kind="points", vectors_as="keep", info=points
    )
    return as_plane(x, y, values, source="dnn-mode-connectivity", file=file, directions=directions)
