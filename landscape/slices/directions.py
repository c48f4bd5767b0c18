"""Directions in parameter space: random, between solutions, along the gradient or eigenvectors, or the user's own."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.arguments import checked, seeded_generator
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.results import Directions, Eigenpairs
from landscape.slices.filters import (
    Attention,
    Normalize,
    Vectors,
    check_rules,
    heads_of,
    layouts,
    normalised,
    zero_filters,
)

COLLINEAR = 1e-6
"""Directions whose cosine differs from ±1 by less than this span no plane."""


@checked
def random_directions(
    objective: Objective,
    n: int = 2,
    *,
    normalize: Normalize = "filter",
    vectors: Vectors = "zero",
    attention: Attention = "row",
    seed: int = 0,
) -> Directions:
    r"""Draw Gaussian directions, make them orthogonal, then scale them to the weights.

    The draws come from a CPU generator in float64, so that a seed means the same on every device. They are made
    orthogonal before they are scaled; scaling tilts them a little, and both sets of cosines are in the result
    (``cosines`` as used, ``info["cosines_before"]``).

    Args:
        objective: gives the weights and the modules that own them.
        n: how many directions.
        normalize: ``filter`` (Li et al. 2018: each filter as long as the weights it perturbs), ``layer``, ``model``,
            ``element``, or `None` for the raw draw; see `landscape.slices.filters.normalised`.
        vectors: biases and norm parameters: ``zero``, ``scale`` or ``keep``.
        attention: cut projections by ``row``, or by ``head``: a head's rows of queries, keys and values, and its columns of
            the output projection, are each one filter. Heads are found in the traced network, however it is written.
        seed: of the draw.

    Returns:
        Directions (n, P). Filters whose weights are all zero get a zero direction, and a note.

    Raises:
        LandscapeError: an unknown rule, ``n`` below 1 or above P, weights that leave nothing to move, or attention whose heads
            cannot be told apart.

    Source: Li et al. 2018, "Visualizing the Loss Landscape of Neural Nets", arXiv 1712.09913, section 4.

    >>> import torch, landscape as ls
    >>> X, y = torch.randn(8, 3), torch.randn(8, 2)
    >>> objective = ls.Objective(torch.nn.Linear(3, 2), (X, y), "mse_loss")
    >>> d = random_directions(objective, n=1, seed=0)
    >>> row, weights = torch.tensor(d.vectors[0, :3]), objective.theta[:3]
    >>> bool(abs(row.norm() / weights.norm() - 1) < 1e-6)
    True
    """
    started = time.perf_counter()
    objective.world.agree(seeds=seed)
    check_rules(normalize, vectors)
    if not 1 <= n <= objective.size:
        raise LandscapeError(f"n is {n}, expected between 1 and the {objective.size} parameters")
    theta = torch.as_tensor(whole_theta(objective))
    parts = layouts(objective.model, objective.whole_space, heads_of(objective, attention))
    generator = seeded_generator(seed)
    draws = [torch.randn(objective.size, dtype=torch.float64, generator=generator) for _ in range(n)]
    drawn = torch.stack(draws)  # one at a time, so that the first direction of a seed does not depend on n
    if vectors == "zero":
        for part in parts:
            if part.vector:
                drawn[:, part.where] = 0
    drawn = _orthogonal(drawn)
    used = torch.stack([normalised(d, theta, parts, normalize=normalize, vectors=vectors) for d in drawn])
    if not bool(used.any(1).all()):
        raise LandscapeError(
            "the directions are zero: every weight they would move is zero, or only biases and norm parameters are "
            "selected; pass normalize=None or vectors='scale'"
        )
    return describe_directions(
        used.to(_storage(objective)).numpy(),
        "gaussian",
        normalize=normalize or "none",
        vectors_as=vectors,
        seed=seed,
        notes=tuple(zero_filters(theta, parts, normalize=normalize, vectors=vectors)),
        info={"cosines_before": _cosines(drawn.numpy()).tolist(), "attention": attention},
        provenance=objective.provenance(),
        seconds=time.perf_counter() - started,
    )


@checked
def eigen_directions(eigenpairs: Eigenpairs, n: int = 2) -> Directions:
    """Take the first eigenvectors as directions, unmodified: unit length, no normalisation.

    Args:
        eigenpairs: with vectors (k, P).
        n: how many, in the order of the eigenvalues.

    Raises:
        LandscapeError: there are no vectors, or fewer than ``n``.

    >>> pairs = Eigenpairs(
    ...     values=np.array([2.0]), residuals=np.array([0.0]), vectors=np.array([[0.0, 1.0]]), operator="hessian",
    ...     which="LA", tol=1e-3, matvecs=2, converged=True)
    >>> eigen_directions(pairs, n=1).vectors
    array([[0., 1.]])
    """
    if eigenpairs.vectors is None:
        raise LandscapeError("these eigenpairs were stored without vectors; compute them with return_eigenvectors=True")
    if not 1 <= n <= len(eigenpairs.vectors):
        raise LandscapeError(f"n is {n}, expected between 1 and the {len(eigenpairs.vectors)} eigenvectors there are")
    return describe_directions(
        np.asarray(eigenpairs.vectors)[:n],
        "eigenvector",
        vectors_as="keep",
        seed=eigenpairs.seed,
        info={"eigenvalues": np.asarray(eigenpairs.values)[:n].tolist(), "operator": eigenpairs.operator},
        provenance=eigenpairs.provenance,
    )


def direction_between(a: Any, b: Any) -> Directions:
    """Return the direction b − a between two solutions: coordinate 0 is a, coordinate 1 is b.

    Args:
        a: an objective (``objective.at(state_dict)``) or a vector (P,).
        b: the other end, of the same size.

    Raises:
        LandscapeError: different sizes, equal points, or something that is neither.

    >>> direction_between(np.array([1.0, 1.0]), np.array([1.0, 3.0])).vectors
    array([[0., 2.]])
    """
    start, end = _point(a), _point(b)
    if start.shape != end.shape:
        raise LandscapeError(f"the solutions have {start.size} and {end.size} parameters; expected the same network")
    if np.array_equal(start, end):
        raise LandscapeError("the two solutions are the same point, so there is no direction between them")
    return describe_directions((end - start)[None], "between", vectors_as="keep", provenance=_origin(a))


def plane_through(a: Any, b: Any, c: Any) -> Directions:
    """Return the orthonormal directions of the plane through three solutions, in Euclidean distances from the first.

    The first axis points from a to b. ``info["points"]`` holds the coordinates of a, b and c.

    Args:
        a: an objective or a vector (P,): the origin of the plane.
        b: the second solution, at ``(|b − a|, 0)``.
        c: the third.

    Raises:
        LandscapeError: the three lie on one line, or have different sizes.

    Source: Garipov et al. 2018, arXiv 1802.10026, appendix on visualisation.

    >>> plane_through(np.zeros(3), np.array([2.0, 0, 0]), np.array([1.0, 4, 0])).info["points"]
    [[0.0, 0.0], [2.0, 0.0], [1.0, 4.0]]
    """
    u, v = (vectors_of(direction_between(a, other))[0].astype(np.float64) for other in (b, c))
    length, reach = float(np.linalg.norm(u)), float(np.linalg.norm(v))
    u = u / length
    along = float(u @ v)
    v = v - along * u
    v -= (u @ v) * u
    height = float(np.linalg.norm(v))
    if height < np.sqrt(COLLINEAR) * reach:
        raise LandscapeError("the three solutions lie on one line and span no plane; use interpolate for a line")
    return describe_directions(
        np.stack([u, v / height]),
        "points",
        vectors_as="keep",
        info={"points": [[0.0, 0.0], [length, 0.0], [along, height]]},
        provenance=_origin(a),
    )


def gradient_direction(objective: Objective) -> Directions:
    """Return the gradient at the objective's centre as a unit direction; its length is ``info["gradient_norm"]``.

    Raises:
        LandscapeError: the gradient is zero.
    """
    gradient = objective.world.whole(objective.gradient()).detach().cpu().double()
    norm = float(gradient.norm())
    if norm == 0:
        raise LandscapeError(
            "the gradient is zero here, so it gives no direction; use random or eigenvector directions"
        )
    return describe_directions(
        (gradient / norm)[None].to(_storage(objective)).numpy(),
        "gradient",
        vectors_as="keep",
        info={"gradient_norm": norm},
        provenance=objective.provenance(),
    )


def as_directions(given: Any, n: int, size: int) -> Directions:
    """Turn what a user passes as directions into a checked result.

    Args:
        given: a Directions result, a trajectory or slice that has one, n vectors (n, P) as a tensor, array or list, or
            one vector (P,) for a line.
        n: how many axes are needed; further directions of a result are left out.
        size: P.

    Raises:
        LandscapeError: wrong number or size, NaN, zero or collinear directions.
    """
    given = getattr(given, "directions", given)  # a trajectory, or a slice whose axes are wanted again
    if isinstance(given, Directions):
        if given.vectors is None:
            raise LandscapeError("only the recipe of these directions was stored; draw them again from their seed")
        vectors = np.asarray(given.vectors)
    elif isinstance(given, Sequence) and not isinstance(given, str):
        vectors = np.stack([_point(item).reshape(-1) for item in given])
    elif hasattr(given, "__array__"):
        vectors = np.atleast_2d(given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given))
    else:
        raise LandscapeError(
            f"directions of type {type(given).__name__}, expected those of ls.random_directions(objective) or another call "
            "that makes some, or vectors (n, P)"
        )
    if vectors.ndim != 2 or vectors.shape[1] != size:
        raise LandscapeError(f"directions of shape {vectors.shape}, expected vectors of {size} parameters")
    if len(vectors) < n or (len(vectors) > n and not isinstance(given, Directions)):
        raise LandscapeError(f"{len(vectors)} direction(s), expected {n}: one for each axis")
    if not isinstance(given, Directions):
        given = describe_directions(vectors, "given", vectors_as="keep")
    elif len(vectors) > n:
        first = describe_directions(vectors[:n], given.direction_kind)
        given = given.replace(vectors=first.vectors, norms=first.norms, cosines=first.cosines, sha256=first.sha256)
    _check(vectors[:n], given.cosines)
    return given


def vectors_of(directions: Directions) -> np.ndarray:
    """Return the vectors (n, P), which `as_directions` made sure are there."""
    assert directions.vectors is not None
    return np.asarray(directions.vectors)


def whole_theta(objective: Objective) -> np.ndarray:
    """Return all of theta (P,) in float64; directions and distances are taken on the host, whole."""
    return objective.world.whole(objective.theta).detach().cpu().double().numpy()


def _check(vectors: np.ndarray, cosines: np.ndarray) -> None:
    for index, vector in enumerate(vectors):
        if not np.isfinite(vector).all():
            raise LandscapeError(f"direction {index} has NaN or infinite entries; expected finite numbers")
        if not vector.any():
            raise LandscapeError(f"direction {index} is zero everywhere; expected a direction to move along")
    off = np.abs(cosines - np.diag(np.diag(cosines)))
    if len(vectors) > 1 and off.max() > 1 - COLLINEAR:
        i, j = np.unravel_index(off.argmax(), off.shape)
        raise LandscapeError(
            f"directions {i} and {j} are collinear (cosine {cosines[i, j]:.7f}), so they span no plane; draw others"
        )


def describe_directions(vectors: np.ndarray, kind: str, **fields: Any) -> Directions:
    """Make a result from vectors (n, P): lengths, cosines and fingerprint in float64."""
    exact = np.ascontiguousarray(vectors, dtype=np.float64)
    return Directions(
        vectors=vectors,
        norms=np.linalg.norm(exact, axis=1),
        cosines=_cosines(exact),
        direction_kind=kind,
        sha256=hashlib.sha256(exact.tobytes()).hexdigest(),
        **fields,
    )


def _cosines(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1)
    lengths[lengths == 0] = 1.0
    return (vectors @ vectors.T) / np.outer(lengths, lengths)


def _orthogonal(vectors: Tensor) -> Tensor:
    """Make rows orthogonal, each keeping its own length; two passes reach rounding error."""
    out = vectors.clone()
    for i in range(len(out)):
        length = out[i].norm()
        for _ in range(2):
            for j in range(i):
                out[i] -= (out[i] @ out[j]) / (out[j] @ out[j]).clamp_min(torch.finfo(out.dtype).tiny) * out[j]
        rest = out[i].norm()
        if length > 0 and rest > 0:
            out[i] *= length / rest
    return out


def _storage(objective: Objective) -> torch.dtype:
    return torch.promote_types(objective.dtype, torch.float32)


def _point(given: Any) -> np.ndarray:
    """Return the vector (P,) of an objective, a tensor or an array."""
    if isinstance(given, Objective):
        given = given.world.whole(given.theta)
    if isinstance(given, Tensor):
        return given.detach().cpu().to(torch.promote_types(given.dtype, torch.float32)).numpy()
    if isinstance(given, Directions) and given.vectors is not None and len(given.vectors) == 1:
        return np.asarray(given.vectors)[0]
    if isinstance(given, np.ndarray):
        return given
    raise LandscapeError(
        f"a point of type {type(given).__name__}; expected an objective (objective.at(state_dict)) or a vector (P,)"
    )


def _origin(given: Any) -> dict[str, Any]:
    return given.provenance() if isinstance(given, Objective) else {}
