"""Readings as curves over one variable: scales, examples, true ratios, steps of a training run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from landscape.plots.scales import spans
from landscape.plots.style import DOUBLE, GREY, PALETTE, by_recipe, canvas, colour, marker, panels, sheet
from landscape.results import Placebo, SamplingError, ScaleCurvature, Smoothness
from landscape.results.trajectory import Track


def scale_curvature(result: ScaleCurvature, ax: Axes | None = None) -> Axes:
    """Draw |κ(h)| on logarithmic axes, beside the second derivative and the rounding error that ends it below.

    Scales at which κ is negative have open markers.

    >>> from matplotlib.figure import Figure
    >>> h = np.geomspace(1e-3, 1, 4)
    >>> found = ScaleCurvature(h=h, kappa=np.full(4, 2.0), rounding=1e-8 / h**2, hessian=2.0)
    >>> scale_curvature(found, Figure().add_subplot()).get_xlabel()
    'scale h (lengths of the direction)'
    """
    with canvas(ax, height=2.3) as ax:
        size = np.abs(result.kappa)
        for sign, label, face in ((1, "κ(h)", PALETTE[0]), (-1, "κ(h), negative", "white")):
            here = np.sign(result.kappa) == sign
            if here.any():
                ax.plot(result.h[here], size[here], "o", color=PALETTE[0], markerfacecolor=face, zorder=3, label=label)
        ax.plot(result.h, size, color=PALETTE[0], linewidth=0.7, zorder=2)
        ax.axhline(abs(result.hessian), color=PALETTE[1], linestyle="--", label="|dᵀHd|")
        ax.set(xscale="log", yscale="log", xlabel="scale h (lengths of the direction)", ylabel="|second difference|")
        low, high = ax.get_ylim()
        if (result.rounding > low).any():
            ax.fill_between(result.h, low, np.maximum(result.rounding, low), color=GREY, alpha=0.25, linewidth=0, zorder=1,
                            label="rounding error")  # fmt: skip
        ax.set_ylim(low, high)
        ax.legend()
    return ax


def sampling(result: SamplingError, ax: Axes | None = None) -> Axes:
    """Draw the largest eigenvalue on subsets, on the sample, and as expected on all the data, ± two standard errors.

    >>> from matplotlib.figure import Figure
    >>> found = SamplingError(
    ...     values=np.array([4.0]), standard_errors=np.array([0.2]), bootstrap=np.ones((3, 1)), trace=9.0, trace_error=0.5,
    ...     trace_probe_error=0.1, subset_sizes=np.array([50, 100]), subset_means=np.array([5.0, 4.5]), bias=0.5, bias_error=0.1,
    ...     n=200, groups=8, tol=0.1, enough=False, needed=900, verdict="too few", operator="Hessian",
    ... )
    >>> sampling(found, Figure().add_subplot()).get_xlabel()
    'examples'
    """
    with canvas(ax, height=2.3) as ax:
        sizes, means = np.append(result.subset_sizes, result.n), np.append(result.subset_means, result.values[0])
        ax.plot(sizes, means, color=GREY, linewidth=0.7, zorder=1)
        ax.plot(result.subset_sizes, result.subset_means, "o", color=GREY, label="mean over subsets")
        ax.errorbar(
            result.n, result.values[0], yerr=2 * result.standard_errors[0], fmt="o", color=PALETTE[0], capsize=2,
            label="sample ± 2 standard errors",
        )  # fmt: skip
        ax.axhline(result.extrapolated, color=PALETTE[1], linestyle="--", label="expected on all the data")
        reach = 2 * result.bias_error
        ax.axhspan(result.extrapolated - reach, result.extrapolated + reach, color=PALETTE[1], alpha=0.2, linewidth=0)
        ax.set(xscale="log", xlabel="examples", ylabel=f"largest eigenvalue ({result.operator})")
        ax.legend()
    return ax


def placebo(result: Placebo, ax: Axes | None = None) -> Axes:
    """Draw the share of comparisons called different over the true ratio of the scores; at a ratio of 1, false alarms.

    >>> from matplotlib.figure import Figure
    >>> found = Placebo(shifts=np.array([0.0, 0.3]), called=np.array([0.02, 0.9]), significant=np.array([[0.05, 0.95]]),
    ...     scores=("keskar",), recipe="sgd", seeds=16, arm=8, resamples=200, level=0.05)
    >>> placebo(found, Figure().add_subplot()).lines[0].get_xdata().round(2)
    array([1., 2.])
    """
    with canvas(ax, height=2.2) as ax:
        ratios = 10.0**result.shifts
        ax.plot(ratios, result.called, "o-", color="black", label="verdict: flatter or spikier", zorder=3)
        for index, (score, shares) in enumerate(zip(result.scores, result.significant, strict=True)):
            ax.plot(ratios, shares, marker=marker(index + 1), color=colour(index), label=f"{score} alone")
        ax.axhline(result.level, color=GREY, linewidth=0.6, linestyle="--", label=f"level {result.level:g}")
        ax.yaxis.set_major_formatter(PercentFormatter(1.0))
        ax.set(xlabel="true ratio of the scores", ylabel="called different", ylim=(-0.03, 1.03))
        ax.legend(fontsize="small")
    return ax


def smoothness(
    results: Smoothness | Mapping[str, Smoothness], figure: Figure | SubFigure | None = None
) -> Figure | SubFigure:
    """Draw loss variation, change of the gradient, and effective smoothness over the points of a run, side by side.

    Bands reach from the smallest to the largest value over the step lengths (Santurkar et al. 2018, figure 4).

    Args:
        results: one run, or one per recipe.

    >>> one = Smoothness(
    ...     eta=np.array([0.1, 0.2]), loss=np.ones((3, 2)), gradient_change=np.ones((3, 2)), gradient_norm=np.ones(3),
    ...     beta=np.ones(3),
    ... )
    >>> [ax.get_ylabel() for ax in smoothness(one, Figure()).axes]
    ['loss after the step', 'change of the gradient', 'effective smoothness β']
    """
    groups = by_recipe(results, Smoothness, "runs")
    with sheet(figure, width=DOUBLE, height=2.0) as figure:
        variation, change, beta = figure.subplots(1, 3)
        for index, (name, [one]) in enumerate(groups.items()):
            steps, tint = np.arange(len(one.beta)), colour(index)
            for ax, band in ((variation, one.loss_variation), (change, one.gradient_predictiveness)):
                ax.fill_between(steps, band[:, 0], band[:, 1], color=tint, alpha=0.3, linewidth=0)
                ax.plot(steps, band[:, 1], color=tint, linewidth=0.8, label=name or None)
            beta.plot(steps, one.beta, color=tint, label=name or None)
        variation.set_ylabel("loss after the step")
        change.set_ylabel("change of the gradient")
        beta.set_ylabel("effective smoothness β")
        for ax in (variation, change, beta):
            ax.set_xlabel("point of the run")
            if spans(np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.lines]), 30):
                ax.set_yscale("log")
        if any(groups):
            variation.legend()
    return figure


_CURVATURES = {
    "lambda_max": "λmax",
    "preconditioned": "λmax, preconditioned",
    "batch_sharpness": "batch sharpness",
    "critical_sharpness": "critical sharpness",
    "relative_critical_sharpness": "relative critical sharpness",
}
"""What is measured in the units of the threshold, and shares its panel."""
_OTHERS = {
    "lambda_min": "λmin",
    "weight_norm": "‖θ‖",
    "update_norm": "‖update‖",
    "cosine": "|cos(update, top eigenvector)|",
}


def track(result: Track, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
    """Draw what a `Tracker` measured over the optimiser's steps: curvatures with their threshold, then one panel per quantity.

    A dashed line is the curvature at which full-batch steps turn unstable.

    >>> one = Track(step=np.array([1, 2]), values={"lambda_max": np.array([3.0, 4.0]), "loss": np.array([1.0, 0.5])},
    ...             threshold=np.array([4.0, 4.0]), rule="sgd", steps=2, missed={})
    >>> [ax.get_ylabel() for ax in track(one, Figure()).axes]
    ['curvature', 'loss']
    """
    shared = [name for name in _CURVATURES if np.isfinite(result.values.get(name, np.nan)).any()]
    others = [name for name in result.values if name not in _CURVATURES and "/" not in name and name != "lr"]
    count = max(bool(shared) + len(others), 1)
    width = DOUBLE if count > 1 else DOUBLE / 2
    with sheet(figure, width=width, height=2.2 * -(-count // 2)) as figure:
        axes = panels(figure, count, 2)
        if shared:
            ax = axes.pop(0)
            for index, name in enumerate(shared):
                values, tint = result.values[name], colour(index)
                ax.plot(result.step, values, color=tint, marker=".", label=_CURVATURES[name])
                error = result.values.get(f"error/{name}", np.full_like(values, np.nan))
                if np.isfinite(error).any():
                    ax.fill_between(result.step, values - error, values + error, color=tint, alpha=0.2, linewidth=0)
            if np.isfinite(result.threshold).any():
                ax.plot(result.step, result.threshold, color=GREY, linestyle="--", linewidth=0.8, label="threshold")
            _finish(ax, "curvature", np.concatenate([result.threshold, *(result.values[name] for name in shared)]))
            ax.legend()
        for ax, name in zip(axes, others, strict=False):
            ax.plot(result.step, result.values[name], color=colour(0), marker=".")
            _finish(ax, _OTHERS.get(name, name), result.values[name])
    return figure


def _finish(ax: Axes, label: str, drawn: np.ndarray) -> None:
    ax.set(xlabel="step", ylabel=label)
    ax.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 2.5, 5, 10], integer=True))
    if spans(drawn, 30):
        ax.set_yscale("log")
