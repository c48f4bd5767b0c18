"""Eigenvalues, spectral densities, estimates and diagonals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from landscape.errors import LandscapeError
from landscape.lazy import verb
from landscape.plots.style import GREY, MARKERS, PALETTE, SINGLE, canvas, colour, legend_of
from landscape.results import Diagonal, Eigenpairs, Estimate, SpectralDensity

Spectra = Eigenpairs | Sequence[Eigenpairs]


def eigenvalues(results: Spectra | Mapping[str, Spectra], ax: Axes | None = None, *, log: bool | None = None) -> Axes:
    """Draw eigenvalues by rank with their residuals as bars, for several recipes and seeds.

    An eigenvalue of a symmetric operator lies within the residual ‖Av − λv‖ of the drawn value. Pairs that did not
    converge have open markers; a dash marks the median over seeds.

    Args:
        results: one result, one per seed, or such by recipe.
        ax: where to draw; `None`: a new figure as wide as one column.
        log: logarithmic axis; `None`: when every eigenvalue is positive.

    Returns:
        The axes.

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
    groups, logarithmic = groups_of(results, log)
    lowest = min(float(pairs.values.min()) for found in groups.values() for pairs in found)
    floor = lowest / 10 if logarithmic else None  # a bar that reaches below zero is drawn that far down
    own = ax is None
    with canvas(ax, width=SINGLE, height=2.3) as ax:
        for index, found in enumerate(groups.values()):
            _ranks(ax, found, index, len(groups), floor=floor)
        if logarithmic:
            ax.set_yscale("log")
        else:
            ax.axhline(0, color=GREY, linewidth=0.6, zorder=0)
        operators = sorted({pairs.operator for found in groups.values() for pairs in found})
        ax.set(xlabel="rank", ylabel=f"eigenvalue ({', '.join(operators)})")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_of(ax, _eigen_handles(groups), own=own)
    return ax


def groups_of(results: Spectra | Mapping[str, Spectra], log: bool | None) -> tuple[dict[str, list[Eigenpairs]], bool]:
    """Return lists of results by recipe, and whether their axis is logarithmic.

    Raises:
        LandscapeError: nothing to draw, or a logarithmic axis for eigenvalues that are not positive.
    """
    named = results if isinstance(results, Mapping) else {"": results}
    groups = {name: [found] if isinstance(found, Eigenpairs) else list(found) for name, found in named.items()}
    if not groups or not all(groups.values()):
        raise LandscapeError("no eigenvalues to draw; give at least one result for each recipe")
    positive = all((pairs.values > 0).all() for found in groups.values() for pairs in found)
    if log and not positive:
        raise LandscapeError("a logarithmic axis needs positive eigenvalues, and some are not; use log=False")
    return groups, positive if log is None else log


