"""The HDF5 files of the original loss-landscape code (Li et al. 2018): written for its plotting scripts, and read.

Its scripts read five kinds of names: ``xcoordinates``, ``ycoordinates``, ``train_loss``, ``train_acc`` and the same for
``test``. These stand at the root, as there: float64, losses as means over examples, accuracies in percent. Arrays of a
plane are (ny, nx) with x fastest: the bytes of the original's square files, and on other grids the shape that its
``plot_2D.py`` can draw (its own non-square files it cannot). What we know beyond that is in attributes and in the group
``landscape``, which the old scripts ignore. Nothing in a file that is read is executed or followed.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from landscape._version import __version__
from landscape.errors import LandscapeError
from landscape.exchange.paraview import check_slice
from landscape.exchange.text import to_json
from landscape.results import Directions, Line, Plane
from landscape.store.files import replacing
from landscape.store.safe import member, opened, read_dataset

SOURCE = "loss-landscape"
METRICS = {"loss": "loss", "accuracy": "acc"}
"""Our names of metrics and the original's."""
_OURS = {theirs: ours for ours, theirs in METRICS.items()}
DATA = ("train", "test", "val")
NOT_COMPUTED = -1.0
"""What the original writes where it has not computed yet."""

Shapes = Mapping[str, Sequence[int]] | Sequence[Sequence[int]]
Layout = Literal["auto", "yx", "xy"]


def write_goldstein(
    result: Line | Plane,
    path: str | os.PathLike[str],
    *,
    shapes: Shapes | None = None,
    projection: np.ndarray | None = None,
) -> list[Path]:
    """Write a line or a plane as a surface file of the original loss-landscape code, with its directions beside it.

    Args:
        result: with values such as ``train/loss`` and ``train/accuracy``; other values go into the group ``landscape``.
        path: the surface file; `landscape.exchange.surface_name` gives the name the original would choose. The directions
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
    >>> [surface] = write_goldstein(bowl, Path(tempfile.mkdtemp()) / "bowl.h5")
    >>> with h5py.File(surface) as file:
    ...     sorted(file), file["train_loss"].shape
    (['dir_file', 'landscape', 'train_loss', 'xcoordinates', 'ycoordinates'], (7, 11))
    """
    result = check_slice(result, "a surface file", Line, Plane)
    known = {f"{data}/{ours}": f"{data}_{theirs}" for data in ("train", "test") for ours, theirs in METRICS.items()}
    names = {key: known[key] for key in result.values if key in known}
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
                _write_projection(file, np.asarray(projection, dtype=np.float64))
    return files


def _write_surface(file: h5py.File, result: Line | Plane, names: Mapping[str, str], direction_file: str) -> None:
    file["dir_file"] = direction_file
    for axis, which in (("x", "first"), ("y", "second")):
        if hasattr(result, axis):
            coordinates = file.create_dataset(f"{axis}coordinates", data=np.asarray(getattr(result, axis), np.float64))
            coordinates.attrs["long_name"] = f"coordinate along the {which} direction"
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
            scale = _scale(key)
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


def _write_projection(file: h5py.File, points: np.ndarray) -> None:
    if points.ndim != 2 or points.shape[1] != 2:
        raise LandscapeError(f"a projection of shape {points.shape}, expected (T, 2): one point per checkpoint")
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


def direction_name(
    model_file: str,
    *,
    kind: str = "weights",
    ignore: str = "biasbn",
    norm: str = "filter",
    two: bool = True,
    index: int = 0,
) -> str:
    """Return the name the original gives to a file of random directions.

    Args:
        model_file: the checkpoint.
        kind: ``weights`` or ``states``.
        ignore: ``biasbn`` when biases and norm parameters stay, otherwise empty.
        norm: ``filter``, ``layer``, ``weight`` …, or empty.
        two: two directions.
        index: number of the draw, from 1; 0: none.

    >>> direction_name("model_300.t7")
    'model_300.t7_weights_xignore=biasbn_xnorm=filter_yignore=biasbn_ynorm=filter.h5'
    """
    axes = ("x", "y") if two else ("x",)
    parts = [f"_{axis}{key}={value}" for axis in axes for key, value in (("ignore", ignore), ("norm", norm)) if value]
    return f"{model_file}_{kind}{''.join(parts)}{f'_idx={index}' if index > 0 else ''}.h5"


