"""Planes for ParaView and other VTK readers: XDMF over an HDF5 file, and a VTK surface on its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import Any
from xml.etree import ElementTree

import h5py
import numpy as np

from landscape.errors import LandscapeError
from landscape.export.grids import check_plane, height_of, present
from landscape.results import Plane
from landscape.store.files import replacing
from landscape.store.names import path_of
from landscape.store.safe import opened

HIDDEN = 2
"""VTK's mark of a point that is not drawn (``vtkDataSetAttributes::HIDDENPOINT``)."""


def paraview(
    plane: Plane,
    path: str | os.PathLike[str],
    *,
    study: tuple[str | os.PathLike[str], str] | None = None,
    metric: str = "loss",
    dataset: str | None = None,
    limit: float | None = None,
    log: bool = False,
) -> list[Path]:
    """Write a plane for ParaView: ``STEM.xdmf``, which points into an HDF5 file, and ``STEM.vts``, a surface.

    The XDMF file describes the flat grid with all values as they are, NaN and infinities included; colour it, or raise
    it with *Warp By Scalar*. The ``.vts`` file holds the same values and stands up already: its height is the metric, and
    points without a finite value are hidden.

    Args:
        plane: values (ny, nx).
        path: the XDMF file; the suffix ``.xdmf`` is added when absent.
        study: (file, name) of the study file that holds this plane already, such as ``("study.h5", "sgd-0/plane")``;
            the XDMF then points into it, wherever both are moved together; `None`: the values go to ``STEM.h5``.
        metric: what the height of the surface is.
        dataset: of which data set; `None`: the plane's own.
        limit: the largest height.
        log: common logarithm of the height.

    Returns:
        The files written.

    Raises:
        LandscapeError: no plane, no such metric, a study that does not hold it, or a place that cannot be written.

    >>> import tempfile
    >>> x, y = np.linspace(-1, 1, 11), np.linspace(-1, 1, 7)
    >>> bowl = Plane(x=x, y=y, values={"train/loss": x**2 + y[:, None] ** 2}, computed=np.ones((7, 11)))
    >>> [file.name for file in paraview(bowl, Path(tempfile.mkdtemp()) / "bowl.xdmf")]
    ['bowl.xdmf', 'bowl.vts', 'bowl.h5']
    """
    plane = check_plane(plane, "a VTK grid")
    height = height_of(plane, metric, dataset, limit=limit, log=log)
    target = Path(path).expanduser()
    target = target if target.suffix == ".xdmf" else target.with_name(f"{target.name}.xdmf")
    surface, own = target.with_suffix(".vts"), target.with_suffix(".h5")
    files = [target, surface]
    with ExitStack() as stack:
        if study is None:
            files.append(own)
            with h5py.File(stack.enter_context(replacing(own)), "w") as file:
                _write_values(file, plane)
            where = f"{own.name}:"
        else:
            where = _inside(plane, study, target.parent)
        grid, points = _grid(plane, where), _surface(plane, height, present(plane, metric, dataset))
        for file_path, tree in ((target, grid), (surface, points)):
            ElementTree.indent(tree)
            ElementTree.ElementTree(tree).write(
                stack.enter_context(replacing(file_path)), encoding="utf-8", xml_declaration=True
            )
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


def _surface(plane: Plane, height: np.ndarray, drawn: np.ndarray) -> ElementTree.Element:
    """Return a VTK structured grid whose third coordinate is the height."""
    ny, nx = height.shape
    extent = f"0 {nx - 1} 0 {ny - 1} 0 0"
    root = ElementTree.Element("VTKFile", type="StructuredGrid", version="1.0", byte_order="LittleEndian")
    grid = ElementTree.SubElement(root, "StructuredGrid", WholeExtent=extent)
    piece = ElementTree.SubElement(grid, "Piece", Extent=extent)
    data = ElementTree.SubElement(piece, "PointData", Scalars=next(iter(plane.values)))
    for name, value in plane.values.items():
        _numbers(data, name, np.asarray(value, dtype=np.float64))
    _numbers(data, "vtkGhostType", np.where(drawn, 0, HIDDEN).astype(np.uint8))
    x, y = np.meshgrid(plane.x, plane.y)
    _numbers(ElementTree.SubElement(piece, "Points"), "points", np.stack([x, y, height], axis=-1), components=3)
    return root


def _numbers(parent: ElementTree.Element, name: str, values: np.ndarray, components: int = 1) -> None:
    about: dict[str, Any] = {
        "type": "UInt8" if values.dtype == np.uint8 else "Float64",
        "Name": name,
        "NumberOfComponents": str(components),
        "format": "ascii",
    }
    ElementTree.SubElement(parent, "DataArray", about).text = "\n" + "\n".join(_lines(values)) + "\n"


def _lines(values: np.ndarray) -> Iterator[str]:
    for row in values.reshape(len(values), -1).tolist():
        yield " ".join(map(repr, row))
