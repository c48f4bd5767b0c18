"""The HDF5 files of the original loss-landscape code (Li et al. 2018), for its plotting scripts and their readers.

Its scripts read five kinds of names: ``xcoordinates``, ``ycoordinates``, ``train_loss``, ``train_acc`` and the same for
``test``. These stand at the root, as there: float64, losses as means over examples, accuracies in percent. Arrays of a
plane are (ny, nx) with x fastest: the bytes of the original's square files, and on other grids the shape that its
``plot_2D.py`` can draw (its own non-square files it cannot). What we know beyond that is in attributes and in the group
``landscape``, which the old scripts ignore.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from landscape._version import __version__
from landscape.errors import LandscapeError
from landscape.export.grids import check_slice
from landscape.export.names import accuracy_scale, surface_names
from landscape.export.text import to_json
from landscape.results import Directions, Line, Plane
from landscape.store.files import replacing

NOT_COMPUTED = -1.0
"""What the original writes where it has not computed yet."""

Shapes = Mapping[str, Sequence[int]] | Sequence[Sequence[int]]


def goldstein(
    result: Line | Plane,
    path: str | os.PathLike[str],
    *,
    shapes: Shapes | None = None,
    projection: np.ndarray | None = None,
) -> list[Path]:
    """Write a line or a plane as a surface file of the original loss-landscape code, with its directions beside it.

    Args:
        result: with values such as ``train/loss`` and ``train/accuracy``; other values go into the group ``landscape``.
        path: the surface file; `landscape.export.surface_name` gives the name the original would choose. The directions
            go to ``STEM_directions.h5`` and the projection to ``STEM_directions.h5_proj_cos.h5``.
        shapes: shapes of the parameters in the order of the flat vector, as in
            ``{name: tensor.shape for name, tensor in model.named_parameters()}``; `None`: one flat tensor.
        projection: (T, 2) coordinates of the checkpoints of a run in the plane.

    Returns:
        The files written: the surface; the directions, when their vectors are known; the projection.

    Raises:
        LandscapeError: neither line nor plane, no loss of training or test examples, shapes that do not fit, or a place
            that cannot be written.

    Source: Li et al. 2018 (arXiv 1712.09913); the layout is that of the authors' ``plot_surface.py``.

    >>> import tempfile
    >>> from landscape.results import Plane
    >>> x, y = np.linspace(-1, 1, 11), np.linspace(-1, 1, 7)
    >>> bowl = Plane(x=x, y=y, values={"train/loss": x**2 + y[:, None] ** 2}, computed=np.ones((7, 11)))
    >>> [surface] = goldstein(bowl, Path(tempfile.mkdtemp()) / "bowl.h5")
    >>> with h5py.File(surface) as file:
    ...     sorted(file), file["train_loss"].shape
    (['dir_file', 'landscape', 'train_loss', 'xcoordinates', 'ycoordinates'], (7, 11))
    """
    result = check_slice(result, "a surface file")
    names = surface_names(result.values)
    if not any(name.endswith("_loss") for name in names.values()):
        held = ", ".join(sorted(result.values)) or "nothing"
        raise LandscapeError(f"a surface file needs 'train/loss' or 'test/loss'; this {result.kind} holds {held}")
    surface = Path(path).expanduser()
    directions = surface.with_name(f"{surface.stem}_directions.h5")
    vectors = None if result.directions is None else result.directions.vectors
    parts = None if vectors is None else _cut(np.atleast_2d(vectors), shapes)
    files = [surface]
    with ExitStack() as stack:
        with h5py.File(stack.enter_context(replacing(surface)), "w") as file:
            _write_surface(file, result, names, "" if parts is None else directions.name)
        if parts is not None:
            assert result.directions is not None
            files.append(directions)
            with h5py.File(stack.enter_context(replacing(directions)), "w") as file:
                _write_directions(file, parts, result.directions)
        if projection is not None:
            files.append(surface.with_name(f"{directions.name}_proj_cos.h5"))
            with h5py.File(stack.enter_context(replacing(files[-1])), "w") as file:
                _write_projection(file, projection)
    return files


def _write_surface(file: h5py.File, result: Line | Plane, names: Mapping[str, str], direction_file: str) -> None:
    file["dir_file"] = direction_file
    _coordinates(file, "xcoordinates", result.x, "coordinate along the first direction")
    if isinstance(result, Plane):
        _coordinates(file, "ycoordinates", result.y, "coordinate along the second direction")
    ours = file.create_group("landscape")
    ours.attrs["about"] = "what the original loss-landscape files have no place for"
    ours.attrs["landscape_version"] = __version__
    for key in ("kind", "dataset"):
        ours.attrs[key] = getattr(result, key)
    ours.attrs["provenance"] = to_json(result.provenance)
    computed = np.asarray(result.computed) != 0 if isinstance(result, Plane) else np.ones(len(result.x), dtype=bool)
    ours.create_dataset("computed", data=computed.astype(np.uint8))
    for key, value in result.values.items():
        stored = np.asarray(value, dtype=np.float64)
        if key in names:
            scale = accuracy_scale(key)
            compatible = np.where(computed, scale * stored, NOT_COMPUTED)
            dataset = file.create_dataset(names[key], data=compatible)
            dataset.attrs["units"] = "percent" if scale == 100 else "1"
            dataset.attrs["not_computed"] = NOT_COMPUTED
        else:
            dataset = ours.create_dataset(f"values/{key}", data=stored)
        dataset.attrs["long_name"] = key
        dataset.attrs["axes"] = "y, x (x fastest)" if isinstance(result, Plane) else "x"
    if result.directions is not None:
        _describe(ours.create_group("directions"), result.directions)


def _coordinates(file: h5py.File, name: str, values: np.ndarray, long_name: str) -> None:
    dataset = file.create_dataset(name, data=np.asarray(values, dtype=np.float64))
    dataset.attrs["long_name"] = long_name


def _describe(group: h5py.Group, directions: Directions) -> None:
    group.create_dataset("norms", data=directions.norms)
    group.create_dataset("cosines", data=directions.cosines)
    for key in ("direction_kind", "normalize", "vectors_as", "sha256"):
        group.attrs[key] = getattr(directions, key)
    if directions.seed is not None:
        group.attrs["seed"] = directions.seed
    if directions.notes:
        group.attrs["notes"] = "\n".join(directions.notes)


def _write_directions(file: h5py.File, parts: Sequence[Sequence[np.ndarray]], directions: Directions) -> None:
    for axis, tensors in zip(("xdirection", "ydirection"), parts, strict=False):
        group = file.create_group(axis)
        for index, tensor in enumerate(tensors):
            group.create_dataset(str(index), data=tensor)
    explained = directions.info.get("explained_variance_ratio")
    if explained is not None:
        file["explained_variance_ratio_"] = np.asarray(explained, dtype=np.float64)
    _describe(file.create_group("landscape"), directions)


def _write_projection(file: h5py.File, projection: np.ndarray) -> None:
    points = np.asarray(projection, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise LandscapeError(f"a projection of shape {points.shape}, expected (T, 2): one point a checkpoint")
    file["proj_xcoord"], file["proj_ycoord"] = points.T


def _cut(vectors: np.ndarray, shapes: Shapes | None) -> list[list[np.ndarray]]:
    """Cut flat vectors (n, P) into float32 tensors of the given shapes, as the original stores them."""
    size = vectors.shape[1]
    given: Any = shapes.values() if isinstance(shapes, Mapping) else shapes
    wanted = [(size,)] if given is None else [tuple(int(extent) for extent in shape) for shape in given]
    sizes = [math.prod(shape) for shape in wanted]
    if sum(sizes) != size:
        raise LandscapeError(f"the shapes hold {sum(sizes)} parameters, the directions {size}; give those of the model")
    ends = np.cumsum(sizes)[:-1]
    return [
        [part.reshape(shape).astype(np.float32) for part, shape in zip(np.split(vector, ends), wanted, strict=True)]
        for vector in vectors
    ]
