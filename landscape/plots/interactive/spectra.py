"""Eigenvalues and spectral densities to zoom into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb

from landscape.errors import LandscapeError
from landscape.plots.interactive.pages import plotly, styled
from landscape.plots.spectra import Spectra, groups_of
from landscape.plots.style import colour
from landscape.results import SpectralDensity


def density(results: SpectralDensity | Mapping[str, SpectralDensity], *, errors: float = 2.0, log: bool = True) -> Any:
    """Draw spectral densities with their error bands, and outliers as stems as high as one eigenvalue.

    Args:
        results: one density, or one a recipe.
        errors: half-width of the band in standard errors.
        log: logarithmic density.

    Returns:
        A ``plotly.graph_objects.Figure``; clicking on a name in the legend hides it.

    Raises:
        LandscapeError: plotly is not installed, or nothing to draw.

    >>> grid = np.linspace(-1, 1, 5)
    >>> found = SpectralDensity(
    ...     grid=grid, density=np.full(5, 0.5), standard_error=np.zeros(5), nodes=np.zeros((1, 1)), weights=np.ones((1, 1)),
    ...     operator="hessian", width=0.1, size=10, matvecs=1, outliers=np.array([3.0]),
    ... )
    >>> [trace.name for trace in density({"sgd": found}).data]
    ['sgd ± 2 standard errors', 'sgd', 'sgd: outliers']
    """
    go, _ = plotly()
    named = results if isinstance(results, Mapping) else {"density": results}
    if not named:
        raise LandscapeError("no densities to draw; give at least one")
    figure = go.Figure()
    heights = {name: 1 / (one.size * one.width * np.sqrt(2 * np.pi)) for name, one in named.items()}
    for index, (name, one) in enumerate(named.items()):
        tint, group = colour(index), {"legendgroup": name}
        red, green, blue = (round(255 * part) for part in to_rgb(tint))
        low, high = one.density - errors * one.standard_error, one.density + errors * one.standard_error
        low = np.maximum(low, heights[name] * 1e-3 if log else -np.inf)
        figure.add_scatter(
            x=np.concatenate([one.grid, one.grid[::-1]]), y=np.concatenate([high, low[::-1]]), fill="toself",
            fillcolor=f"rgba({red},{green},{blue},0.25)", line={"width": 0}, hoverinfo="skip", showlegend=False,
            name=f"{name} ± {errors:g} standard errors", **group,
        )  # fmt: skip
        figure.add_scatter(
            x=one.grid, y=one.density, customdata=one.standard_error, name=name, line={"color": tint}, **group,
            hovertemplate="λ %{x:.4g}<br>density %{y:.3g} ± %{customdata:.2g}",
        )  # fmt: skip
        if one.outliers is not None and len(one.outliers):
            stems = np.repeat(one.outliers, 3)
            ends = np.tile([heights[name] * 1e-3 if log else 0.0, heights[name], np.nan], len(one.outliers))
            figure.add_scatter(
                x=stems, y=ends, mode="lines+markers", name=f"{name}: outliers", line={"color": tint, "width": 1},
                marker={"size": 5}, hovertemplate="outlier λ %{x:.6g}", showlegend=False, **group,
            )  # fmt: skip
    operators = ", ".join(sorted({one.operator for one in named.values()}))
    axis: dict[str, Any] = {"title": "density"}
    if log:
        top = max(float(np.nanmax(one.density)) for one in named.values())
        axis |= {"type": "log", "range": [float(np.log10(0.5 * min(heights.values()))), float(np.log10(2 * top))]}
    return styled(figure, xaxis_title=f"eigenvalue ({operators})", yaxis=axis, height=480)


def eigenvalues(results: Spectra | Mapping[str, Spectra], *, log: bool | None = None) -> Any:
    """Draw eigenvalues by rank with their residuals as bars, for several recipes and seeds.

    Args:
        results: one result, one a seed, or such by recipe.
        log: logarithmic axis; `None`: when every eigenvalue is positive.

    Returns:
        A ``plotly.graph_objects.Figure``. Pairs that did not converge have open markers.

    Raises:
        LandscapeError: plotly is not installed, nothing to draw, or a logarithmic axis for eigenvalues not positive.

    >>> from landscape.results import Eigenpairs
    >>> pairs = Eigenpairs(
    ...     values=np.array([3.0, 1.0]), residuals=np.array([0.1, 0.1]), operator="hessian", which="LA", tol=1e-3,
    ...     matvecs=9, converged=True,
    ... )
    >>> eigenvalues({"sgd": [pairs]}).data[0].y.tolist()
    [3.0, 1.0]
    """
    go, _ = plotly()
    groups, logarithmic = groups_of(results, log)
    figure = go.Figure()
    for index, (name, found) in enumerate(groups.items()):
        for seed, pairs in enumerate(found):
            slot = 0.7 / len(groups)
            offset = (index - (len(groups) - 1) / 2) * slot + 0.6 * slot * (seed / max(len(found) - 1, 1) - 0.5)
            ranks = np.arange(1, len(pairs.values) + 1)
            label = f"{name}, seed {seed}" if len(found) > 1 else name
            figure.add_scatter(
                x=ranks + (offset if len(found) > 1 or len(groups) > 1 else 0.0), y=pairs.values, mode="markers",
                error_y={"array": pairs.residuals, "thickness": 1, "width": 3}, name=name or "eigenvalues",
                legendgroup=name, showlegend=seed == 0 and bool(name), customdata=np.stack([ranks, pairs.residuals], 1),
                marker={"color": colour(index), "symbol": "circle" if pairs.converged else "circle-open", "size": 7},
                hovertemplate=f"λ%{{customdata[0]}} = %{{y:.5g}} ± %{{customdata[1]:.2g}}<extra>{label}</extra>",
            )  # fmt: skip
    operators = ", ".join(sorted({pairs.operator for found in groups.values() for pairs in found}))
    axis = {"title": f"eigenvalue ({operators})", "type": "log" if logarithmic else "linear"}
    return styled(figure, xaxis={"title": "rank", "dtick": 1}, yaxis=axis, height=480)
