"""Thick-restart Lanczos, single-vector or block: the recurrence alone, without a goal."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.spectra.basis import Where, host, orthonormalise
from landscape.spectra.protocol import Products


@dataclass(frozen=True)
class LanczosState:
    """Everything a Lanczos run needs to go on: A Qᵀ = Qᵀ T + Xᵀ C, with Q and X orthonormal rows.

    Attributes:
        basis: Q (n, P).
        projected: T (n, n) = Q A Qᵀ, float64.
        candidates: X (b, P), the rows to be multiplied next.
        coupling: C (b, n), float64.
        sequence: index of the first basis row of the current Krylov sequence: where the rows before it span an invariant
            subspace, up to rounding; 0 when there was none.
        drawn: random vectors drawn so far.
        matvecs: products spent so far, those of earlier processes included.
        restarts: thick restarts so far.
        confirmed: whether the last exhausted sequence held none of the wanted pairs.
        history: (steps, 2), after how many products the largest residual was how many times the one asked for.
    """

    basis: np.ndarray
    projected: np.ndarray
    candidates: np.ndarray
    coupling: np.ndarray
    sequence: int
    drawn: int
    matvecs: int
    restarts: int
    confirmed: bool
    history: np.ndarray = field(default_factory=lambda: np.empty((0, 2)))


class Lanczos:
    """The recurrence A Qᵀ = Qᵀ T + Xᵀ C, one block of products per step.

    T is kept as a full float64 matrix on the host, so that thick restart (Wu and Simon 2000) needs no special case: after
    a restart T is diagonal, and the next product refills its last rows. The part of a product that the recurrence says
    must vanish is compared with what was measured, which detects operators that are not symmetric or that change.

    Args:
        products: the operator.
        start: rows (b, P) to start from; b is the block size.
        capacity: the largest basis.
        seed: seed of the random vectors that replace exhausted directions.
        locked: orthonormal rows (d, P) that are kept out of the basis.
        where: the basis lies.

    >>> run = Lanczos(Products(torch.diag(torch.arange(4.0))), torch.ones(1, 4), capacity=4, seed=0)
    >>> for _ in range(4):
    ...     run.step()
    >>> run.ritz()[0].round(4) + 0.0
    array([0., 1., 2., 3.])
    """

    def __init__(
        self,
        products: Products,
        start: Tensor,
        *,
        capacity: int,
        seed: int,
        locked: Tensor | None = None,
        where: Where = "device",
    ) -> None:
        self.products = products
        self.capacity = capacity
        self.locked = len(locked) if locked is not None else 0
        self.basis = products.basis(where)
        if locked is not None:
            self.basis.append(locked)
        self.probes = products.probes(seed, "gaussian")
        self.drawn = self.restarts = self.sequence = 0
        self.confirmed = False
        self.projected = np.zeros((0, 0))
        self.block = len(start)
        largest = float(products.world.largest(start).abs().max())
        self.candidates = orthonormalise(
            start, self.basis, room=self.room, negligible=largest * products.epsilon, draw=self.draw
        ).rows
        self.coupling = np.zeros((len(self.candidates), 0))

    @property
    def size(self) -> int:
        """n, the rows of Q."""
        return len(self.projected)

    @property
    def room(self) -> int:
        """How many directions the space has left."""
        return self.products.size - len(self.basis)

    @property
    def exhausted(self) -> bool:
        """Whether Q spans an invariant subspace that leaves nothing to multiply."""
        return not len(self.candidates)

    @property
    def full(self) -> bool:
        """Whether the next block does not fit."""
        return self.size + len(self.candidates) > self.capacity

    def draw(self) -> Tensor:
        """Return the next random row (P,), numbered after the start block's own."""
        self.drawn += 1
        return self.probes.rows(self.block + self.drawn - 1, self.block + self.drawn)[0]

    def step(self) -> None:
        """Multiply the candidates, move them into the basis and make the next ones; raises as `absorb` does."""
        self.absorb(self.products.rows(self.candidates))

    def absorb(self, products: Tensor) -> None:
        """Move the candidates into the basis, given their products (b, P), and make the next ones.

        Raises:
            NumericalError: a product is not finite, or contradicts the products before it.
        """
        old, new = self.size, len(self.candidates)
        diagonal = host(self.products.world.gram(self.candidates.double(), products.double()))
        self.products.require_finite(diagonal)
        scale = max(
            np.abs(self.projected).max(initial=0.0), np.abs(diagonal).max(), np.abs(self.coupling).max(initial=0)
        )
        self.basis.append(self.candidates)
        split = orthonormalise(
            products,
            self.basis,
            room=self.room,
            negligible=64 * torch.finfo(self.products.dtype).eps * scale,
            draw=self.draw,
        )
        self.products.require_finite(split.coefficients)
        self.products.require_finite(split.triangle)
        measured = split.coefficients[self.locked : self.locked + old]
        self._check_symmetry(measured, diagonal, max(scale, np.abs(split.triangle).max(initial=0.0)))
        projected = np.zeros((old + new, old + new))
        projected[:old, :old] = self.projected
        projected[:old, old:] = measured
        projected[old:, :old] = measured.T
        projected[old:, old:] = (diagonal + diagonal.T) / 2
        self.projected = projected
        self.coupling = np.hstack([np.zeros((len(split.rows), old)), split.triangle])
        self.candidates = split.rows
        if len(split.rows) and np.abs(split.triangle).max() <= torch.finfo(self.products.dtype).eps ** 0.7 * scale:
            self.sequence = self.size

    def ritz(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return Ritz values (n,), their coefficients (n, n) and estimated residual norms ‖C s‖ (n,)."""
        values, coefficients = np.linalg.eigh(self.projected)
        return values, coefficients, np.linalg.norm(self.coupling @ coefficients, axis=0)

    def vectors(self, coefficients: np.ndarray) -> Tensor:
        """Return the unit Ritz vectors (k, P) of coefficients (n, k)."""
        padded = np.vstack([np.zeros((self.locked, coefficients.shape[1])), coefficients])
        rows = self.basis.combine(self._device(padded))
        return rows / self.products.world.norm(rows)[:, None]

    def restart(self, values: np.ndarray, coefficients: np.ndarray) -> None:
        """Shrink the basis to chosen Ritz vectors (n, m); the recurrence stays true."""
        self.sequence = 0 if self.sequence < self.size else len(values)
        turn = np.zeros((self.locked + self.size, self.locked + len(values)))
        turn[: self.locked, : self.locked] = np.eye(self.locked)
        turn[self.locked :, self.locked :] = coefficients
        self.basis.rotate(self._device(turn))
        self.coupling = self.coupling @ coefficients
        self.projected = np.diag(values)
        self.restarts += 1

    def state(self) -> LanczosState:
        """Copy the run to the host."""
        return LanczosState(
            basis=self.basis.rows()[self.locked :].cpu().numpy(),
            projected=self.projected.copy(),
            candidates=self.candidates.cpu().numpy().copy(),
            coupling=self.coupling.copy(),
            sequence=self.sequence,
            drawn=self.drawn,
            matvecs=self.products.count,
            restarts=self.restarts,
            confirmed=self.confirmed,
        )

    def resume(self, state: LanczosState) -> None:
        """Continue from a state of the same run.

        Raises:
            LandscapeError: the state belongs to another operator's shape or to another maximum basis.
        """
        if state.candidates.shape[1:] != (self.basis.size,) or len(state.basis) > self.capacity:
            raise LandscapeError(
                f"the saved run has basis {state.basis.shape} and block {state.candidates.shape}, this one has P = "
                f"{self.products.size} and max_basis = {self.capacity}: resume with the operator and options it was made with"
            )
        self.basis.count = self.locked
        self.basis.append(self._device(state.basis))
        self.candidates = self._device(state.candidates)
        self.projected, self.coupling = state.projected.copy(), state.coupling.copy()
        self.sequence, self.drawn, self.restarts = state.sequence, state.drawn, state.restarts
        self.confirmed = state.confirmed
        self.products.count = state.matvecs

    def _device(self, array: np.ndarray) -> Tensor:
        return torch.as_tensor(array).to(self.products.device, self.products.dtype)

    def _check_symmetry(self, measured: np.ndarray, diagonal: np.ndarray, scale: float) -> None:
        """Compare Q A X measured from this product with C, which the products before it imply."""
        difference = max(
            np.abs(measured - self.coupling.T).max(initial=0.0), np.abs(diagonal - diagonal.T).max(initial=0.0)
        )
        if difference > self.products.epsilon**0.5 * scale:
            raise self.products.explain_asymmetry(self.candidates[0], difference / scale)
