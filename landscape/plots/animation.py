"""A run of training as a moving picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.animation import FFMpegWriter, PillowWriter

from landscape.errors import LandscapeError
from landscape.plots.style import LEGEND_ROW, SINGLE, style
from landscape.plots.trajectories import trajectory
from landscape.results import Plane, Trajectory
from landscape.store.files import replacing

WRITERS: dict[str, type[FFMpegWriter] | type[PillowWriter]] = {".gif": PillowWriter, ".mp4": FFMpegWriter}


def animate(
    result: Trajectory,
    path: str | os.PathLike[str],
    *,
    plane: Plane | None = None,
    values: Sequence[str] | None = None,
    seconds: float = 5.0,
    most: int = 60,
    dpi: float = 150,
    **options: Any,
) -> Path:
    """Write a run as an animation: the path grows, and a line of text tells the checkpoint and its own values.

    Args:
        result: a trajectory.
        path: ``.gif`` (through Pillow), or ``.mp4`` where ffmpeg is installed.
        plane: the loss on the trajectory's plane, drawn below.
        values: names of the values told, such as ``train/loss``; `None`: those that are not of projections.
        seconds: length of the animation; the last picture stays for another second.
        most: pictures; of a longer run some checkpoints are left out.
        dpi: resolution in dots per inch; the figure is as wide as one column.
        **options: passed on to `trajectory`: ``levels``, ``limit``, ``marks`` …

    Returns:
        The file.

    Raises:
        LandscapeError: another suffix, ffmpeg is not installed, no such value, or the place cannot be written.

    >>> import tempfile
    >>> run = Trajectory(
    ...     directions=None, points=np.array([[1.0, 0.5], [0.0, 0.0]]), off_plane=np.array([0.2, 0.0]),
    ...     explained=np.array([0.9, 0.06]), values={"train/loss": np.array([2.0, 0.1])},
    ... )
    >>> animate(run, Path(tempfile.mkdtemp()) / "run.gif", dpi=40).suffix
    '.gif'
    """
    target = Path(path)
    writer = _writer(target.suffix)
    told = [name for name in result.values if not name.startswith("projected/")] if values is None else list(values)
    if unknown := sorted(set(told) - result.values.keys()):
        raise LandscapeError(f"the trajectory holds no {unknown[0]!r}; it holds {', '.join(result.values)}")
    shown = np.unique(np.linspace(0, len(result.points) - 1, min(most, len(result.points))).round().astype(int))
    movie = writer(fps=max(1, round(len(shown) / seconds)))
    from matplotlib import pyplot  # chooses a backend: not before a figure is wanted

    with style():
        figure = pyplot.figure(figsize=(SINGLE, 3.0 + LEGEND_ROW), layout="constrained")
    try:
        with style(), replacing(target) as fresh, movie.saving(figure, fresh, dpi):
            ax = figure.add_subplot()
            trajectory(result, ax, plane=plane, **options)
            line = next(one for one in ax.lines if one.get_gid() == "path")
            dots = next(one for one in ax.collections if one.get_gid() == "checkpoints")
            text = ax.set_title("", fontsize="medium", family="monospace")
            for last in shown.tolist():
                line.set_data(result.points[: last + 1, 0], result.points[: last + 1, 1])
                dots.set_offsets(result.points[: last + 1, :2])
                text.set_text(
                    "  ".join([f"step {last:>3}", *(f"{name} {result.values[name][last]:.3g}" for name in told)])
                )
                movie.grab_frame()
            for _ in range(movie.fps):
                movie.grab_frame()
    finally:
        pyplot.close(figure)
    return target


def _writer(suffix: str) -> type[FFMpegWriter] | type[PillowWriter]:
    if suffix not in WRITERS:
        raise LandscapeError(
            f"{suffix or 'no suffix'!r} is no format of animations; expected one of {', '.join(WRITERS)}"
        )
    if not WRITERS[suffix].isAvailable():
        raise LandscapeError("ffmpeg is not installed, which .mp4 needs; install it, or write a .gif")
    return WRITERS[suffix]
