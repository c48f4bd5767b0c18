"""Numbers read off a slice: curvature, widths, asymmetry, roughness, non-convexity, volume; and its quadratic model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from landscape.errors import LandscapeError
from landscape.results import Line, Plane
from landscape.results.slices import Reading, Slice

S = TypeVar("S", Line, Plane)


@dataclass(frozen=True, eq=False)
class Surface:
    """Values over a grid of one to three axes.

    Attributes:
        values: C order, x fastest: (nx,), (ny, nx) or (nz, ny, nx).
        axes: coordinates, x first.
        metric: name of the values.
    """

    values: np.ndarray
    axes: tuple[np.ndarray, ...]
    metric: str

    @property
    def window(self) -> tuple[tuple[float, float], ...]:
        """(low, high) of each axis, x first."""
        return tuple((float(axis[0]), float(axis[-1])) for axis in self.axes)

    @property
    def resolution(self) -> tuple[int, ...]:
        """Points on each axis, x first."""
        return tuple(len(axis) for axis in self.axes)

    @property
    def masked(self) -> int:
        """Number of cells without a finite value."""
        return int((~np.isfinite(self.values)).sum())


def surface_of(given: Slice | np.ndarray, metric: str = "loss", dataset: str | None = None) -> Surface:
    """Return the values of a line, plane or volume with their axes; an array gets its indices as coordinates.

    Raises:
        LandscapeError: there is no such metric, no finite value, or the dimension is not 1, 2 or 3.
    """
    if isinstance(given, Slice):
        try:
            values = given.value(metric, dataset)
        except KeyError as error:
            raise LandscapeError(str(error.args[0])) from error
        axes = tuple(given.axes.values())
        name = f"{dataset or given.dataset}/{metric}"
    else:
        values = np.asarray(given, dtype=np.float64)
        axes = tuple(np.arange(float(n)) for n in reversed(values.shape))
        name = metric
    if not 1 <= values.ndim <= 3 or values.size == 0:
        raise LandscapeError(f"values of shape {values.shape}, expected a line, plane or volume")
    if not np.isfinite(values).any():
        raise LandscapeError("no cell of the slice has a finite value; choose a smaller span")
    return Surface(np.asarray(values, dtype=np.float64), axes, name)


def centre_of(axis: np.ndarray) -> int:
    """Return the index of coordinate 0 on an axis, up to the rounding of evenly spaced numbers.

    Raises:
        LandscapeError: it is not on the grid.

    >>> centre_of(np.array([-1.0, 0.0, 2.0]))
    1
    """
    at = int(np.abs(axis).argmin())
    if abs(axis[at]) > 1e-9 * float(np.abs(axis).max()):
        raise LandscapeError(
            "the centre (coordinate 0) is not on the grid; use an odd number of points and a symmetric span"
        )
    return at


def read_slice(
    surface: Slice,
    *,
    metric: str = "loss",
    dataset: str | None = None,
    taus: Sequence[float] = (0.1, 1.0),
    epsilons: Sequence[float] = (0.1, 1.0),
    hessian: Sequence[float] | None = None,
) -> Reading:
    r"""Read the numbers off a line or plane that papers compare by eye.

    ================ ==========================================================================================
    curvature        second difference at the centre along each axis, from its nearest neighbours
    half-width       :math:`\min\{t : L(t) - L_0 \ge \tau\}` on each side of each axis, interpolated linearly
    asymmetry        :math:`(L(t) - L(-t)) / (L(t) + L(-t) - 2 L_0)` at the largest t on both sides
    roughness        :math:`\sum_\text{halves} (\mathrm{TV} - |L(T) - L_0|)`, zero when each half is monotone
    total variation  mean absolute difference between neighbouring cells over the range of the values
    non-convex       share of inner cells with a negative eigenvalue of the Hessian of differences
    volume fraction  share of the window's area with :math:`L < L_0 + \varepsilon`
    ================ ==========================================================================================

    All hold for this window and resolution, which the result records. One random slice says little: read many and
    report their spread.

    Args:
        surface: a line or plane whose grid holds the centre, coordinate 0 on every axis.
        metric: which values.
        dataset: of which data set; `None`: the slice's own.
        taus: rises of the loss at which half-widths are taken.
        epsilons: rises below which the volume is counted.
        hessian: dᵀHd along each axis, to be kept beside the curvature.

    Raises:
        LandscapeError: the centre is not on the grid or its value not finite, or the slice is a volume.

    Source: half-widths and roughness: Li et al. 2018, arXiv 1712.09913; asymmetry: He et al. 2019, arXiv 1902.00744.

    >>> from landscape.results import Line
    >>> x = np.linspace(-1, 1, 5)
    >>> found = read_slice(Line(x=x, values={"train/loss": 3 * x**2}))
    >>> found.curvature, found.nonconvex, found.asymmetry
    ((6.0,), 0.0, (0.0,))
    """
    started = time.perf_counter()
    grid = surface_of(surface, metric, dataset)
    if grid.values.ndim > 2:
        raise LandscapeError("a volume has no reading; take planes of it")
    centre = tuple(centre_of(axis) for axis in reversed(grid.axes))
    value = float(grid.values[centre])
    if not np.isfinite(value):
        raise LandscapeError(f"the value at the centre is {value}; expected a finite one")
    lines = [grid.values] if len(centre) == 1 else [grid.values[centre[0]], grid.values[:, centre[1]]]
    halves = [_halves(axis, line) for axis, line in zip(grid.axes, lines, strict=True)]
    return Reading(
        metric=grid.metric,
        centre=value,
        lowest=float(grid.values[np.isfinite(grid.values)].min()),
        curvature=tuple(_curvature(axis, line) for axis, line in zip(grid.axes, lines, strict=True)),
        hessian=None if hessian is None else tuple(map(float, hessian)),
        half_widths={
            f"{tau:g}": tuple((reach(*left, value + tau), reach(*right, value + tau)) for left, right in halves)
            for tau in taus
        },
        asymmetry=tuple(_asymmetry(left, right) for left, right in halves),
        roughness=tuple(_roughness(left[1]) + _roughness(right[1]) for left, right in halves),
        total_variation=_total_variation(grid.values),
        nonconvex=nonconvex_share(grid),
        volume_fraction={f"{epsilon:g}": _volume_fraction(grid, value + epsilon) for epsilon in epsilons},
        window=grid.window,
        resolution=grid.resolution,
        masked=grid.masked,
        provenance=surface.provenance,
        seconds=time.perf_counter() - started,
    )


def second_differences(values: np.ndarray, axis: np.ndarray, dimension: int) -> np.ndarray:
    """Return the second derivative by differences of three neighbours, on grids of any spacing; the rim is left out.

    >>> second_differences(np.array([0.0, 1.0, 9.0, 16.0]), np.array([0.0, 1.0, 3.0, 4.0]), 0)  # of x²
    array([2., 2.])
    """
    moved = np.moveaxis(values, dimension, -1)
    before, after = np.diff(axis)[:-1], np.diff(axis)[1:]
    slopes = np.diff(moved, axis=-1) / np.diff(axis)
    return np.moveaxis(2 * np.diff(slopes, axis=-1) / (before + after), -1, dimension)


def nonconvex_share(grid: Surface) -> float | None:
    """Return the share of the inner cells where the Hessian of differences has a negative eigenvalue.

    Cells whose stencil holds a value that is not finite are left out. Second differences below rounding count as zero.
    """
    values = grid.values
    if min(values.shape) < 3:
        return None
    finite = values[np.isfinite(values)]
    with np.errstate(invalid="ignore"):
        xx = second_differences(values, grid.axes[0], values.ndim - 1)
        if values.ndim == 1:
            lowest = xx
        else:
            yy = second_differences(values, grid.axes[1], 0)[:, 1:-1]
            xx = xx[1:-1]
            cross = values[2:, 2:] - values[2:, :-2] - values[:-2, 2:] + values[:-2, :-2]
            wide, high = (axis[2:] - axis[:-2] for axis in grid.axes)
            xy = cross / np.outer(high, wide)
            lowest = (xx + yy) / 2 - np.hypot((xx - yy) / 2, xy)
    step = min(float(np.diff(axis).min()) for axis in grid.axes)
    floor = 16 * np.finfo(np.float64).eps * float(np.abs(finite).max()) / step**2
    usable = lowest[np.isfinite(lowest)]
    return float((usable < -floor).mean()) if usable.size else None


Half = tuple[np.ndarray, np.ndarray]


def _halves(axis: np.ndarray, line: np.ndarray) -> tuple[Half, Half]:
    """Return distances from the centre and values on its two sides, outwards."""
    at = centre_of(axis)
    return (-axis[at::-1], line[at::-1]), (axis[at:], line[at:])


def _curvature(axis: np.ndarray, line: np.ndarray) -> float:
    at = centre_of(axis)
    if at in (0, len(axis) - 1):
        return float("nan")
    return float(second_differences(line[at - 1 : at + 2], axis[at - 1 : at + 2], 0)[0])


def reach(distance: np.ndarray, values: np.ndarray, level: float) -> float:
    """Return the distance at which the values first reach a level, inf if they do not; NaN cells reach nothing."""
    above = np.flatnonzero(values >= level)
    if above.size == 0:
        return float("inf")
    i = int(above[0])
    if i == 0 or not np.isfinite(values[i]) or not np.isfinite(values[i - 1]):
        return float(distance[i])
    share = (level - values[i - 1]) / (values[i] - values[i - 1])
    return float(distance[i - 1] + share * (distance[i] - distance[i - 1]))


def _asymmetry(left: Half, right: Half) -> float:
    """Return the asymmetry at the largest distance that both sides have."""
    common = [t for t in right[0] if t > 0 and np.isclose(left[0], t, rtol=1e-9, atol=0).any()]
    if not common:
        return float("nan")
    low = left[1][np.isclose(left[0], common[-1], rtol=1e-9, atol=0)][0]
    high = right[1][right[0] == common[-1]][0]
    rise = low + high - 2 * left[1][0]
    return float((high - low) / rise) if rise != 0 and np.isfinite(rise) else float("nan")


def _roughness(values: np.ndarray) -> float:
    """Return the total variation less the net change, over the finite values from the centre to the first gap."""
    finite = np.isfinite(values)
    end = len(values) if finite.all() else int(np.argmin(finite))
    inside = values[:end]
    return float(np.abs(np.diff(inside)).sum() - abs(inside[-1] - inside[0]))


def _total_variation(values: np.ndarray) -> float:
    with np.errstate(invalid="ignore"):
        steps = np.concatenate([np.abs(np.diff(values, axis=k)).reshape(-1) for k in range(values.ndim)])
    steps, finite = steps[np.isfinite(steps)], values[np.isfinite(values)]
    spread = float(finite.max() - finite.min())
    return float(steps.mean() / spread) if steps.size and spread > 0 else 0.0


def _volume_fraction(grid: Surface, level: float) -> float:
    """Return the share of the window below a level; each cell stands for the region nearest to it."""
    weights = np.ones(())
    for axis in reversed(grid.axes):
        edges = np.concatenate([[axis[0]], (axis[1:] + axis[:-1]) / 2, [axis[-1]]])
        weights = np.multiply.outer(weights, np.diff(edges))
    with np.errstate(invalid="ignore"):
        return float(weights[grid.values < level].sum() / weights.sum())


def quadratic_overlay(surface: S, matrix: np.ndarray | float, *, slope: np.ndarray | float = 0.0) -> S:
    r"""Return a slice of the same window that holds the quadratic model of the loss around the centre.

    .. math:: L_0 + g^T c + \tfrac12 c^T M c, \qquad M_{ij} = d_i^T H d_j, \quad g_i = d_i^T \nabla L

    with coordinates c = (x, y). Along eigenvectors M is the diagonal of eigenvalues.

    Args:
        surface: the slice; coordinate 0 must be on the grid of every axis.
        matrix: dᵀHd for a line; (2, 2), or the two eigenvalues, for a plane.
        slope: dᵀ∇L along each axis.

    Raises:
        LandscapeError: a matrix of the wrong shape, or the centre is not on the grid.

    >>> line = Line(x=np.array([-1.0, 0.0, 1.0]), values={"train/loss": np.array([1.5, 0.5, 1.6])})
    >>> quadratic_overlay(line, 2.0).loss
    array([1.5, 0.5, 1.5])
    """
    axes = list(surface.axes.values())
    m = np.atleast_1d(np.asarray(matrix, dtype=np.float64))
    m = np.diag(m) if m.ndim == 1 else m
    g = np.broadcast_to(np.asarray(slope, dtype=np.float64), (len(axes),))
    if m.shape != (len(axes), len(axes)):
        raise LandscapeError(f"a matrix of shape {m.shape}, expected {len(axes)} × {len(axes)}: one row for each axis")
    centre = tuple(centre_of(axis) for axis in reversed(axes))
    c = np.stack(np.meshgrid(*axes), axis=-1)
    values = surface.loss[centre] + c @ g + np.einsum("...i,ij,...j->...", c, m, c) / 2
    return surface.replace(values={f"{surface.dataset}/loss": values}, evaluation="quadratic model")
