"""XDMF: parsed as XML with the HDF5 behind it, and opened in VTK where it is installed."""

from xml.etree import ElementTree

import h5py
import numpy as np
import pytest

from landscape import export


def grid_of(xdmf):
    """Read an XDMF file: coordinates and node values, following its references."""

    def read(item):
        shape = tuple(map(int, item.get("Dimensions").split()))
        if item.get("Format") == "XML":
            return np.array(item.text.split(), dtype=float).reshape(shape)
        file, _, path = item.text.partition(":")
        with h5py.File(xdmf.parent / file) as opened:
            return opened[path][()].reshape(shape)

    grid = ElementTree.parse(xdmf).find("Domain/Grid")
    axes = [read(item) for item in grid.findall("Geometry/DataItem")]
    values = {part.get("Name"): read(part.find("DataItem")) for part in grid.findall("Attribute")}
    return grid.find("Topology").get("Dimensions"), axes, values


def test_the_xdmf_describes_the_grid_and_points_to_its_values(plane, folder, minimum):
    xdmf, *_ = export.paraview(plane, folder / "plane")
    dimensions, (x, y, z), values = grid_of(xdmf)
    assert (xdmf.name, dimensions, z.tolist()) == ("plane.xdmf", "1 7 11", [0.0])
    np.testing.assert_array_equal(x, plane.x)
    np.testing.assert_array_equal(y, plane.y)
    minimum(values["train/loss"][0])
    assert values.keys() == {*plane.values, "computed"}


def test_vtk_reads_it(plane, folder):
    vtk = pytest.importorskip("vtk")
    from vtk.util.numpy_support import vtk_to_numpy

    reader = vtk.vtkXdmfReader()
    reader.SetFileName(str(export.paraview(plane, folder / "plane.xdmf")[0]))
    reader.Update()
    grid = reader.GetOutputDataObject(0)
    smallest = int(vtk_to_numpy(grid.GetPointData().GetArray("train/loss")).argmin())
    assert grid.GetPoint(smallest)[:2] == pytest.approx((plane.x[7], plane.y[2]))
