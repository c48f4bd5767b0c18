"""Eigenvalues, spectral densities, estimates, diagonals, and what falls to each layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator

from landscape.errors import LandscapeError
from landscape.lazy import verb
from landscape.plots.scales import logarithmic
from landscape.plots.style import DOUBLE, GREY, PALETTE, by_recipe, canvas, colour, entry, legend, marker, sheet
from landscape.results import Diagonal, Eigenpairs, Estimate, Layers, SpectralDensity

Spectra = Eigenpairs | Sequence[Eigenpairs]
WHISKERS: dict[str, Any] = {"elinewidth": 0.7, "capsize": 1.2, "capthick": 0.6}


def eigenvalues(results: Spectra | Mapping[str, Spectra], ax: Axes | None = None, *, log: bool | None = None) -> Axes:
    """Draw eigenvalues by rank with their residuals as bars, for several recipes and seeds.

    An eigenvalue of a symmetric operator lies within the residual ‖Av − λv‖ of the drawn value. Pairs that did not
    converge have open markers; a dash marks the median over seeds.

    Args:
        results: one result, one per seed, or such by recipe.
        log: logarithmic axis; `None`: when every eigenvalue is positive.

    Raises:
        LandscapeError: nothing to draw, or a logarithmic axis for eigenvalues that are not positive.

    >>> from matplotlib.figure import Figure
    >>> pairs = Eigenpairs(
    ...     values=np.array([3.0, 1.0]), residuals=np.array([0.1, 0.1]), operator="hessian", which="LA", tol=1e-3,
    ...     matvecs=9, converged=True,
    ... )
    >>> eigenvalues({"sgd": pairs}, Figure().add_subplot()).get_ylabel()
    'eigenvalue (hessian)'
    """
    groups = by_recipe(results, Eigenpairs, "eigenvalues")
    every = [pairs for found in groups.values() for pairs in found]
    values = np.concatenate([pairs.values for pairs in every])
    on_log = logarithmic(values, log, 1.0)
    own = ax is None
    floor = float(values.min()) / 10 if on_log else None  # a bar that reaches below zero is drawn that far down
    with canvas(ax, height=2.3) as ax:
        for index, found in enumerate(groups.values()):
            _ranks(ax, found, index, len(groups), floor=floor)
        if on_log:
            ax.set_yscale("log")
        else:
            ax.axhline(0, color=GREY, linewidth=0.6, zorder=0)
        ax.set(xlabel="rank", ylabel=f"eigenvalue ({', '.join(sorted({pairs.operator for pairs in every}))})")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        handles = [
            entry(
                f"{name} ({len(found)} seeds)" if len(found) > 1 else name,
                color=colour(i),
                marker=marker(i),
                linestyle="none",
            )
            for i, (name, found) in enumerate(groups.items())
            if name
        ]
        if not all(pairs.converged for pairs in every):
            handles.append(entry("not converged", color=GREY, marker="o", markerfacecolor="white", linestyle="none"))
        legend(ax, handles, own=own)
    return ax


def _ranks(ax: Axes, found: list[Eigenpairs], index: int, count: int, floor: float | None) -> None:
    """Draw one recipe in its own slot of every rank, its seeds side by side within the slot."""
    slot, tint = 0.7 / count, colour(index)
    centre = (index - (count - 1) / 2) * slot
    offsets = centre + np.linspace(-0.32, 0.32, len(found)) * slot if len(found) > 1 else [centre]
    for offset, pairs in zip(offsets, found, strict=True):
        ranks = np.arange(1, len(pairs.values) + 1) + offset
        down = pairs.residuals if floor is None else np.minimum(pairs.residuals, pairs.values - floor)
        ax.errorbar(
            ranks, pairs.values, yerr=[down, pairs.residuals], fmt=marker(index), color=tint, markersize=2.8,
            markerfacecolor=tint if pairs.converged else "white", markeredgewidth=0.7, zorder=3, **WHISKERS,
        )  # fmt: skip
    if len(found) > 1:
        for rank in range(min(len(pairs.values) for pairs in found)):
            middle = np.median([pairs.values[rank] for pairs in found])
            ax.plot(rank + 1 + centre + np.array([-0.45, 0.45]) * slot, [middle] * 2, color=tint, linewidth=0.9)


def density(
    results: SpectralDensity | Mapping[str, SpectralDensity], ax: Axes | None = None, *, log: bool = True
) -> Axes:
    """Draw spectral densities with pointwise 95 % bands, and outliers as stems as high as one eigenvalue.

    Densities that are drawn together are smoothed with one width σ, the largest of theirs, which a bar in the figure shows:
    near zero the height of a smoothed density is that of the smoothing, so that two widths would make a contrast that is not
    there. One eigenvalue has the height 1/(P·σ·√(2π)), which is also where the logarithmic axis ends below: less than one
    eigenvalue is no eigenvalue.

    Args:
        results: one density, or one per recipe.
        log: logarithmic density.

    Raises:
        LandscapeError: nothing to draw, or densities on different axes.

    >>> from matplotlib.figure import Figure
    >>> grid = np.linspace(-1, 1, 5)
    >>> found = SpectralDensity(
    ...     grid=grid, density=np.full(5, 0.5), standard_error=np.zeros(5), nodes=np.zeros((1, 1)), weights=np.ones((1, 1)),
    ...     operator="hessian", width=0.1, size=10, matvecs=1,
    ... )
    >>> density(found, Figure().add_subplot()).get_xlabel()
    'eigenvalue (hessian)'
    """
    named = {name: found[0] for name, found in by_recipe(results, SpectralDensity, "densities").items()}
    if len({one.axis for one in named.values()}) > 1:
        raise LandscapeError("densities on a linear and on a logarithmic axis cannot be drawn together; use resmooth")
    width = max(one.width for one in named.values())
    named = {
        name: one if one.width == width else verb("resmooth")(one, axis=one.axis, width=width, points=len(one.grid))
        for name, one in named.items()
    }
    heights = {name: 1 / (one.size * width * np.sqrt(2 * np.pi)) for name, one in named.items()}
    highest = max(float(one.density.max()) for one in named.values())
    with canvas(ax, height=2.3) as ax:
        handles = []
        for index, (name, one) in enumerate(named.items()):
            tint, (low, high) = colour(index), one.band()
            handles += ax.plot(one.grid, one.density, color=tint, label=name or None, zorder=3)
            # on a logarithmic axis a band that reaches below zero must still be drawn down to the bottom
            bottom = heights[name] * 1e-3 if log else -np.inf
            ax.fill_between(one.grid, np.maximum(low, bottom), high, color=tint, alpha=0.25, linewidth=0, zorder=2)
            if one.outliers is not None and len(one.outliers):
                ax.vlines(one.outliers, 0, heights[name], color=tint, linewidth=0.8, zorder=3)
                tops = np.full(len(one.outliers), heights[name])
                ax.plot(one.outliers, tops, "o", color=tint, markersize=2.5, zorder=3)
        if log:
            ax.set_yscale("log")
            ax.set_ylim(0.5 * min(heights.values()), 4 * highest)  # the band of two probes would dwarf the density
        else:
            ax.set_ylim(0, 1.4 * highest)
        _width_bar(ax, width)
        operators = sorted({one.operator for one in named.values()})
        ax.set(xlabel=f"eigenvalue ({', '.join(operators)})", ylabel="density")
        handles = [line for line in handles if not str(line.get_label()).startswith("_")]
        if any(one.outliers is not None and len(one.outliers) for one in named.values()):
            handles.append(entry("outlier (one eigenvalue)", color=GREY, marker="o", markersize=2.5, linewidth=0.8))
        ax.legend(handles=handles, title="band: 95 %, at each place", title_fontsize="small", alignment="left")
    return ax


def _width_bar(ax: Axes, width: float) -> None:
    """Draw the smoothing as a bar from −σ to +σ, in the upper left corner."""
    left = ax.get_xlim()[0] + 0.05 * np.ptp(ax.get_xlim())
    right = left + 2 * width
    look: dict[str, Any] = {"color": GREY, "transform": ax.get_xaxis_transform()}
    ax.plot([left, right], [0.93, 0.93], linewidth=2.0, label="_width", zorder=4, **look)
    ax.text(right, 0.93, "  2σ of the smoothing", fontsize="small", va="center", **look)


def estimate(result: Estimate, ax: Axes | None = None) -> Axes:
    """Draw an estimate with a band of two standard errors, over the terms it averages when they were kept.

    >>> from matplotlib.figure import Figure
    >>> one = Estimate(value=2.0, standard_error=0.5, matvecs=4, method="hutchinson", quantity="trace")
    >>> estimate(one, Figure().add_subplot()).get_ylabel()
    'trace'
    """
    with canvas(ax, height=2.0) as ax:
        ax.axhline(result.value, color=PALETTE[0], label=f"{result.value:.4g} ± {result.standard_error:.2g}")
        reach = 2 * result.standard_error
        ax.axhspan(result.value - reach, result.value + reach, color=PALETTE[0], alpha=0.2, linewidth=0)
        if result.samples is not None:
            ax.plot(np.arange(1, len(result.samples) + 1), result.samples, ".", color=GREY, label="terms")
            ax.xaxis.set_major_locator(MaxNLocator(integer=True))
            ax.set_xlabel("probe")
        else:
            ax.set_xticks([])
            ax.margins(y=1.0)
            ax.set_ylim(result.value - 2 * (reach or 1), result.value + 2 * (reach or 1))
        of = f" of the {result.operator}" if result.operator else ""
        ax.set_ylabel(f"{result.quantity}{of}")
        ax.legend(title="± 2 standard errors", title_fontsize="small", alignment="left")
    return ax


def diagonal(result: Diagonal, ax: Axes | None = None) -> Axes:
    """Draw the entries of a diagonal by rank of magnitude, positive and negative ones apart, on logarithmic axes.

    >>> from matplotlib.figure import Figure
    >>> one = Diagonal(values=np.array([1.0, -2.0]), standard_errors=np.zeros(2), operator="hessian", method="exact", matvecs=2)
    >>> diagonal(one, Figure().add_subplot()).get_xlabel()
    'rank'
    """
    with canvas(ax, height=2.2) as ax:
        for sign, name, tint in ((1, "positive", PALETTE[0]), (-1, "negative", PALETTE[1])):
            entries = np.sort(sign * result.values[sign * result.values > 0])[::-1]
            if entries.size:
                label = f"{name} ({len(entries)})"
                ax.plot(np.arange(1, len(entries) + 1), entries, color=tint, label=label, rasterized=True)
        if ax.lines:
            ax.set(xscale="log", yscale="log")
            ax.legend()
        ax.set(xlabel="rank", ylabel=f"|diagonal entry| ({result.operator})")
    return ax


def layers(
    values: Mapping[str, float] | Mapping[str, Mapping[str, float]],
    ax: Axes | None = None,
    *,
    errors: Mapping[str, float] | Mapping[str, Mapping[str, float]] | None = None,
    label: str = "value",
    log: bool | None = None,
) -> Axes:
    """Draw a horizontal bar per layer, the input's layer at the top, for one or several recipes.

    On a logarithmic axis, which has no zero for a bar to start from, values are dots.

    Args:
        values: ``{layer: value}``, or ``{recipe: {layer: value}}``.
        errors: standard errors in the same structure.
        label: of the axis: what is shown, with its unit.
        log: logarithmic axis; `None`: when all values are positive and span a factor of 30 or more.

    Raises:
        LandscapeError: nothing to draw, or a logarithmic axis for values that are not positive.

    >>> from matplotlib.figure import Figure
    >>> drawn = layers({"conv1": 3.0, "fc": 1.0}, Figure().add_subplot(), label="trace")
    >>> [tick.get_text() for tick in drawn.get_yticklabels()]
    ['conv1', 'fc']
    """
    groups, spread = _nested(values), _nested(errors or {})
    names = list(dict.fromkeys(layer for by_layer in groups.values() for layer in by_layer))
    if not names:
        raise LandscapeError("no layers to draw; give at least one value")
    every = np.array([value for by_layer in groups.values() for value in by_layer.values()], dtype=float)
    on_log, thickness = logarithmic(every, log, 30), 0.8 / len(groups)
    with canvas(ax, height=0.7 + (0.1 + 0.11 * len(groups)) * len(names)) as ax:
        for index, (recipe, by_layer) in enumerate(groups.items()):
            places = np.arange(len(names)) + (index - (len(groups) - 1) / 2) * thickness
            widths = [by_layer.get(name, np.nan) for name in names]
            bars = [spread[recipe].get(name, np.nan) for name in names] if spread.get(recipe) else None
            look: dict[str, Any] = {"xerr": bars, "color": colour(index), "label": recipe or None}
            if on_log:
                ax.errorbar(widths, places, fmt=marker(index), **look, **WHISKERS)
            else:
                ax.barh(places, widths, height=0.9 * thickness, error_kw=WHISKERS, **look)
        if on_log:
            ax.set_xscale("log")
            ax.grid(axis="y", color=GREY, alpha=0.25, linewidth=0.4)
        ax.set_yticks(range(len(names)), names)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel(label)
        if len(groups) > 1:
            ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2, columnspacing=1.0)
    return ax


def by_layer(result: Layers, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
    """Draw the largest eigenvalue, the trace and the share of the trace of every layer, side by side."""
    shown = {
        "largest eigenvalue": ("lambda_max", "residual"),
        "trace": ("trace", "trace_error"),
        "share of the trace": ("share", "share_error"),
    }
    with sheet(figure, width=DOUBLE, height=0.8 + 0.21 * len(result.rows)) as figure:
        for place, (label, (value, error)) in enumerate(shown.items(), start=1):
            means, errors = ({row.name: getattr(row, name) for row in result.rows} for name in (value, error))
            ax = layers(means, figure.add_subplot(1, 3, place), errors=errors, label=label)
            if place > 1:
                ax.set_yticklabels([])
    return figure


def _nested(values: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    nested = {recipe: dict(found) for recipe, found in values.items() if isinstance(found, Mapping)}
    return nested or {"": {layer: float(value) for layer, value in values.items()}}
