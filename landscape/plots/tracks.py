"""Curvature along a training run, against the optimiser's stability threshold."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

from landscape.plots.scales import plain_ticks
from landscape.plots.style import DOUBLE, GREY, colour, sheet
from landscape.results.track import Track

_CURVATURES = ("lambda_max", "preconditioned", "batch_sharpness", "critical_sharpness", "relative_critical_sharpness")
"""What is measured in the units of the threshold, and shares its panel."""
_LABELS = {
    "lambda_max": "λmax",
    "preconditioned": "λmax, preconditioned",
    "batch_sharpness": "batch sharpness",
    "critical_sharpness": "critical sharpness",
    "relative_critical_sharpness": "relative critical sharpness",
    "lambda_min": "λmin",
    "weight_norm": "‖θ‖",
    "update_norm": "‖update‖",
    "cosine": "|cos(update, top eigenvector)|",
}


def track(result: Track, figure: Figure | SubFigure | None = None) -> Figure | SubFigure:
    """Draw what a `Tracker` measured over the optimiser's steps: curvatures with their threshold, then one panel per quantity.

    Args:
        result: the track.
        figure: where to draw; `None`: a new figure.

    Returns:
        The figure; a dashed line is the curvature at which full-batch steps turn unstable.

    >>> one = Track(step=np.array([1, 2]), values={"lambda_max": np.array([3.0, 4.0]), "loss": np.array([1.0, 0.5])},
    ...             threshold=np.array([4.0, 4.0]), rule="sgd", steps=2, missed={})
    >>> [ax.get_ylabel() for ax in track(one, Figure()).axes]
    ['curvature', 'loss']
    """
    shared = [name for name in _CURVATURES if np.isfinite(result.values.get(name, np.nan)).any()]
    others = [name for name in result.values if name not in _CURVATURES and "/" not in name and name != "lr"]
    panels = bool(shared) + len(others)
    columns = min(max(panels, 1), 2)
    lines = -(-max(panels, 1) // columns)
    with sheet(figure, width=DOUBLE if columns > 1 else DOUBLE / 2, height=2.2 * lines) as figure:
        axes = list(figure.subplots(lines, columns, squeeze=False).flat)
        for ax in axes[panels:]:
            ax.remove()
        if shared:
            ax = axes.pop(0)
            for index, name in enumerate(shared):
                ax.plot(result.step, result.values[name], color=colour(index), marker=".", label=_LABELS[name])
                error = result.values.get(f"error/{name}")
                if error is not None and np.isfinite(error).any():
                    low, high = result.values[name] - error, result.values[name] + error
                    ax.fill_between(result.step, low, high, color=colour(index), alpha=0.2, linewidth=0)
            if np.isfinite(result.threshold).any():
                ax.plot(result.step, result.threshold, color=GREY, linestyle="--", linewidth=0.8, label="threshold")
            _finish(ax, "curvature", np.concatenate([result.values[name] for name in shared]))
            ax.legend()
        for ax, name in zip(axes, others, strict=False):
            ax.plot(result.step, result.values[name], color=colour(0), marker=".")
            _finish(ax, _LABELS.get(name, name), result.values[name])
    return figure


def _finish(ax: Axes, label: str, drawn: np.ndarray) -> None:
    ax.set(xlabel="step", ylabel=label)
    finite = drawn[np.isfinite(drawn)]
    if len(finite) and finite.min() > 0 and finite.max() >= 30 * finite.min():
        ax.set_yscale("log")
        plain_ticks(ax.yaxis)
