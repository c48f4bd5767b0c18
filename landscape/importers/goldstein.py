"""Surface, direction and projection files of the original loss-landscape code, and of those who copied its names."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Literal

import h5py
import numpy as np

from landscape.errors import LandscapeError
from landscape.importers.files import hdf5, numbers
from landscape.importers.grids import as_line, as_plane
from landscape.results import Directions, Line, Plane
from landscape.store.safe import member

Layout = Literal["auto", "yx", "xy"]
SOURCE = "loss-landscape"
METRICS = {"loss": "loss", "acc": "accuracy"}
NOT_COMPUTED = -1.0


def goldstein(
    path: str | os.PathLike[str], *, layout: Layout = "auto", directions: Directions | None = None
) -> Plane | Line:
    """Read a surface file of the original loss-landscape code as a plane or line.

    The original fills its arrays with x fastest and declares them (nx, ny) all the same, so a file that is not square
    must be reshaped, not transposed. Copies that loop over x outside (LightZero's among them) store the transpose under
    the same names. Files of the original, and ours, name their directions in ``dir_file``; those copies do not.

    Args:
        path: the file.
        layout: ``yx`` (the original: x fastest), ``xy`` (y fastest), or ``auto``: ``yx`` when there is a ``dir_file``.
        directions: read by `goldstein_directions`; the path in ``dir_file`` is not followed.

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
    >>> goldstein(path).loss.shape
    (7, 11)
    """
    if layout not in ("auto", "yx", "xy"):
        raise LandscapeError(f"layout={layout!r}; expected 'auto', 'yx' (x fastest) or 'xy' (y fastest)")
    with hdf5(path, "a surface file of the original loss-landscape code") as file:
        source = Path(path)
        x = numbers(file, "xcoordinates")
        y = numbers(file, "ycoordinates") if "ycoordinates" in file else None
        used = ("yx" if "dir_file" in file else "xy") if layout == "auto" else layout
        arrays = {key: numbers(file, name) for key, name in _names(file).items()}
        if not arrays:
            raise LandscapeError(f"{source.name} holds no values such as train_loss; expected a surface file")
        mask = numbers(file, "landscape/computed") if "landscape/computed" in file else None
    shape = (len(x),) if y is None else (len(y), len(x))
    values = {key: _grid(value, shape, used, key, source) for key, value in arrays.items()}
    computed = _computed(values) if mask is None else mask != 0
    if computed.shape != shape:
        raise LandscapeError(f"{source.name}: its mask of computed points has shape {computed.shape}, expected {shape}")
    values = {key: np.where(computed, value / _scale(key), np.nan) for key, value in values.items()}
    dataset = _dataset(values)
    if y is None:
        return as_line(x, values, source=SOURCE, file=source, dataset=dataset, directions=directions)
    return as_plane(
        x, y, values, source=SOURCE, file=source, dataset=dataset, computed=computed, directions=directions, layout=used
    )


def goldstein_directions(path: str | os.PathLike[str]) -> Directions:
    """Read a direction file of the original loss-landscape code.

    Args:
        path: the file.

    Returns:
        Directions (n, P): the tensors of each direction one after the other. ``info["shapes"]`` has their shapes, and
        ``info["explained_variance_ratio"]`` what a principal-component file says.

    Raises:
        LandscapeError: a file of another kind, or damaged.
    """
    with hdf5(path, "a direction file of the original loss-landscape code") as file:
        found = [_tensors(file, name) for name in ("xdirection", "ydirection") if name in file]
        explained = numbers(file, "explained_variance_ratio_") if "explained_variance_ratio_" in file else None
    if not found or len({tuple(t.shape for t in tensors) for tensors in found}) > 1:
        raise LandscapeError(f"{Path(path).name} holds no directions over the same parameters; it is of another kind")
    vectors = np.stack([np.concatenate([tensor.ravel() for tensor in tensors]) for tensors in found])
    norms = np.linalg.norm(vectors, axis=1)
    safe = np.where(norms > 0, norms, 1.0)
    return Directions(
        vectors=vectors,
        norms=norms,
        cosines=(vectors @ vectors.T) / np.outer(safe, safe),
        direction_kind="pca" if explained is not None else "imported",
        normalize="unknown",
        vectors_as="unknown",
        sha256=hashlib.sha256(np.ascontiguousarray(vectors).tobytes()).hexdigest(),
        info={
            "shapes": [list(tensor.shape) for tensor in found[0]],
            **({} if explained is None else {"explained_variance_ratio": explained.tolist()}),
        },
        provenance={"imported_from": SOURCE, "file": Path(path).name},
    )


def goldstein_projection(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a projection file of the original loss-landscape code.

    Args:
        path: the file.

    Returns:
        (T, 2) coordinates of the checkpoints, relative to the last one.

    Raises:
        LandscapeError: a file of another kind, or damaged.
    """
    with hdf5(path, "a projection file of the original loss-landscape code") as file:
        x, y = numbers(file, "proj_xcoord"), numbers(file, "proj_ycoord")
    if x.shape != y.shape or x.ndim != 1:
        raise LandscapeError(f"{Path(path).name} has {x.shape} and {y.shape} coordinates, expected as many of each")
    return np.stack([x, y], axis=1)


def _names(file: h5py.File) -> dict[str, str]:
    """Return {our key: dataset} of all values: ``train_acc`` is ``train/accuracy``, ``train_total_loss`` itself."""
    found = {}
    for name in file:
        data, underscore, metric = name.partition("_")
        if data in ("train", "test", "val") and underscore:
            found[f"{data}/{METRICS.get(metric, metric)}"] = name
        elif name in ("min_eig", "max_eig"):
            found[f"hessian/{name.replace('_', '-')}"] = name
    ours = member(file, "landscape/values")
    if isinstance(ours, h5py.Group):
        for data in ours:
            group = member(ours, data)
            names = list(group) if isinstance(group, h5py.Group) else []
            found |= {f"{data}/{metric}": f"landscape/values/{data}/{metric}" for metric in names}
    return found


def _dataset(values: dict[str, np.ndarray]) -> str:
    return next((data for data in ("train", "test", "val") if f"{data}/loss" in values), "train")


def _grid(value: np.ndarray, shape: tuple[int, ...], layout: str, key: str, file: Path) -> np.ndarray:
    """Return values (nx,) or (ny, nx), whatever shape the file declares."""
    declared = {shape, shape[::-1]} if layout == "yx" or len(set(shape)) == 1 else {shape[::-1]}
    if value.shape not in declared:
        raise LandscapeError(f"{file.name}: {key!r} has shape {value.shape}, expected {shape[::-1]} for {layout!r}")
    return value.reshape(shape) if layout == "yx" or len(shape) == 1 else value.T


def _computed(values: dict[str, np.ndarray]) -> np.ndarray:
    """Return where every loss differs from the original's mark."""
    losses = [value for key, value in values.items() if key.endswith("loss")]
    return np.all([value != NOT_COMPUTED for value in losses or values.values()], axis=0)


def _scale(key: str) -> float:
    return 100.0 if key.endswith("/accuracy") else 1.0


def _tensors(file: h5py.File, name: str) -> list[np.ndarray]:
    group = member(file, name)
    if not isinstance(group, h5py.Group):
        raise LandscapeError(f"{name!r} is no group of tensors; expected a direction file")
    return [numbers(group, str(index)) for index in range(len(group))]
