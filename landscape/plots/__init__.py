"""Figures of results, in the style of a paper.

Every function reads results and computes nothing but means, medians and ranges of what it draws; never shows anything; leaves
matplotlib's settings as they were. It draws on ``ax=``, or where there are several panels on ``figure=`` or a part of one, in the
caller's style (``with plots.style():`` gives it the paper's); without them it makes a figure one column wide, or two columns wide
for several panels. It returns the axes, or the figure. `landscape.plots.interactive` holds figures to turn and zoom.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from typing import Any

from landscape.errors import LandscapeError
from landscape.plots.curves import placebo, sampling, scale_curvature, smoothness, track
from landscape.plots.lines import line, lines_grid
from landscape.plots.merge_trees import merge_tree
from landscape.plots.planes import contour, heatmap
from landscape.plots.saving import save
from landscape.plots.scales import Scale, scale_of
from landscape.plots.scores import comparison, effects, evidence, scores
from landscape.plots.spectra import by_layer, density, diagonal, eigenvalues, estimate, layers
from landscape.plots.studies import memorisation
from landscape.plots.style import DOUBLE, PALETTE, SINGLE, style
from landscape.plots.surfaces import grid, surface, volume
from landscape.plots.tables import audit, barriers, comparison_table, cosines, invariance, panel, summary, table
from landscape.plots.trajectories import animate, trajectory
from landscape.plots.trials import trials
from landscape.results import Result

KINDS: dict[str, Callable[..., Any]] = {
    "audit": audit,
    "comparison": comparison,
    "density": density,
    "diagonal": diagonal,
    "directions": cosines,
    "eigenpairs": eigenvalues,
    "estimate": estimate,
    "evidence": evidence,
    "layers": by_layer,
    "line": line,
    "memorisation": memorisation,
    "path": line,
    "placebo": placebo,
    "plane": contour,
    "sampling": sampling,
    "scale-curvature": scale_curvature,
    "scores": panel,
    "smoothness": smoothness,
    "topology": merge_tree,
    "track": track,
    "trajectory": trajectory,
    "trials": trials,
    "volume": volume,
}
"""The figure of each kind of result; other kinds are drawn as a table of their summary."""

FIGURES = frozenset(kind for kind, draw in KINDS.items() if "figure" in signature(draw).parameters)
"""The kinds with several panels, which take a figure instead of axes."""


def plot(result: Result, ax: Any = None, **options: Any) -> Any:
    """Draw a result the way its kind is usually drawn.

    Args:
        result: any result of the package.
        ax: where to draw; `None`: a new figure. A kind with several panels (`FIGURES`) takes a figure or a part of one.
        **options: of the function of the kind, listed in `KINDS`.

    Returns:
        The axes, or the figure of a result with several panels; both have ``.figure``.

    Raises:
        LandscapeError: axes for a result that needs a figure, or what the function raises.

    >>> import numpy as np
    >>> from matplotlib.figure import Figure
    >>> from landscape.results import Line
    >>> one = Line(x=np.array([-1.0, 0.0, 1.0]), values={"train/loss": np.array([1.0, 0.0, 1.0])})
    >>> plot(one, ax=Figure().add_subplot()).get_ylabel()
    'loss'
    """
    kind = type(result).kind
    if kind in FIGURES and ax is not None and not hasattr(ax, "add_subplot"):
        raise LandscapeError(f"a {kind} has several panels; give a figure, or a part of one, instead of axes")
    return KINDS.get(kind, summary)(result, ax, **options)


__all__ = [
    "DOUBLE",
    "FIGURES",
    "KINDS",
    "PALETTE",
    "SINGLE",
    "Scale",
    "animate",
    "audit",
    "barriers",
    "by_layer",
    "comparison",
    "comparison_table",
    "contour",
    "cosines",
    "density",
    "diagonal",
    "effects",
    "eigenvalues",
    "estimate",
    "evidence",
    "grid",
    "heatmap",
    "invariance",
    "layers",
    "line",
    "lines_grid",
    "memorisation",
    "merge_tree",
    "panel",
    "placebo",
    "plot",
    "sampling",
    "save",
    "scale_curvature",
    "scale_of",
    "scores",
    "smoothness",
    "style",
    "summary",
    "surface",
    "table",
    "track",
    "trajectory",
    "trials",
    "volume",
]
