"""Planes for ParaView and other VTK readers: XDMF over an HDF5 file."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np

from landscape.errors import LandscapeError
from landscape.results import Line, Plane
from landscape.store.files import replacing


def paraview(plane: Plane, path: str | os.PathLike[str]) -> list[Path]:
    """Write a plane for ParaView: ``STEM.xdmf``, which points into ``STEM.h5``.

    It describes the flat grid with all values as they are, NaN and infinities included; colour it, or raise it with *Warp By
    Scalar*.

    Args:
        plane: values (ny, nx).
        path: the XDMF file; the suffix ``.xdmf`` is added when absent.

    Returns:
        The files written.

    Raises:
        LandscapeError: no plane, or a place that cannot be written.

    >>> import tempfile
    >>> x, y = np.linspace(-1, 1, 11), np.linspace(-1, 1, 7)
    >>> bowl = Plane(x=x, y=y, values={"train/loss": x**2 + y[:, None] ** 2}, computed=np.ones((7, 11)))
    >>> [file.name for file in paraview(bowl, Path(tempfile.mkdtemp()) / "bowl.xdmf")]
    ['bowl.xdmf', 'bowl.h5']
    """
    plane = check_slice(plane, "a VTK grid", Plane)
    target = Path(path).expanduser()
    target = target if target.suffix == ".xdmf" else target.with_name(f"{target.name}.xdmf")
    own = target.with_suffix(".h5")
    with ExitStack() as stack:
        with h5py.File(stack.enter_context(replacing(own)), "w") as file:
            arrays = {"x": plane.x, "y": plane.y, **plane.values, "computed": plane.computed}
            for name, value in arrays.items():
                file[name] = np.asarray(value, dtype=np.float64)
        tree = ElementTree.ElementTree(_grid(plane, f"{own.name}:"))
        ElementTree.indent(tree)
        tree.write(stack.enter_context(replacing(target)), encoding="utf-8", xml_declaration=True)
    return [target, own]


def _grid(plane: Plane, where: str) -> ElementTree.Element:
    """Return the XDMF of a flat rectilinear grid, one point thick."""
    ny, nx = len(plane.y), len(plane.x)
    root = ElementTree.Element("Xdmf", Version="3.0")
    grid = ElementTree.SubElement(ElementTree.SubElement(root, "Domain"), "Grid", Name="plane", GridType="Uniform")
    ElementTree.SubElement(grid, "Topology", TopologyType="3DRectMesh", Dimensions=f"1 {ny} {nx}")
    geometry = ElementTree.SubElement(grid, "Geometry", GeometryType="VXVYVZ")
    _item(geometry, str(nx), f"{where}/x")
    _item(geometry, str(ny), f"{where}/y")
    _item(geometry, "1", "0.0", form="XML")
    for name in (*plane.values, "computed"):
        kind = {"Name": name, "AttributeType": "Scalar", "Center": "Node"}
        _item(ElementTree.SubElement(grid, "Attribute", kind), f"1 {ny} {nx}", f"{where}/{name}")
    return root


def _item(parent: ElementTree.Element, dimensions: str, text: str, form: str = "HDF") -> None:
    about = {"Dimensions": dimensions, "NumberType": "Float", "Precision": "8", "Format": form}
    ElementTree.SubElement(parent, "DataItem", about).text = text


def check_slice(result: Any, what: str, *kinds: type[Line] | type[Plane]) -> Any:
    """Return a line or plane, of those kinds that a format can hold, whose arrays have the shape of its grid, (nx,) or (ny, nx).

    Raises:
        LandscapeError: it is neither, or an array has another shape.
    """
    if not isinstance(result, kinds):
        raise LandscapeError(f"{what} holds planes, not a {type(result).__name__}; export a Plane")
    shape = tuple(len(getattr(result, axis)) for axis in ("y", "x") if hasattr(result, axis))
    for name, value in result.values.items():
        if np.shape(value) != shape:
            expected = f"{'(ny, nx)' if len(shape) == 2 else '(nx,)'} = {shape}"
            raise LandscapeError(f"the values {name!r} have shape {np.shape(value)}, expected {expected}")
    return result
