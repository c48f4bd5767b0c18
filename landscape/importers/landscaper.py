"""``.npz`` files of Landscaper: losses indexed by the coordinates in their order."""

from __future__ import annotations

import os
from pathlib import Path

from landscape.errors import LandscapeError
from landscape.importers.files import npz
from landscape.importers.grids import as_line, as_plane
from landscape.results import Line, Plane


def landscaper(path: str | os.PathLike[str]) -> Plane | Line:
    """Read a loss landscape that Landscaper saved.

    Args:
        path: the file, with ``loss`` and ``coordinates`` (dimensions, steps).

    Returns:
        A plane, or a line of one dimension.

    Raises:
        LandscapeError: a file of another kind, damaged, with Python objects, or with more than two dimensions.
    """
    what = "a landscape saved by Landscaper"
    arrays = npz(path, what)
    file = Path(path)
    if not {"loss", "coordinates"} <= arrays.keys():
        raise LandscapeError(f"{file.name} holds {', '.join(arrays) or 'nothing'}, expected loss and coordinates")
    loss, axes = arrays["loss"], arrays["coordinates"]
    if axes.ndim != 2 or loss.ndim != len(axes) or len(axes) not in (1, 2):
        raise LandscapeError(f"{file.name} has {loss.ndim} dimensions, expected a line or a plane with its coordinates")
    if len(axes) == 1:
        return as_line(axes[0], {"train/loss": loss}, source="landscaper", file=file)
    return as_plane(axes[0], axes[1], {"train/loss": loss.T}, source="landscaper", file=file)
