"""Ritz pairs taken out of a basis and measured with fresh products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor

from landscape.spectra.basis import host
from landscape.spectra.goal import Goal, select
from landscape.spectra.lanczos import Lanczos
from landscape.spectra.protocol import Products


@dataclass(frozen=True)
class Found:
    """Pairs with their residuals, and how the run ended.

    Attributes:
        values: (k,) in the order asked for.
        residuals: (k,) ‖Av − λv‖.
        vectors: (k, P) unit rows.
        applied: (k, P) their products Av; None where none were measured.
        others: (n, 2) the Ritz values that were not wanted, each with its residual.
        gaps: (k,) distance from each value to the nearest interval θ ± residual of another.
        converged: whether every residual is small enough.
        message: what to do where not.
    """

    values: np.ndarray
    residuals: np.ndarray
    vectors: Tensor
    applied: Tensor | None
    others: np.ndarray
    gaps: np.ndarray
    converged: bool
    message: str


def measure(run: Lanczos, goal: Goal, values: np.ndarray, coefficients: np.ndarray, residuals: np.ndarray) -> Found:
    """Take the wanted Ritz pairs out of the basis and measure ‖Av − λv‖ with one block of fresh products.

    The quotient is that of the vector as it is: a basis in float32 is orthogonal to about 1e-6, and so long are its Ritz vectors.
    """
    wanted = select(values, goal.which, goal.k)
    vectors = run.vectors(coefficients[:, wanted])
    found, left, applied = values[wanted], residuals[wanted], None
    if goal.verify:
        applied = run.products.rows(vectors).double()
        world = run.products.world
        squared = host(world.dot(vectors, vectors))
        found = host(world.dot(vectors, applied)) / squared
        left = host(world.norm(applied - torch.as_tensor(found).to(applied)[:, None] * vectors)) / np.sqrt(squared)
        run.products.require_finite(left)
    rest = np.setdiff1d(np.arange(len(values)), wanted)
    others = np.stack([values[rest], residuals[rest]], axis=1)

    def remedy(excess: np.ndarray, norm: float) -> str:
        return _remedy(goal, run, excess, residuals[wanted], norm)

    return _found(goal, run.products, found, left, vectors, applied, others, remedy)


def joined(found: Found, run: Lanczos, goal: Goal, coefficients: np.ndarray, others: np.ndarray) -> Found:
    """Return the k wanted pairs of the span of the pairs found and of more that a deflated run found beside them.

    A small Rayleigh–Ritz problem from products already there and one for each vector that joins, so that what little the
    deflated vectors kept of the new ones comes right as well. The vectors that join are given by their coefficients (n, m) in
    the basis of the run; `others` (…, 2) are further Ritz values of it, each with its residual.
    """
    products, world = run.products, run.products.world
    more = run.vectors(coefficients)
    rows = torch.cat([found.vectors, more])
    if found.applied is None:
        thetas = (coefficients * (run.projected @ coefficients)).sum(0)
        values = np.concatenate([found.values, thetas])
        left = np.concatenate([found.residuals, np.linalg.norm(run.coupling @ coefficients, axis=0)])
        turned, applied = rows, None
    else:
        products_of_more = products.rows(more).double()
        products.require_finite(host(world.norm(products_of_more)))
        applied = torch.cat([found.applied, products_of_more])
        form, metric = (host(world.gram(rows.double(), other)) for other in (applied, rows.double()))
        values, turn = eigh((form + form.T) / 2, metric)
        rotation = torch.as_tensor(turn).to(applied)
        turned = (rotation.T @ rows.double()).to(rows.dtype)
        applied = rotation.T @ applied
        left = host(world.norm(applied - torch.as_tensor(values).to(applied)[:, None] * turned))

    def remedy(excess: np.ndarray, norm: float) -> str:
        return f"the largest relative residual is {excess.max() * goal.tol:.1e} after the check"

    others = np.concatenate([found.others, others])
    return _found(goal, products, values, left, turned, applied, others, remedy)


def _found(
    goal: Goal,
    products: Products,
    values: np.ndarray,
    residuals: np.ndarray,
    vectors: Tensor,
    applied: Tensor | None,
    others: np.ndarray,
    remedy: Callable[[np.ndarray, float], str],
) -> Found:
    """Take the wanted pairs in the order asked for, the largest entry of each vector positive, and judge them."""
    order = select(values, goal.which, goal.k)
    rest = np.setdiff1d(np.arange(len(values)), order)
    others = np.concatenate([others, np.stack([values[rest], residuals[rest]], axis=1)])
    values, residuals, index = values[order], residuals[order], torch.as_tensor(order.copy())
    norm = float(np.abs(np.concatenate([values, others[:, 0]])).max())
    excess = goal.excess(values, residuals, norm)
    converged = bool(np.all(excess <= 1)) and len(values) == goal.k
    signs = torch.where(products.world.largest(vectors) < 0, -1.0, 1.0).to(vectors.dtype)  # eigenvectors have none
    return Found(
        values=values,
        residuals=residuals,
        vectors=(vectors * signs)[index],
        applied=None if applied is None else (applied * signs.double())[index],
        others=others,
        gaps=_gaps(values, residuals, others, products.size),
        converged=converged,
        message="" if converged else remedy(excess, norm),
    )


def _gaps(values: np.ndarray, residuals: np.ndarray, others: np.ndarray, size: int) -> np.ndarray:
    """Return the distance from each value to the nearest interval θ ± residual of another Ritz pair."""
    centres, radii = np.concatenate([values, others[:, 0]]), np.concatenate([residuals, others[:, 1]])
    gaps = np.full(len(values), np.inf if size == 1 else np.nan)
    for index in range(len(values)):
        apart = np.arange(len(centres)) != index
        if apart.any():
            nearest = float((np.abs(centres[apart] - centres[index]) - radii[apart]).min())
            gaps[index] = nearest if nearest > 0 else np.nan
    return gaps


def _remedy(goal: Goal, run: Lanczos, excess: np.ndarray, implied: np.ndarray, norm: float) -> str:
    """Say why the pairs did not converge and what to change."""
    reached = f"the largest relative residual is {excess.max() * goal.tol:.1e}, {goal.tol:.0e} was asked for"
    if (
        implied.max() < 1e3 * goal.epsilon * norm
        or goal.excess(np.full_like(implied, norm), implied, norm).max() < 0.05
    ):
        return f"{reached}: rounding in the products limits the residual; use float64, or a larger tol"
    larger = f", a max_basis above {goal.max_basis}" if run.restarts else ""
    return f"{reached} after {run.products.count} products: raise max_matvecs{larger}, or start from these vectors"
