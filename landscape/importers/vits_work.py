"""CSV files of how-do-vits-work: one row a grid point, x fastest."""

from __future__ import annotations

import csv
import os

import numpy as np

from landscape.errors import LandscapeError
from landscape.importers.files import LARGEST, readable
from landscape.importers.grids import as_plane, axes_of
from landscape.results import Plane

COLUMNS = {2: "l1", 3: "l2", 4: "loss", 7: "accuracy"}
"""Places of the columns that are read, after x and y; the negative log-likelihood is the loss."""
FEWEST = 8


def vits_work(path: str | os.PathLike[str], *, dataset: str = "train") -> Plane:
    """Read a loss landscape that how-do-vits-work wrote.

    Args:
        path: the CSV file without a header: x, y, the weights' norms l1 and l2, negative log-likelihood, two cut-offs,
            accuracy (a share) and further metrics that are not read.
        dataset: ``train`` or ``test``; the file does not say on which examples it was computed.

    Raises:
        LandscapeError: a file of another kind, rows of unequal length, or points that are no grid.
    """
    file = readable(path, "a CSV file of how-do-vits-work")
    if file.stat().st_size > LARGEST:
        raise LandscapeError(f"{file.name} has {file.stat().st_size} bytes, too many for a plane")
    try:
        with open(file, newline="", encoding="utf-8") as stream:
            table = np.array([[float(cell) for cell in row[:FEWEST]] for row in csv.reader(stream) if row])
    except (ValueError, csv.Error) as error:
        raise LandscapeError(f"{file.name} is no table of numbers ({error}); expected x, y and metrics") from error
    if table.ndim != 2 or table.shape[1] < FEWEST:
        raise LandscapeError(f"{file.name} has too few columns; expected x, y, l1, l2, NLL, two cut-offs and accuracy")
    nx = len(np.unique(table[:, 0]))
    if nx == 0 or len(table) % nx:
        raise LandscapeError(f"{file.name} has {len(table)} rows, which are no grid of {nx} columns; some are missing")
    cells = table.reshape(-1, nx, FEWEST)
    x, y, _ = axes_of(cells[..., 0], cells[..., 1], file)
    values = {f"{dataset}/{name}": cells[..., place] for place, name in COLUMNS.items()}
    return as_plane(x, y, values, source="how-do-vits-work", file=file, dataset=dataset)