def surface_name(direction_file: str, result: Any) -> str:
    """Return the name the original gives to the surface file of a line or plane.

    >>> surface_name("dirs.h5", Line(x=np.linspace(-1, 1, 51), values={}))
    'dirs.h5_[-1.0,1.0,51].h5'
    """
    grids = [result.x, result.y] if isinstance(result, Plane) else [result.x]
    return f"{direction_file}_{'x'.join(f'[{float(g[0])},{float(g[-1])},{len(g)}]' for g in grids)}.h5"


def _scale(key: str) -> float:
    """Return 100 for accuracies, which the original keeps in percent, and 1 for everything else."""
    return 100.0 if key.endswith("/accuracy") else 1.0


def read_goldstein(
    path: str | os.PathLike[str], *, layout: Layout = "auto", directions: Directions | None = None
) -> Plane | Line:
    """Read a surface file of the original loss-landscape code as a plane or line.

    The original fills its arrays with x fastest and declares them (nx, ny) all the same, so a file that is not square
    must be reshaped, not transposed. Copies that loop over x outside (LightZero's among them) store the transpose under
    the same names. Files of the original, and ours, name their directions in ``dir_file``; those copies do not.

    Args:
        path: the file.
        layout: ``yx`` (the original: x fastest), ``xy`` (y fastest), or ``auto``: ``yx`` when there is a ``dir_file``.
        directions: read by `read_goldstein_directions`; the path in ``dir_file`` is not followed.

    Returns:
        A plane when there are ``ycoordinates``, otherwise a line. Accuracies are shares; points that the original marks
        as not computed (−1) are NaN.

    Raises:
        LandscapeError: a file of another kind, damaged, or with arrays that do not fit the grid.

    Source: Li et al. 2018 (arXiv 1712.09913), ``plot_surface.py`` of the authors' code.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "surface.h5"
    >>> x, y = np.linspace(-1, 1, 11), np.linspace(-1, 1, 7)
    >>> with h5py.File(path, "w") as file:
    ...     file["dir_file"], file["xcoordinates"], file["ycoordinates"] = "directions.h5", x, y
    ...     file["train_loss"] = (x**2 + y[:, None] ** 2).reshape(11, 7)  # as the original declares it
    >>> read_goldstein(path).loss.shape
    (7, 11)
    """
    if layout not in ("auto", "yx", "xy"):
        raise LandscapeError(f"layout={layout!r}; expected 'auto', 'yx' (x fastest) or 'xy' (y fastest)")
    with opened(Path(path).expanduser(), expected="a surface file of the original loss-landscape code") as file:
        source = Path(path)
        two = "ycoordinates" in file
        axes = [_numbers(file, name) for name in ("xcoordinates", "ycoordinates")[: 1 + two]]
        used = ("yx" if "dir_file" in file else "xy") if layout == "auto" else layout
        arrays = {key: _numbers(file, name) for key, name in _names(file).items()}
        if not arrays:
            raise LandscapeError(f"{source.name} holds no values such as train_loss; expected a surface file")
        mask = _numbers(file, "landscape/computed") if "landscape/computed" in file else None
    if any(axis.ndim != 1 for axis in axes):
        raise LandscapeError(
            f"{source.name}: coordinates of shape {[a.shape for a in axes]}, expected those of one axis each"
        )
    shape = tuple(map(len, reversed(axes)))
    values = {key: _grid(value, shape, used, key, source) for key, value in arrays.items()}
    losses = [value for key, value in values.items() if key.endswith("loss")] or list(values.values())
    computed = np.all([value != NOT_COMPUTED for value in losses], axis=0) if mask is None else mask != 0
    if computed.shape != shape:
        raise LandscapeError(f"{source.name}: its mask of computed points has shape {computed.shape}, expected {shape}")
    about: dict[str, Any] = {
        "values": {key: np.where(computed, value / _scale(key), np.nan) for key, value in values.items()},
        "directions": directions,
        "dataset": next((data for data in DATA if f"{data}/loss" in values), "train"),
        "provenance": {"imported_from": SOURCE, "file": source.name},
    }
    if not two:
        return Line(x=axes[0], **about)
    about["provenance"]["layout"] = used
    return Plane(x=axes[0], y=axes[1], computed=computed.astype(np.uint8), **about)


