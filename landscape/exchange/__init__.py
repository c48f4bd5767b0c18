"""Results in the formats of others: files are complete or absent, nothing is computed anew, nothing that is read is executed.

============================  ======================================================================================
function                      format
============================  ======================================================================================
`csv`, `json`                 every number with all its digits
`latex`                       ``booktabs`` tables with uncertainties as ±
`paraview`                    XDMF over HDF5
`write_goldstein`             surface, direction and projection files of the original loss-landscape code
`read_goldstein`              the same files, and those of programs that copied its names, as a plane or line
============================  ======================================================================================

``read_goldstein_directions`` and ``read_goldstein_projection`` read the files beside a surface. Accuracies become shares
between 0 and 1, and what was read says in its provenance which tool and file it came from.
"""

from collections.abc import Callable
from typing import Any

from landscape.exchange.goldstein import (
    direction_name,
    read_goldstein,
    read_goldstein_directions,
    read_goldstein_projection,
    surface_name,
    write_goldstein,
)
from landscape.exchange.paraview import paraview
from landscape.exchange.text import csv, json, latex

FORMATS: dict[str, Callable[..., Any]] = {
    "goldstein": write_goldstein,
    "paraview": paraview,
    "csv": csv,
    "json": json,
    "latex": latex,
}
"""The function of each format; all take a result and a path."""

__all__ = [
    "FORMATS",
    "csv",
    "direction_name",
    "json",
    "latex",
    "paraview",
    "read_goldstein",
    "read_goldstein_directions",
    "read_goldstein_projection",
    "surface_name",
    "write_goldstein",
]
