"""Results as NetCDF, for xarray and the tools of the geosciences."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np

from landscape.errors import LandscapeError
from landscape.results import Result
from landscape.store.files import replacing
from landscape.store.labelled import nodes


def netcdf(result: Result, path: str | os.PathLike[str]) -> Path:
    """Write a result as NetCDF-4 with dimensions, coordinates, units and long names.

    Names with a slash become groups: ``train/loss`` is the variable ``loss`` of the group ``train``, which has its own
    coordinates; nested results such as directions are groups too.

    Args:
        result: any result.
        path: the file.

    Returns:
        The file: ``xarray.open_datatree(path)`` reads all of it, ``xarray.open_dataset(path, group="train")`` a group.

    Raises:
        LandscapeError: xarray or h5netcdf is not installed, or the place cannot be written.
    """
    missing = [name for name in ("xarray", "h5netcdf") if importlib.util.find_spec(name) is None]
    if missing:
        raise LandscapeError(f"{missing[0]} is not installed; pip install landscape-sharpness[xarray]")
    import xarray

    parts = {group or "/": xarray.Dataset(**_writable(node)) for group, node in nodes("", result)}
    with replacing(path) as fresh:
        xarray.DataTree.from_dict(parts).to_netcdf(fresh, engine="h5netcdf")
    return Path(path).expanduser()


def _writable(node: dict[str, Any]) -> dict[str, Any]:
    """Return a node without truth values, which NetCDF does not know: they become 0 and 1."""
    variables = {
        name: (dims, array.astype(np.uint8) if array.dtype == bool else array, about)
        for name, (dims, array, about) in node["data_vars"].items()
    }
    attributes = {
        key: int(value) if isinstance(value, bool | np.bool_) else value for key, value in node["attrs"].items()
    }
    return {**node, "data_vars": variables, "attrs": attributes}
