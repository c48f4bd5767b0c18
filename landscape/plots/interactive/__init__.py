"""Figures to turn, zoom and read values off, by plotly (extra ``[interactive]``); each saves as one HTML page.

They share levels, colours and markers with the figures of `landscape.plots`, so that a page and a paper agree.

>>> import numpy as np
>>> from landscape.results import Plane
>>> x = np.linspace(-1, 1, 5)
>>> bowl = Plane(x=x, y=x, values={"train/loss": x**2 + x[:, None] ** 2}, computed=np.ones((5, 5)))
>>> surface({"sgd": bowl}).layout.annotations[0].text
'sgd'
"""

from collections.abc import Callable
from typing import Any

from landscape.errors import LandscapeError
from landscape.plots.interactive.pages import save
from landscape.plots.interactive.planes import plane
from landscape.plots.interactive.spectra import density, eigenvalues
from landscape.plots.interactive.surfaces import surface
from landscape.plots.interactive.trajectories import trajectory
from landscape.results import Result

KINDS: dict[str, Callable[..., Any]] = {
    "density": density,
    "eigenpairs": eigenvalues,
    "plane": surface,
    "trajectory": trajectory,
}
"""The figure of each kind of result that has an interactive one."""


def plot(result: Result, **options: Any) -> Any:
    """Draw a result the way its kind is usually drawn.

    Args:
        result: of a kind in `KINDS`.
        **options: passed on to the function of the kind.

    Returns:
        A ``plotly.graph_objects.Figure``; `save` writes it.

    Raises:
        LandscapeError: a kind without an interactive figure, or what the function raises.
    """
    if type(result).kind not in KINDS:
        raise LandscapeError(f"there is no interactive figure of a {type(result).kind}, only of {', '.join(KINDS)}")
    return KINDS[type(result).kind](result, **options)


__all__ = ["KINDS", "density", "eigenvalues", "plane", "plot", "save", "surface", "trajectory"]
