"""What a Lanczos run is asked for: which end of the spectrum, how exactly; and when it is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.spectra.lanczos import Lanczos
from landscape.spectra.protocol import Products

Which = Literal["LA", "SA", "LM", "BE"]

WHOLE = 64
"""Dimension up to which the whole space is spanned, if it fits the basis: so few products are cheap, and nothing is missed."""

LOOSEST = 1e-3
"""Relative residual at which a run stops at the loosest. Ritz values with larger ones may still be on their way, and an
eigenvalue beyond them not yet seen: at 0.1 a third of the runs on an MLP's spectrum missed one of five, at 0.01 one in
thirty, at 0.001 none of sixty, for two products more than at 0.01."""


@dataclass(frozen=True)
class Goal:
    """k pairs at an end of the spectrum, each with a relative residual of at most `tol`.

    Attributes:
        k: pairs.
        which: the end.
        tol: relative residual asked for; the run itself goes on to `LOOSEST`.
        epsilon: unit rounding of the products; residuals below 10·epsilon·‖A‖ cannot be told from zero. In half precision that
            would be 8 % of ‖A‖ and no convergence: a thousandth at most.
        block_size: vectors multiplied at a time.
        max_basis: vectors kept.
        max_matvecs: products to spend.
        verify: whether fresh products measure the residuals.
    """

    k: int
    which: Which
    tol: float
    epsilon: float
    block_size: int
    max_basis: int
    max_matvecs: int
    verify: bool

    def excess(self, values: np.ndarray, residuals: np.ndarray, norm: float, *, loosest: float = np.inf) -> np.ndarray:
        """Return residual / allowed residual of each pair: at most 1 where it converged."""
        allowed = np.maximum(min(self.tol, loosest) * np.abs(values), min(10 * self.epsilon, 1e-3) * norm)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(residuals > 0, residuals / allowed, 0.0)

    def reached(self, run: Lanczos, values: np.ndarray, residuals: np.ndarray, strictness: float) -> bool:
        """Say whether the wanted Ritz pairs are good enough and nothing better is still hidden.

        An invariant subspace makes every residual vanish at once, before multiple eigenvalues have all been seen. So
        after one was found, a further sequence from a random vector must have shown its own best pair.
        """
        wanted = select(values, self.which, self.k)
        norm = np.abs(values).max()
        if run.products.size - run.locked <= min(self.max_basis, WHOLE):
            return run.exhausted
        if len(values) < self.k:
            return False
        if self.excess(values[wanted], residuals[wanted], norm, loosest=LOOSEST).max() > strictness:
            return False
        if run.sequence == 0:
            return True
        if run.sequence == run.size:
            return run.confirmed
        tail, coefficients = np.linalg.eigh(run.projected[run.sequence :, run.sequence :])
        best = select(tail, self.which, 2 if self.which == "BE" else 1)
        left = np.linalg.norm(run.coupling[:, run.sequence :] @ coefficients[:, best], axis=0)
        return bool(self.excess(tail[best], left, norm).max() <= 1)

    def make_room(self, run: Lanczos) -> None:
        """Restart a run whose basis is full from its best Ritz vectors."""
        if not run.full:
            return
        values, coefficients, _ = run.ritz()
        keep = min(self.k + (run.size - self.k) // 2, self.max_basis - len(run.candidates))
        best = select(values, self.which, keep)
        run.restart(values[best], coefficients[:, best])

    def absorb(self, run: Lanczos, products: Tensor) -> None:
        """Hand a run the products of its candidates, and note whether a sequence that just ended held a wanted pair."""
        sequence = run.sequence
        run.absorb(products)
        if run.sequence > sequence:
            run.confirmed = not self.improved(run, sequence)

    def improved(self, run: Lanczos, sequence: int) -> bool:
        """Say whether the Krylov sequence that began at row `sequence` holds any of the wanted pairs."""
        if sequence < self.k:
            return True
        before = np.linalg.eigvalsh(run.projected[:sequence, :sequence])
        after = np.linalg.eigvalsh(run.projected)
        gain = merit(after, self.which, self.k) - merit(before, self.which, self.k)
        return bool(gain > 64 * self.k * self.epsilon * np.abs(after).max())


def make_goal(
    products: Products,
    *,
    k: int,
    which: Which,
    tol: float,
    locked: int,
    block_size: int,
    max_basis: int | None,
    max_matvecs: int | None,
    verify: bool,
) -> Goal:
    """Check a request against the operator and fill in what was left open.

    Raises:
        LandscapeError: the request cannot be met; the message says which option to change.
    """
    if which not in get_args(Which):
        raise LandscapeError(
            f"which={which!r} is unknown: use 'LA' (most positive), 'SA' (most negative), 'LM' (largest magnitude) "
            "or 'BE' (both ends)"
        )
    room = products.size - locked
    if not 1 <= k <= room:
        left = f" of which {locked} are deflated" if locked else ""
        raise LandscapeError(f"k={k} eigenpairs of an operator with P={products.size}{left}: use 1 ≤ k ≤ {room}")
    if not 0 < tol < 1:
        raise LandscapeError(f"tol={tol} is a relative residual: use 0 < tol < 1, such as 1e-3")
    if block_size < 1:
        raise LandscapeError(f"block_size={block_size}: use at least 1")
    least = min(room, k + 2 * block_size)
    if max_basis is None:
        max_basis = min(room, max(4 * k, 64, 8 * block_size))
    if max_basis < least:
        raise LandscapeError(f"max_basis={max_basis} is too small for k={k}: use at least {least}, better {4 * k + 20}")
    needed = k + block_size + (k if verify else 0)
    if max_matvecs is None:
        max_matvecs = max(1000, 20 * k)
    if max_matvecs < needed:
        raise LandscapeError(f"max_matvecs={max_matvecs} cannot give k={k} pairs: use at least {needed}")
    return Goal(k, which, tol, products.epsilon, block_size, min(max_basis, room), max_matvecs, verify)


def select(values: np.ndarray, which: Which, k: int) -> np.ndarray:
    """Return the indices of the k wanted values, the most wanted first (``BE``: both ends, descending).

    >>> select(np.array([-9.0, 1.0, 2.0, 5.0]), "LM", 2), select(np.array([-9.0, 1.0, 2.0, 5.0]), "BE", 3)
    (array([0, 3]), array([3, 2, 0]))
    """
    if which == "LM":
        return np.argsort(-np.abs(values), kind="stable")[:k]
    descending = np.argsort(-values, kind="stable")
    if which == "LA":
        return descending[:k]
    if which == "SA":
        return descending[::-1][:k]
    k = min(k, len(values))
    return np.concatenate([descending[: k - k // 2], descending[len(values) - k // 2 :]])


def merit(values: np.ndarray, which: Which, k: int) -> float:
    """Return how far out the k wanted values lie; a better set has a larger one.

    >>> merit(np.array([3.0, -1.0, 2.0]), "LA", 2)
    5.0
    """
    chosen = values[select(values, which, k)]
    if which == "LM":
        return float(np.abs(chosen).sum())
    if which == "BE":
        high = len(chosen) - len(chosen) // 2
        return float(chosen[:high].sum() - chosen[high:].sum())
    return float(chosen.sum() if which == "LA" else -chosen.sum())
