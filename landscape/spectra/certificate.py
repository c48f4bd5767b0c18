"""Whether an eigenvalue was missed: a search of the deflated operator from a fresh random start.

A residual says that *an* eigenvalue is near a value, not that the value is the j-th. A process that started from one
vector sees one copy of a multiple eigenvalue, and sees late what its start has next to nothing of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from scipy.special import betainc
from torch import Tensor

from landscape.errors import LandscapeError, NumericalError
from landscape.spectra.goal import LOOSEST, Goal, select
from landscape.spectra.lanczos import Lanczos
from landscape.spectra.measured import Found, joined
from landscape.spectra.protocol import Products

Certify = float | Literal["check", "off"]

CHECK = 6
"""The most steps of a check that finds nothing; it spends a few products and says how much they tell."""

WARNED = 4 * CHECK
"""The same once a check has found something: where one eigenvalue was missed there may be more."""

ENOUGH = 0.05
"""Probability of a miss at which a check ends before its steps are spent."""


@dataclass(frozen=True)
class Certificate:
    """What is known about eigenvalues that the pairs may have missed, as the fields of `Eigenpairs` name it."""

    certificate: str = "residuals"
    check_matvecs: int = 0
    margin: float = float("nan")
    missed_probability: float = float("nan")
    check_message: str = ""


@dataclass(frozen=True)
class Demand:
    """What a certificate has to reach.

    Attributes:
        allowed: probability of a miss.
        limited: whether a search that finds nothing ends after a few steps, however little they tell.
        margin: ε: a miss is an eigenvalue beyond the last one by more than ε·|λ_k|.
    """

    allowed: float
    limited: bool
    margin: float


def make_demand(certify: Certify, margin: float) -> Demand | None:
    """Turn the options into a demand, `None` for none.

    Raises:
        LandscapeError: unknown words, or numbers out of range.
    """
    if not 0 < margin < np.inf:
        raise LandscapeError(f"margin={margin} is relative to the last eigenvalue: use margin > 0, such as 0.1")
    if certify == "off":
        return None
    if certify == "check":
        return Demand(ENOUGH, True, margin)
    if isinstance(certify, bool) or not isinstance(certify, int | float) or not 0 < certify < 1:
        raise LandscapeError(f"certify={certify!r}: use 'check', 'off' or a probability such as 0.99")
    return Demand(1 - certify, False, margin)


def certified(
    products: Products, goal: Goal, found: Found, locked: Tensor, demand: Demand, *, seed: int, whole: bool
) -> tuple[Found, Certificate]:
    """Search what is left beside converged pairs until nothing above the last of them comes up.

    Pairs that come up join, and the search begins again from another random start. Four fifths of the probability that is
    allowed go to the first search and 1/5j(j + 1) of it to the j-th repetition, so that all together keep to it.

    The caller left out the vectors `locked` (d, P); `whole` says whether the pairs come from the whole space.
    """
    margin, before = demand.margin, products.count
    if not found.converged:
        return found, Certificate(margin=margin, check_message="not checked: the pairs did not converge")
    round_number = 0
    while True:
        if whole or products.size == len(locked) + goal.k:
            return found, Certificate("complete", products.count - before, margin, 0.0)
        round_number += 1
        search = Search(products, goal, found, locked, (seed, round_number), margin)
        try:
            told = search.run(demand, round_number)
            if search.better.size:
                found = search.join()
                told = "" if found.converged else f"with the pairs that joined, {found.message}"
        except NumericalError as error:
            told = str(error)
        if search.better.size and not told:
            continue
        reached = "checked" if demand.limited else "certified"
        return found, Certificate(
            "residuals" if told else reached,
            products.count - before,
            margin,
            search.bound,
            f"the check did not end: {told}" if told else "",
        )


class Search:
    """A Lanczos process in what the pairs leave of the space, until it beats them or has seen enough.

    Let u be a unit eigenvector of an eigenvalue λ ≥ t above all Ritz values. From A Qᵀ = QᵀT + XᵀC follows
    Qu = (λ − T)⁻¹ Cᵀ Xu, so that the part of u in the span of the b start vectors is at most
    g(t) = ‖[(t − T)⁻¹ Cᵀ]₁‥b‖, which falls as fast as the Lanczos polynomials grow. That part, squared, is distributed as
    Beta(b/2, (n − b)/2), for all steps at once: no spectrum makes a miss likelier than the distribution function at g².

    Sources: Kuczyński and Woźniakowski 1992; van Dorsselaer, Hochstenbach and van der Vorst 2000.
    """

    def __init__(
        self, products: Products, goal: Goal, found: Found, locked: Tensor, entropy: tuple[int, int], margin: float
    ) -> None:
        self.products, self.goal, self.found = products, goal, found
        self.dimension = products.size - len(locked) - goal.k
        seed = int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> 1)
        start = products.probes(seed, "gaussian").rows(0, min(goal.block_size, self.dimension))
        capacity = min(max(goal.max_basis, goal.k + 2 * len(start)), self.dimension)
        deflated = products.world.factor(torch.cat([locked, found.vectors]))[0]
        self.lanczos = Lanczos(products, start, capacity=capacity, seed=seed, locked=deflated)
        self.block, self.margin = len(start), margin
        self.bound = 1.0
        self.better = np.zeros(0, dtype=int)

    def run(self, demand: Demand, number: int) -> str:
        """Step until pairs that are `better` have converged, or the bound is low enough; say what stopped it before."""
        lanczos, goal, steps = self.lanczos, self.goal, 0
        share = 0.8 if number == 1 else 0.2 / (number * (number - 1))
        most = self.products.size if not demand.limited else CHECK if number == 1 else WARNED
        norm = 0.0
        while True:
            if lanczos.exhausted:
                return ""
            if self.products.count + len(lanczos.candidates) + goal.verify * (self.better.size + 1) > goal.max_matvecs:
                return f"max_matvecs={goal.max_matvecs} is spent: raise it"
            if lanczos.full and not self.better.size:
                zero = min(abs(end) for _, end in self._ends()) <= 10 * self.products.epsilon * norm
                return (
                    "λ_k is zero, and so is any share of it"
                    if zero
                    else f"max_basis={goal.max_basis} is full: raise it"
                )
            goal.make_room(lanczos)
            lanczos.step()
            steps += 1
            values, _, residuals = lanczos.ritz()
            norm = max(np.abs(values).max(), np.abs(self.found.values).max())
            self.better = self._better(values, norm)
            if self.better.size:
                excess = goal.excess(values[self.better], residuals[self.better], norm, loosest=LOOSEST)
                if lanczos.exhausted or excess.max() <= 1:
                    return ""
                continue
            if not lanczos.restarts:
                self.bound = min(1.0, self._missed(norm) / share)
            if self.bound <= demand.allowed or steps >= most:
                return ""

    def join(self) -> Found:
        """Return the pairs with those that are better among them."""
        values, coefficients, residuals = self.lanczos.ritz()
        rest = np.setdiff1d(np.flatnonzero(residuals <= LOOSEST * np.abs(values).max()), self.better)
        others = np.stack([values[rest], residuals[rest]], axis=1)
        return joined(self.found, self.lanczos, self.goal, coefficients[:, self.better], others)

    def _ends(self) -> list[tuple[int, float]]:
        """Return (sign, sign·λ_k) of each end that is wanted."""
        values, which = self.found.values, self.goal.which
        if which == "LM":
            return [(1, abs(values[-1])), (-1, abs(values[-1]))]
        if which == "BE":
            high = len(values) - len(values) // 2
            return [(1, values[high - 1]), *((-1, -low) for low in values[high : high + 1])]
        return [(1, values[-1])] if which == "LA" else [(-1, -values[-1])]

    def _better(self, values: np.ndarray, norm: float) -> np.ndarray:
        """Return which Ritz values belong among the k wanted ones, beyond what rounding and residuals can feign."""
        last = float(self.found.residuals.max())
        slack = max(10 * self.products.epsilon * norm, 10 * last**2 / norm if norm else 0.0)
        beyond = np.zeros(len(values), dtype=bool)
        for sign, end in self._ends():
            beyond |= sign * values > end + slack
        chosen = select(np.concatenate([self.found.values, values]), self.goal.which, self.goal.k) - self.goal.k
        chosen = chosen[chosen >= 0]
        return chosen[beyond[chosen]]

    def _missed(self, norm: float) -> float:
        """Bound the probability that an eigenvalue beyond an end by more than the margin has not shown."""
        return sum(self._missed_at(sign, end + self.margin * abs(end), norm) for sign, end in self._ends())

    def _missed_at(self, sign: int, place: float, norm: float) -> float:
        values, coefficients, _ = self.lanczos.ritz()
        room = place - (sign * values).max()
        if room <= 0:
            return 1.0
        first, last = coefficients[: self.block], self.lanczos.coupling @ coefficients
        # of one start vector the part falls with λ; of several it is looked at on a grid
        further = [0.0] if self.block == 1 else [0.0, *np.geomspace(0.01, 100, 25) * room]
        reach = max(np.linalg.norm((first / (place + far - sign * values)) @ last.T, 2) for far in further)
        part = (reach + 10 * self.products.epsilon * norm / room) ** 2  # the recurrence holds to rounding
        if part >= 1 or self.dimension == self.block:
            return 1.0
        return float(betainc(self.block / 2, (self.dimension - self.block) / 2, part))
