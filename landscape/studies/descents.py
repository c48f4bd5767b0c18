"""Plain training by one rule, a step at a time, on the flat vector of an objective; and the smallest problem to do so on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from landscape.arguments import check_numbers
from landscape.datasets.split import Pair
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.models.common import seeded
from landscape.scores.stability import threshold
from landscape.training import ModelFactory
from landscape.training.optimiser_state import step_rule
from landscape.training.training_data import orders

GAIN = 1.9
"""Of the Xavier initialisation of the first Chebyshev layer, so that tanh is not linear at the start."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Problem:
    """A network, what it is to fit, and the loss.

    Attributes:
        name: slug.
        factory: called with ``seed=``.
        X: inputs (N, …).
        y: targets (N, …).
        loss: as `Objective` takes it.
    """

    name: str
    factory: ModelFactory
    X: Tensor
    y: Tensor
    loss: Any


def chebyshev_data(degree: int, points: int = 20) -> Pair:
    """Return N points (N, 1) evenly spaced on [−1, 1] and the Chebyshev polynomial T_k (N, 1) of a degree k there, in float32.

    Source: Cohen et al. 2021 (arXiv 2103.00065), appendix; their data set ``chebyshev-k-20``.

    >>> X, y = chebyshev_data(3)
    >>> bool(torch.allclose(y, 4 * X**3 - 3 * X, atol=1e-6)), tuple(X.shape)
    (True, (20, 1))
    """
    if degree < 0 or points < 2:
        raise LandscapeError(f"degree={degree}, points={points}; expected a degree of at least 0 and two points")
    X = np.linspace(-1.0, 1.0, points)
    y = np.polynomial.Chebyshev.basis(degree)(X)
    return torch.from_numpy(X).float()[:, None], torch.from_numpy(y).float()[:, None]


def chebyshev_network(hidden: int = 10, *, seed: int = 0) -> nn.Sequential:
    """Build one hidden tanh layer of h units, P = 3h: Xavier normal weights (gain 1.9 in the first layer), no bias at the output.

    Source: Cohen et al. 2021 (arXiv 2103.00065), the network of their Chebyshev experiments.

    >>> sum(p.numel() for p in chebyshev_network().parameters())
    30
    """
    with seeded(seed):
        first, last = nn.Linear(1, hidden), nn.Linear(hidden, 1, bias=False)
        nn.init.xavier_normal_(first.weight, gain=GAIN)
        nn.init.zeros_(first.bias)
        nn.init.xavier_normal_(last.weight)
    return nn.Sequential(first, nn.Tanh(), last)


