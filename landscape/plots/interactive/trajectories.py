"""A run of training on a plane, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np

from landscape.plots.interactive.pages import plotly, styled
from landscape.plots.interactive.planes import plane as contours
from landscape.plots.style import GREY
from landscape.results import Plane, Trajectory


def trajectory(result: Trajectory, *, plane: Plane | None = None, **options: Any) -> Any:
    """Draw the checkpoints of a run on the plane of their principal components, with a slider over the steps.

    Pointing at a checkpoint tells its number, its distance from the plane, and its values, those of its projection
    included.

    Args:
        result: a trajectory.
        plane: the loss on its plane, drawn below.
        **options: passed to `plane`: ``levels``, ``limit``, ``cmap`` …

    Returns:
        A ``plotly.graph_objects.Figure``.

    Raises:
        LandscapeError: plotly is not installed, or what `plane` raises.

    >>> run = Trajectory(
    ...     directions=None, points=np.array([[1.0, 0.5], [0.0, 0.0]]), off_plane=np.array([0.2, 0.0]),
    ...     explained=np.array([0.9, 0.06]), values={"train/loss": np.array([2.0, 0.1])},
    ... )
    >>> trajectory(run).layout.xaxis.title.text
    'principal component 1 (90.0 %)'
    """
    go, _ = plotly()
    figure = go.Figure() if plane is None else contours(plane, **{"cmap": "Greys_r", **options})
    points, off = np.asarray(result.points, dtype=float), np.asarray(result.off_plane, dtype=float)
    known = np.column_stack([np.arange(len(points)), off, *result.values.values()])
    lines = [f"{name} %{{customdata[{i}]:.4g}}" for i, name in enumerate(result.values, start=2)]
    hover = "<br>".join(["checkpoint %{customdata[0]}", "off the plane %{customdata[1]:.3g}", *lines])

    def path(count: int) -> Any:
        return go.Scatter(
            x=points[:count, 0], y=points[:count, 1], customdata=known[:count], mode="lines+markers", name="run",
            line={"color": "black", "width": 1}, hovertemplate=f"{hover}<extra></extra>",
            marker={
                "color": off[:count], "cmin": 0.0, "cmax": float(off.max()) or 1.0, "colorscale": "Plasma", "size": 8,
                "line": {"color": "black", "width": 0.5}, "showscale": plane is None,
                "colorbar": {"title": "distance from the plane"},
            },
        )  # fmt: skip

    figure.add_trace(path(len(points)))
    last = len(figure.data) - 1
    counts = range(1, len(points) + 1)
    figure.frames = [go.Frame(data=[path(count)], traces=[last], name=str(count - 1)) for count in counts]
    steps = [
        {"args": [[str(i)], {"mode": "immediate", "frame": {"duration": 0, "redraw": False}}], "label": str(i),
         "method": "animate"}
        for i in range(len(points))
    ]  # fmt: skip
    play = {"label": "▶", "method": "animate", "args": [None, {"frame": {"duration": 150, "redraw": False}}]}
    shares = [f" ({100 * share:.1f} %)" for share in result.explained[:2]]
    return styled(
        figure, height=600, showlegend=False,
        xaxis={"title": f"principal component 1{shares[0]}", "zeroline": False, "gridcolor": GREY},
        yaxis={"title": f"principal component 2{shares[1]}", "zeroline": False, "gridcolor": GREY},
        sliders=[{"steps": steps, "active": len(points) - 1, "pad": {"t": 60}, "currentvalue": {"prefix": "checkpoint "}}],
        updatemenus=[{"type": "buttons", "buttons": [play], "x": 0.0, "y": 1.12, "direction": "right"}],
    )  # fmt: skip
