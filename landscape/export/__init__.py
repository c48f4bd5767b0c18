"""Results in the formats of others: files are complete or absent, nothing is computed anew.

============================  ======================================================================================
function                      format
============================  ======================================================================================
`goldstein`                   surface, direction and projection files of the original loss-landscape code
`paraview`                    XDMF over HDF5, and a VTK surface (``.vts``)
`obj`                         a mesh for renderers
`csv`, `json`                 every number with all its digits
`latex`                       ``booktabs`` tables with uncertainties as ±
`netcdf`                      NetCDF-4 for xarray
============================  ======================================================================================

What others have written is read by `landscape.importers`.
"""

from collections.abc import Callable
from typing import Any

from landscape.export.frames import frame
from landscape.export.goldstein import goldstein
from landscape.export.latex import latex
from landscape.export.names import direction_name, surface_name
from landscape.export.netcdf import netcdf
from landscape.export.obj import obj
from landscape.export.paraview import paraview
from landscape.export.tables import tables
from landscape.export.text import csv, json

FORMATS: dict[str, Callable[..., Any]] = {
    "goldstein": goldstein,
    "paraview": paraview,
    "obj": obj,
    "csv": csv,
    "json": json,
    "latex": latex,
    "netcdf": netcdf,
}
"""The function of each format; all take a result and a path."""

__all__ = [
    "FORMATS",
    "csv",
    "direction_name",
    "frame",
    "goldstein",
    "json",
    "latex",
    "netcdf",
    "obj",
    "paraview",
    "surface_name",
    "tables",
]
