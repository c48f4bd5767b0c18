"""Where solutions lie on a plane, and how far off it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from landscape.function.objective import Objective
from landscape.slices.directions import as_directions, vectors_of, whole_theta
from landscape.slices.paths.points import Solution, centred


def project(objective: Objective, directions: Any, solutions: Sequence[Solution]) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the coordinates of solutions on the plane through an objective's centre, and their distances from it.

    .. math:: c = \arg\min_c \|\theta + D^T c - \theta_i\|

    by least squares, so that directions need be neither orthogonal nor of unit length. The loss drawn at c is that of
    the projection, not of the solution, unless the distance is zero.

    Args:
        objective: centred at the plane's origin.
        directions: a `Directions` result, a slice that has one, or vectors (n, P).
        solutions: objectives, checkpoints, state dicts or vectors.

    Returns:
        Coordinates (T, n) and Euclidean distances (T,).

    Raises:
        LandscapeError: solutions of another network, or unusable directions.

    >>> import torch, landscape as ls
    >>> net, data = torch.nn.Linear(3, 1, bias=False), (torch.eye(3), torch.zeros(3, 1))
    >>> objective = ls.Objective(net, data, "mse_loss", dtype=torch.float64).at(torch.zeros(3))
    >>> points, distances = project(objective, np.array([[2.0, 0, 0], [1.0, 1, 0]]), [np.array([3.0, 1.0, 5.0])])
    >>> points.round(9), distances.round(9)
    (array([[1., 1.]]), array([5.]))
    """
    found = getattr(directions, "directions", directions)
    vectors = getattr(found, "vectors", found)
    axes = vectors_of(as_directions(found, len(np.atleast_2d(vectors)), objective.size)).astype(np.float64)
    origin = whole_theta(objective)
    thetas = np.stack([whole_theta(centred(objective, solution)) for solution in solutions])
    coordinates = np.linalg.solve(axes @ axes.T, axes @ (thetas - origin).T).T
    residual = thetas - origin - coordinates @ axes
    return coordinates, np.linalg.norm(residual, axis=1)
