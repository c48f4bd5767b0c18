"""Plain training by one rule, a step at a time, on the flat vector of an objective."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from landscape.arguments import check_numbers
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.scores.stability import threshold
from landscape.training.runs import ModelFactory
from landscape.training.training_data import ORDER

EPSILON = 1e-8
"""Adam's ε."""


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
        name = {"sgd": "gradient descent" if full else "SGD", "nesterov": "Nesterov", "adam": "Adam"}.get(
            self.rule, self.rule
        )
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
        self._optimiser = _optimiser(descent, self.parameter)

    @property
    def theta(self) -> Tensor:
        """The weights now (P,)."""
        return self.parameter.detach()

    @property
    def preconditioner(self) -> Tensor | None:
        """The diagonal (P,) of P = √v̂ + ε, by which Adam divides its step; None for the other rules."""
        if self.descent.rule != "adam" or self.steps == 0:
            return None
        second = self._optimiser.state[self.parameter]["exp_avg_sq"].double()
        return (second / (1 - self.descent.beta2**self.steps)).sqrt() + EPSILON

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
        order = np.random.default_rng([self.seed, ORDER, epoch]).permutation(self.objective.n)
        for chosen in torch.from_numpy(order).split(size):
            yield self.objective.subset(chosen).rebatch(len(chosen))


def _optimiser(descent: Descent, parameter: nn.Parameter) -> torch.optim.Optimizer:
    if descent.rule == "adam":
        return torch.optim.Adam([parameter], lr=descent.lr, betas=(descent.momentum, descent.beta2), eps=EPSILON)
    return torch.optim.SGD(
        [parameter],
        lr=descent.lr,
        momentum=descent.momentum,
        nesterov=descent.rule == "nesterov" and descent.momentum > 0,
    )
