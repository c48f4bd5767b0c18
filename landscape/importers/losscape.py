"""``data.h5`` of losscape: two coordinate grids and the losses."""

from __future__ import annotations

import os
from pathlib import Path

from landscape.importers.files import hdf5, numbers
from landscape.importers.grids import as_plane, axes_of
from landscape.results import Plane


def losscape(path: str | os.PathLike[str]) -> Plane:
    """Read the ``data.h5`` that losscape writes.

    Its losses are means of batch means over the first batches, with norm layers and dropout in training mode.

    Args:
        path: the file, with ``X``, ``Y`` and ``losses``, all (ny, nx).

    Raises:
        LandscapeError: a file of another kind, damaged, or whose coordinates are no grid.
    """
    with hdf5(path, "a data.h5 of losscape") as file:
        x, y, transposed = axes_of(numbers(file, "X"), numbers(file, "Y"), Path(path))
        losses = numbers(file, "losses")
    values = {"train/loss": losses.T if transposed else losses}
    return as_plane(x, y, values, source="losscape", file=Path(path))