def half_squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Return ½‖f(x) − y‖², summed over outputs, averaged over examples.

    >>> float(half_squared_error(torch.tensor([[3.0], [1.0]]), torch.zeros(2, 1)))
    2.5
    """
    return 0.5 * (output - target).square().sum() / len(output)


def chebyshev_problem(degree: int) -> Problem:
    """Return the problem ``chebyshev-k-20`` of Cohen et al. 2021: 30 parameters, 20 points, ½ squared error.

    >>> chebyshev_problem(3).name
    'chebyshev-3'
    """
    X, y = chebyshev_data(degree)
    return Problem(name=f"chebyshev-{degree}", factory=chebyshev_network, X=X, y=y, loss=half_squared_error)


@dataclass(frozen=True, kw_only=True)
class Descent:
    """One way to go down: rule, step and batch.

    Attributes:
        rule: ``sgd`` (with the whole data: gradient descent), ``heavy ball``, ``nesterov`` or ``adam``, as in `torch.optim`.
        lr: learning rate η.
        momentum: β, or β₁ of Adam.
        beta2: β₂ of Adam.
        batch_size: examples per step, in a new random order every epoch; None takes all.
        steps: optimiser steps.
        problem: what it goes down on; None: what the experiment is called with.
    """

    rule: Literal["sgd", "heavy ball", "nesterov", "adam"] = "sgd"
    lr: float
    momentum: float = 0.0
    beta2: float = 0.999
    batch_size: int | None = None
    steps: int = 6000
    problem: Problem | None = None

    def __post_init__(self) -> None:
        check_numbers({field.name: str(field.type) for field in fields(self)}, vars(self))
        threshold(self.lr, self.momentum, rule=self.rule)  # says what is wrong with rule, lr and momentum
        checks = {
            "rule 'sgd' has no momentum; use 'heavy ball' or 'nesterov'": self.rule != "sgd" or self.momentum == 0,
            f"beta2={self.beta2}; expected at least 0 and below 1": 0 <= self.beta2 < 1,
            f"batch_size={self.batch_size}; expected at least 1": self.batch_size is None or self.batch_size >= 1,
            f"steps={self.steps}; expected at least 1": self.steps >= 1,
        }
        for message, holds in checks.items():
            if not holds:
                raise LandscapeError(message)

    @property
    def posed(self) -> Problem:
        """The problem.

        Raises:
            LandscapeError: there is none.
        """
        if self.problem is None:
            raise LandscapeError("there is a descent without a problem; pass factory and data, or Descent(problem=…)")
        return self.problem

    @property
    def threshold(self) -> float:
        """The curvature beyond which the rule diverges on a quadratic, with all examples per step."""
        return threshold(self.lr, self.momentum, rule=self.rule)

    @property
    def title(self) -> str:
        """The rule in words, minibatches told apart from all examples at once.

        >>> Descent(lr=0.1, batch_size=5).title, Descent(rule="adam", lr=0.1).title
        ('SGD', 'Adam')
        """
        full = self.batch_size is None
        names = {"sgd": "gradient descent" if full else "SGD", "nesterov": "Nesterov", "adam": "Adam"}
        name = names.get(self.rule, self.rule)
        return name if full or self.rule == "sgd" else f"{name}, minibatches"

    @property
    def label(self) -> str:
        """The rule with its settings, in words.

        >>> Descent(rule="heavy ball", lr=0.05, momentum=0.9).label
        'heavy ball β = 0.9, η = 0.05'
        """
        name = self.title.partition(",")[0]
        beta = f" {'β₁' if self.rule == 'adam' else 'β'} = {self.momentum:g}" if self.momentum else ""
        batch = "" if self.batch_size is None else f", batches of {self.batch_size}"
        return f"{name}{beta}, η = {self.lr:g}{batch}"


class Descending:
    """A descent under way: the weights, and the preconditioner that its rule has built up.

    Args:
        objective: L, at the weights to start from.
        descent: the rule.
        seed: of the order of examples.
    """

    def __init__(self, objective: Objective, descent: Descent, *, seed: int = 0):
        self.objective, self.descent, self.seed = objective, descent, seed
        self.parameter = nn.Parameter(objective.theta.clone())
        self.steps = 0
        lr, momentum = descent.lr, descent.momentum
        self._optimiser: torch.optim.Optimizer
        if descent.rule == "adam":
            self._optimiser = torch.optim.Adam([self.parameter], lr=lr, betas=(momentum, descent.beta2))
        else:
            nesterov = descent.rule == "nesterov" and momentum > 0
            self._optimiser = torch.optim.SGD([self.parameter], lr=lr, momentum=momentum, nesterov=nesterov)

    @property
    def theta(self) -> Tensor:
        """The weights now (P,)."""
        return self.parameter.detach()

    @property
    def preconditioner(self) -> Tensor | None:
        """The diagonal (P,) of P = √v̂ + ε, by which Adam divides its step; None for the other rules."""
        return step_rule(self._optimiser, {"theta": self.parameter}, ["theta"]).preconditioner

    def walk(self) -> Iterator[float]:
        """Take the steps, yielding after each the loss of its batch before the step."""
        while True:
            for part in self._epoch():
                loss, gradient = part.value_and_gradient(self.theta)
                self.parameter.grad = gradient
                self._optimiser.step()
                self.steps += 1
                yield loss
                if self.steps == self.descent.steps:
                    return

    def _epoch(self) -> Iterator[Objective]:
        size = self.descent.batch_size
        if size is None:
            yield self.objective
            return
        epoch = self.steps // -(-self.objective.n // size)
        (order,) = orders([self.seed], [epoch], self.objective.n)
        for chosen in order.split(size):
            yield self.objective.subset(chosen).rebatch(len(chosen))
