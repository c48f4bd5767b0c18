"""From quadrature nodes to a density on an axis: a Gaussian a node, a band from the spread over probes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from scipy.stats import norm

from landscape.errors import LandscapeError
from landscape.results import SpectralDensity

Axis = Literal["linear", "log"]

SMALLEST = 1e-8
"""|λ| / max|λ| at which the logarithmic axis begins; smaller nodes are rounding."""


@dataclass(frozen=True)
class Smoothed:
    """A density and its standard error on a grid, as the fields of `SpectralDensity` name them."""

    axis: str
    positive: bool
    width: float
    grid: np.ndarray
    density: np.ndarray
    standard_error: np.ndarray
    negative_density: np.ndarray | None = None
    negative_standard_error: np.ndarray | None = None


def resmooth(
    density: SpectralDensity,
    *,
    axis: Axis = "linear",
    width: float | None = None,
    grid: Any = None,
    points: int = 1000,
    positive: bool | None = None,
) -> SpectralDensity:
    """Draw the same quadrature nodes on another axis, with another width or grid; no products are spent.

    Args:
        density: the density to draw again.
        axis: ``linear``, or ``log`` for the density per decade of |λ|.
        width: standard deviation of the Gaussian, in units of the axis; None as in `spectral_density`.
        grid: axis values (g,); positive on the logarithmic axis. None covers all nodes.
        points: length of the grid made where none is given.
        positive: whether to reflect at zero what the Gaussians put below it; None as in the density.

    Returns:
        A new `SpectralDensity`.

    Raises:
        LandscapeError: unknown axis, a width that is not positive, or a grid that does not fit the axis.
    """
    positive = density.positive if positive is None else positive
    drawn = smooth(density.nodes, density.weights, axis=axis, width=width, grid=grid, points=points, positive=positive)
    return density.replace(**vars(drawn))


def smooth(
    nodes: np.ndarray,
    weights: np.ndarray,
    *,
    axis: Axis = "linear",
    width: float | None = None,
    grid: Any = None,
    points: int = 1000,
    positive: bool = False,
) -> Smoothed:
    """Replace each node by a Gaussian and average over probes; arguments as in `resmooth`.

    Of a positive operator N(x; θ, width²) + N(−x; θ, width²) is drawn for x ≥ 0: reflected at zero, its area stays one.
    """
    if axis not in get_args(Axis):
        raise LandscapeError(f"axis={axis!r} is unknown: use 'linear' or 'log'")
    if width is not None and not width > 0:
        raise LandscapeError(f"width={width} is a standard deviation: use width > 0, or None for the default")
    if axis == "log":
        return _logarithmic(nodes, weights, width, grid, points, positive)
    extent, largest = float(np.ptp(nodes)), float(np.abs(nodes).max())
    if extent <= SMALLEST * largest:
        extent = largest or 1.0
    width = width or extent / nodes.shape[1]
    if grid is None:
        lowest = float(nodes.min() - 4 * width)
        grid = np.linspace(max(lowest, 0.0) if positive else lowest, nodes.max() + 4 * width, points)
    axis_values = np.asarray(grid, dtype=np.float64)
    mean, error = _mixture(axis_values, nodes, weights, width, reflect=positive)
    return Smoothed("linear", positive, width, axis_values, mean, error)


def _logarithmic(
    nodes: np.ndarray, weights: np.ndarray, width: float | None, grid: Any, points: int, positive: bool
) -> Smoothed:
    sizes = np.abs(nodes)
    largest = float(sizes.max())
    if largest == 0:
        raise LandscapeError("every eigenvalue is zero, which a logarithmic axis cannot show: use axis='linear'")
    seen = sizes > SMALLEST * largest
    decades = np.log10(np.where(seen, sizes, largest))
    width = width or max(float(np.ptp(decades)), 0.1) / nodes.shape[1]
    if grid is None:
        grid = np.logspace(decades.min() - 4 * width, decades.max() + 4 * width, points)
    axis_values = np.asarray(grid, dtype=np.float64)
    if not np.all(axis_values > 0):
        raise LandscapeError("the grid of a logarithmic axis holds values of zero or below: pass |λ| > 0")
    where = np.log10(axis_values)
    above = _mixture(where, decades, np.where(seen & (nodes > 0), weights, 0.0), width)
    below = _mixture(where, decades, np.where(seen & (nodes < 0), weights, 0.0), width)
    return Smoothed("log", positive, width, axis_values, *above, *below)


def _mixture(
    grid: np.ndarray, nodes: np.ndarray, weights: np.ndarray, width: float, *, reflect: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean over probes of Σ w N(x; θ, width²) and its standard error."""
    curves = np.stack(
        [norm.pdf(grid[:, None], node[None], width) @ weight for node, weight in zip(nodes, weights, strict=True)]
    )
    if reflect:
        mirrored = [norm.pdf(-grid[:, None], node[None], width) @ w for node, w in zip(nodes, weights, strict=True)]
        curves = np.where(grid < 0, 0.0, curves + np.stack(mirrored))
    if len(curves) == 1:
        return curves[0], np.full_like(curves[0], np.nan)
    return curves.mean(0), curves.std(0, ddof=1) / len(curves) ** 0.5
