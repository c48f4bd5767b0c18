"""The quadratic model of a slice, to be drawn over the true surface."""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from landscape.errors import LandscapeError
from landscape.results import Line, Plane
from landscape.slices.readings.surface import centre_of

S = TypeVar("S", Line, Plane)


def quadratic_overlay(surface: S, matrix: np.ndarray | float, *, slope: np.ndarray | float = 0.0) -> S:
    r"""Return a slice of the same window that holds the quadratic model of the loss around the centre.

    .. math:: L_0 + g^T c + \tfrac12 c^T M c, \qquad M_{ij} = d_i^T H d_j, \quad g_i = d_i^T \nabla L

    with coordinates c = (x, y). Along eigenvectors M is the diagonal of eigenvalues.

    Args:
        surface: the slice; coordinate 0 must be on the grid of every axis.
        matrix: dᵀHd for a line; (2, 2), or the two eigenvalues, for a plane.
        slope: dᵀ∇L along each axis.

    Raises:
        LandscapeError: a matrix of the wrong shape, or the centre is not on the grid.

    >>> line = Line(x=np.array([-1.0, 0.0, 1.0]), values={"train/loss": np.array([1.5, 0.5, 1.6])})
    >>> quadratic_overlay(line, 2.0).loss
    array([1.5, 0.5, 1.5])
    """
    axes = list(surface.axes.values())
    m = np.atleast_1d(np.asarray(matrix, dtype=np.float64))
    m = np.diag(m) if m.ndim == 1 else m
    g = np.broadcast_to(np.asarray(slope, dtype=np.float64), (len(axes),))
    if m.shape != (len(axes), len(axes)):
        raise LandscapeError(f"a matrix of shape {m.shape}, expected {len(axes)} × {len(axes)}: one row for each axis")
    centre = tuple(centre_of(axis) for axis in reversed(axes))
    c = np.stack(np.meshgrid(*axes), axis=-1)
    values = surface.loss[centre] + c @ g + np.einsum("...i,ij,...j->...", c, m, c) / 2
    return surface.replace(values={f"{surface.dataset}/loss": values}, evaluation="quadratic model")
