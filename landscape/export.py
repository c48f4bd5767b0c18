"""The writing half of `landscape.exchange`, under the name it is called by in scripts: ``ls.export.csv(result, path)``."""

from typing import Any

from landscape.exchange import FORMATS, csv, direction_name, json, latex, paraview, surface_name
from landscape.exchange import write_goldstein as goldstein
from landscape.results import Result


def frame(result: Result) -> dict[str, Any]:
    """Return ``result.columns()``: the columns of its main table, all of one length."""
    return result.columns()


__all__ = ["FORMATS", "csv", "direction_name", "frame", "goldstein", "json", "latex", "paraview", "surface_name"]
