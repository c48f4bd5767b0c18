"""Volumes as planes through their centre."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure, SubFigure

from landscape.plots.grids import grid
from landscape.results import Plane, Volume


def volume(result: Volume, figure: Figure | SubFigure | None = None, **options: Any) -> Figure | SubFigure:
    """Draw the three planes of a volume that go through the point nearest the centre, on shared levels.

    Args:
        result: values (nz, ny, nx).
        figure: where to draw; `None`: a new figure, two columns wide.
        **options: passed on to `grid`: ``metric``, ``levels``, ``limit``, ``kind`` …

    Returns:
        The figure.

    >>> axis = np.linspace(-1, 1, 3)
    >>> values = axis**2 + axis[:, None] ** 2 + axis[:, None, None] ** 2
    >>> found = Volume(x=axis, y=axis, z=axis, values={"train/loss": values}, computed=np.ones((3, 3, 3)))
    >>> [ax.get_title() for ax in volume(found, Figure()).axes[:3]]
    ['z = 0', 'y = 0', 'x = 0']
    """
    axes = {name: np.asarray(getattr(result, name), dtype=float) for name in ("z", "y", "x")}
    planes = {}
    for axis, (name, values) in enumerate(axes.items()):
        middle = int(np.abs(values).argmin())
        second, first = (other for other in axes if other != name)
        planes[f"{name} = {values[middle]:.3g}"] = Plane(
            x=axes[first],
            y=axes[second],
            values={key: np.take(value, middle, axis) for key, value in result.values.items()},
            computed=np.take(result.computed, middle, axis),
            dataset=result.dataset,
        )
    figure = grid(planes, figure, **options)
    for ax, name in zip(figure.axes, axes, strict=False):
        second, first = (other for other in axes if other != name)
        ax.set(xlabel=f"direction {'xyz'.index(first) + 1}", ylabel=f"direction {'xyz'.index(second) + 1}")
    return figure
