"""NetCDF: groups with coordinates."""

import sys

import numpy as np
import pytest

from landscape import export
from landscape.errors import LandscapeError
from landscape.results import Score, Scores


def test_xarray_opens_groups_with_coordinates(plane, folder, minimum):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    path = export.netcdf(plane, folder / "plane.nc")
    with xarray.open_datatree(path, engine="h5netcdf") as tree:
        loss = tree["train/loss"]
        assert loss.dims == ("y", "x")
        minimum(loss.values)
        best = loss.isel(loss.argmin(...))
        assert (float(best.x), float(best.y)) == (plane.x[7], plane.y[2])
        np.testing.assert_array_equal(tree["directions/vectors"].values, plane.directions.vectors)
    export.netcdf(Scores(rows=(Score(name="trace", value=1.0, reference=True),)), folder / "scores.nc")


def test_an_absent_xarray_is_said(plane, folder, monkeypatch):
    real = sys.modules["importlib.util"].find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == "xarray" else real(name, *rest))
    with pytest.raises(LandscapeError, match=r"xarray is not installed; pip install .*\[xarray\]"):
        export.netcdf(plane, folder / "plane.nc")