def density(
    results: SpectralDensity | Mapping[str, SpectralDensity],
    ax: Axes | None = None,
    *,
    errors: float | None = None,
    log: bool = True,
    width: float | None = None,
) -> Axes:
    """Draw spectral densities with their error bands, and outliers as stems as high as one eigenvalue.

    Densities that are drawn together are smoothed with one width σ, which a bar in the figure shows: near zero the height
    of a smoothed density is that of the smoothing, so that two widths would make a contrast that is not there. One
    eigenvalue has the height 1/(P·σ·√(2π)), which is also where the logarithmic axis ends below: less than one eigenvalue is
    no eigenvalue.

    Args:
        results: one density, or one per recipe.
        ax: where to draw; `None`: a new figure as wide as one column.
        errors: half-width of the band in standard errors; `None`: the pointwise 95 % interval of `SpectralDensity.band`.
        log: logarithmic density.
        width: the smoothing for all; `None`: the largest of theirs.

    Returns:
        The axes.

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
    named = results if isinstance(results, Mapping) else {"": results}
    if not named:
        raise LandscapeError("no densities to draw; give at least one")
    named, width = _at_one_width(named, width)
    heights = {name: 1 / (one.size * one.width * np.sqrt(2 * np.pi)) for name, one in named.items()}
    tops: list[float] = []
    with canvas(ax, width=SINGLE, height=2.3) as ax:
        for index, (name, one) in enumerate(named.items()):
            tint = colour(index)
            low, high = one.band()
            if errors is not None:
                low, high = one.density - errors * one.standard_error, one.density + errors * one.standard_error
            ax.plot(one.grid, one.density, color=tint, label=name or None, zorder=3)
            # on a logarithmic axis a band that reaches below zero must still be drawn down to the bottom
            bottom = heights[name] * 1e-3 if log else -np.inf
            ax.fill_between(one.grid, np.maximum(low, bottom), high, color=tint, alpha=0.25, linewidth=0, zorder=2)
            tops.append(float(one.density.max()))
            if one.outliers is not None and len(one.outliers):
                _stems(ax, one.outliers, heights[name], tint)
        if log:
            ax.set_yscale("log")
            ax.set_ylim(0.5 * min(heights.values()), 4 * max(tops))  # the band of two probes would dwarf the density
        else:
            ax.set_ylim(0, 1.4 * max(tops))
        _width_bar(ax, width)
        operators = sorted({one.operator for one in named.values()})
        ax.set(xlabel=f"eigenvalue ({', '.join(operators)})", ylabel="density")
        _density_legend(ax, named, errors)
    return ax


def estimate(result: Estimate, ax: Axes | None = None, *, errors: float = 2.0) -> Axes:
    """Draw an estimate with a band of standard errors, over the terms it averages when they were kept.

    >>> from matplotlib.figure import Figure
    >>> one = Estimate(value=2.0, standard_error=0.5, matvecs=4, method="hutchinson", quantity="trace")
    >>> estimate(one, Figure().add_subplot()).get_ylabel()
    'trace'
    """
    with canvas(ax, width=SINGLE, height=2.0) as ax:
        ax.axhline(result.value, color=PALETTE[0], label=f"{result.value:.4g} ± {result.standard_error:.2g}")
        reach = errors * result.standard_error
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
        ax.legend(title=f"± {errors:g} standard errors", title_fontsize="small", alignment="left")
    return ax


def diagonal(result: Diagonal, ax: Axes | None = None) -> Axes:
    """Draw the entries of a diagonal by rank of magnitude, positive and negative ones apart, on logarithmic axes.

    >>> from matplotlib.figure import Figure
    >>> one = Diagonal(values=np.array([1.0, -2.0]), standard_errors=np.zeros(2), operator="hessian", method="exact", matvecs=2)
    >>> diagonal(one, Figure().add_subplot()).get_xlabel()
    'rank'
    """
    with canvas(ax, width=SINGLE, height=2.2) as ax:
        for sign, name, tint in ((1, "positive", PALETTE[0]), (-1, "negative", PALETTE[1])):
            entries = np.sort(sign * result.values[sign * result.values > 0])[::-1]
            if entries.size:
                ax.plot(
                    np.arange(1, len(entries) + 1),
                    entries,
                    color=tint,
                    label=f"{name} ({len(entries)})",
                    rasterized=True,
                )
        if ax.lines:
            ax.set(xscale="log", yscale="log")
            ax.legend()
        ax.set(xlabel="rank", ylabel=f"|diagonal entry| ({result.operator})")
    return ax


def _ranks(ax: Axes, found: list[Eigenpairs], index: int, count: int, floor: float | None) -> None:
    """Draw one recipe in its own slot of every rank, its seeds side by side within the slot."""
    slot = 0.7 / count
    centre = (index - (count - 1) / 2) * slot
    offsets = centre + np.linspace(-0.32, 0.32, len(found)) * slot if len(found) > 1 else [centre]
    for offset, pairs in zip(offsets, found, strict=True):
        ranks = np.arange(1, len(pairs.values) + 1) + offset
        down = pairs.residuals if floor is None else np.minimum(pairs.residuals, pairs.values - floor)
        ax.errorbar(
            ranks, pairs.values, yerr=[down, pairs.residuals], fmt=MARKERS[index % len(MARKERS)], color=colour(index),
            markersize=2.8, markerfacecolor=colour(index) if pairs.converged else "white", markeredgewidth=0.7,
            elinewidth=0.7, capsize=1.2, capthick=0.6, zorder=3,
        )  # fmt: skip
    if len(found) > 1:
        for rank in range(min(len(pairs.values) for pairs in found)):
            middle = np.median([pairs.values[rank] for pairs in found])
            ax.plot(
                rank + 1 + centre + np.array([-0.45, 0.45]) * slot, [middle] * 2, color=colour(index), linewidth=0.9
            )


def _eigen_handles(groups: Mapping[str, list[Eigenpairs]]) -> list[Any]:
    handles: list[Any] = []
    for index, (name, found) in enumerate(groups.items()):
        if name:
            label = f"{name} ({len(found)} seeds)" if len(found) > 1 else name
            marker = MARKERS[index % len(MARKERS)]
            handles.append(Line2D([], [], color=colour(index), marker=marker, linestyle="none", label=label))
    if not all(pairs.converged for found in groups.values() for pairs in found):
        handles.append(
            Line2D([], [], color=GREY, marker="o", markerfacecolor="white", linestyle="none", label="not converged")
        )
    return handles


def _stems(ax: Axes, places: np.ndarray, height: float, tint: str) -> None:
    ax.vlines(places, 0, height, color=tint, linewidth=0.8, zorder=3)
    ax.plot(places, np.full(len(places), height), "o", color=tint, markersize=2.5, zorder=3)


def _at_one_width(
    named: Mapping[str, SpectralDensity], width: float | None
) -> tuple[Mapping[str, SpectralDensity], float]:
    """Return densities smoothed with one width, and it."""
    if len({one.axis for one in named.values()}) > 1:
        raise LandscapeError("densities on a linear and on a logarithmic axis cannot be drawn together; use resmooth")
    common = max(one.width for one in named.values()) if width is None else width
    drawn = {
        name: one if one.width == common else verb("resmooth")(one, axis=one.axis, width=common, points=len(one.grid))
        for name, one in named.items()
    }
    return drawn, common


def _width_bar(ax: Axes, width: float) -> None:
    """Draw the smoothing as a bar from −σ to +σ, in the upper left corner."""
    place = ax.get_xlim()[0] + 0.05 * np.ptp(ax.get_xlim())
    across = ax.get_xaxis_transform()
    ax.plot(
        [place, place + 2 * width], [0.93, 0.93], color=GREY, linewidth=2.0, transform=across, label="_width", zorder=4
    )
    ax.text(
        place + 2 * width, 0.93, "  2σ of the smoothing", color=GREY, fontsize="small", va="center", transform=across
    )


def _density_legend(ax: Axes, named: Mapping[str, SpectralDensity], errors: float | None) -> None:
    handles: list[Any] = [line for line in ax.lines if not str(line.get_label()).startswith("_")]
    if any(one.outliers is not None and len(one.outliers) for one in named.values()):
        handles.append(
            Line2D([], [], color=GREY, marker="o", markersize=2.5, linewidth=0.8, label="outlier (one eigenvalue)")
        )
    title = "band: 95 %, at each place" if errors is None else f"band: ± {errors:g} standard errors"
    ax.legend(handles=handles, title=title, title_fontsize="small", alignment="left")