def read_goldstein_directions(path: str | os.PathLike[str]) -> Directions:
    """Read a direction file of the original loss-landscape code.

    Args:
        path: the file.

    Returns:
        Directions (n, P): the tensors of each direction one after the other. ``info["shapes"]`` has their shapes, and
        ``info["explained_variance_ratio"]`` what a principal-component file says.

    Raises:
        LandscapeError: a file of another kind, or damaged.
    """
    with opened(Path(path).expanduser(), expected="a direction file of the original loss-landscape code") as file:
        groups = [member(file, name) for name in ("xdirection", "ydirection") if name in file]
        found = [[_numbers(g, str(i)) for i in range(len(g))] for g in groups if isinstance(g, h5py.Group)]
        explained = _numbers(file, "explained_variance_ratio_") if "explained_variance_ratio_" in file else None
    if not found or len(found) < len(groups) or len({tuple(t.shape for t in tensors) for tensors in found}) > 1:
        raise LandscapeError(f"{Path(path).name} holds no directions over the same parameters; it is of another kind")
    vectors = np.stack([np.concatenate([tensor.ravel() for tensor in tensors]) for tensors in found])
    norms = np.linalg.norm(vectors, axis=1)
    safe = np.where(norms > 0, norms, 1.0)
    info: dict[str, Any] = {"shapes": [list(tensor.shape) for tensor in found[0]]}
    if explained is not None:
        info["explained_variance_ratio"] = explained.tolist()
    return Directions(
        vectors=vectors,
        norms=norms,
        cosines=(vectors @ vectors.T) / np.outer(safe, safe),
        direction_kind="pca" if explained is not None else "imported",
        normalize="unknown",
        vectors_as="unknown",
        sha256=hashlib.sha256(np.ascontiguousarray(vectors).tobytes()).hexdigest(),
        info=info,
        provenance={"imported_from": SOURCE, "file": Path(path).name},
    )


def read_goldstein_projection(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a projection file of the original loss-landscape code.

    Args:
        path: the file.

    Returns:
        (T, 2) coordinates of the checkpoints, relative to the last one.

    Raises:
        LandscapeError: a file of another kind, or damaged.
    """
    with opened(Path(path).expanduser(), expected="a projection file of the original loss-landscape code") as file:
        x, y = _numbers(file, "proj_xcoord"), _numbers(file, "proj_ycoord")
    if x.shape != y.shape or x.ndim != 1:
        raise LandscapeError(f"{Path(path).name} has {x.shape} and {y.shape} coordinates, expected as many of each")
    return np.stack([x, y], axis=1)


def _names(file: h5py.File) -> dict[str, str]:
    """Return {our key: dataset} of all values: ``train_acc`` is ``train/accuracy``, ``train_total_loss`` itself."""
    found = {}
    for name in file:
        data, underscore, metric = name.partition("_")
        if data in DATA and underscore:
            found[f"{data}/{_OURS.get(metric, metric)}"] = name
        elif name in ("min_eig", "max_eig"):
            found[f"hessian/{name.replace('_', '-')}"] = name
    ours = member(file, "landscape/values")
    if isinstance(ours, h5py.Group):
        for data in ours:
            group = member(ours, data)
            names = list(group) if isinstance(group, h5py.Group) else []
            found |= {f"{data}/{metric}": f"landscape/values/{data}/{metric}" for metric in names}
    return found


def _grid(value: np.ndarray, shape: tuple[int, ...], layout: str, key: str, file: Path) -> np.ndarray:
    """Return values (nx,) or (ny, nx), whatever shape the file declares."""
    declared = {shape, shape[::-1]} if layout == "yx" or len(set(shape)) == 1 else {shape[::-1]}
    if value.shape not in declared:
        raise LandscapeError(f"{file.name}: {key!r} has shape {value.shape}, expected {shape[::-1]} for {layout!r}")
    return value.reshape(shape) if layout == "yx" or len(shape) == 1 else value.T


def _numbers(file: h5py.Group, name: str) -> np.ndarray:
    """Return a dataset of plain numbers as float64; nothing else is read, and no more than is stored."""
    found = member(file, name)
    if not isinstance(found, h5py.Dataset):
        raise LandscapeError(f"the file holds no array {name!r}; it is of another kind")
    array = np.asarray(read_dataset(found))
    if array.dtype.kind not in "biuf":
        raise LandscapeError(f"{name!r} holds {array.dtype} values, expected numbers")
    return array.astype(np.float64)
