"""Planes for ParaView and other VTK readers: XDMF over an HDF5 file."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np

from landscape.errors import LandscapeError
from landscape.results import Line, Plane
from landscape.store.files import replacing
from landscape.store.names import path_of
from landscape.store.safe import opened


def paraview(
    plane: Plane,
    path: str | os.PathLike[str],
    *,
    study: tuple[str | os.PathLike[str], str] | None = None,
) -> list[Path]:
    """Write a plane for ParaView: ``STEM.xdmf``, which points into an HDF5 file.

    It describes the flat grid with all values as they are, NaN and infinities included; colour it, or raise it with *Warp By
    Scalar*.

    Args:
        plane: values (ny, nx).
        path: the XDMF file; the suffix ``.xdmf`` is added when absent.
        study: (file, name) of the study file that holds this plane already, such as ``("study.h5", "sgd-0/plane")``;
            the XDMF then points into it, wherever both are moved together; `None`: the values go to ``STEM.h5``.

    Returns:
        The files written.

    Raises:
        LandscapeError: no plane, a study that does not hold it, or a place that cannot be written.

    >>> import tempfile
    >>> x, y = np.linspace(-1, 1, 11), np.linspace(-1, 1, 7)
    >>> bowl = Plane(x=x, y=y, values={"train/loss": x**2 + y[:, None] ** 2}, computed=np.ones((7, 11)))
    >>> [file.name for file in paraview(bowl, Path(tempfile.mkdtemp()) / "bowl.xdmf")]
    ['bowl.xdmf', 'bowl.h5']
    """
    plane = check_slice(plane, "a VTK grid", Plane)
    target = Path(path).expanduser()
    target = target if target.suffix == ".xdmf" else target.with_name(f"{target.name}.xdmf")
    own, files = target.with_suffix(".h5"), [target]
    with ExitStack() as stack:
        if study is None:
            files.append(own)
            with h5py.File(stack.enter_context(replacing(own)), "w") as file:
                _write_values(file, plane)
            where = f"{own.name}:"
        else:
            where = _inside(plane, study, target.parent)
        tree = ElementTree.ElementTree(_grid(plane, where))
        ElementTree.indent(tree)
        tree.write(stack.enter_context(replacing(target)), encoding="utf-8", xml_declaration=True)
    return files


def _write_values(file: h5py.File, plane: Plane) -> None:
    for name in ("x", "y"):
        file[name] = np.asarray(getattr(plane, name), dtype=np.float64)
    for name, value in plane.values.items():
        file[name] = np.asarray(value, dtype=np.float64)
    file["computed"] = np.asarray(plane.computed, dtype=np.float64)


def _inside(plane: Plane, study: tuple[str | os.PathLike[str], str], folder: Path) -> str:
    """Return ``file.h5:/group`` of a plane in a study, seen from the folder of the XDMF file."""
    file, name = Path(study[0]).expanduser(), study[1]
    group = path_of(type(plane), name)
    with opened(file) as stored:
        held = [f"{group}/{part}" for part in ("x", "y", *plane.values)]
        missing = [part for part in held if part not in stored]
        fits = not missing and stored[held[0]].shape == plane.x.shape and stored[held[1]].shape == plane.y.shape
    if not fits:
        raise LandscapeError(f"{file.name} holds no plane of this size called {name!r}; save it there first")
    relative = PurePosixPath(Path(os.path.relpath(file.resolve(), folder.resolve())))
    return f"{relative}:/{group}"


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
