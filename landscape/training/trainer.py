"""One network in training, able to go back to the start of an epoch and to stop exactly where a goal is met.

The loop is written for many small networks on a CPU: parameters and gradients are views of two flat tensors, so that an
optimiser step is a handful of kernels whatever the number of layers, and the data never leave memory.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import optimize
from torch import Tensor, nn
from torch.nn import functional as F

from landscape.datasets import Split
from landscape.errors import NumericalError
from landscape.models.common import seeded
from landscape.training.recipes import Recipe
from landscape.training.training_data import ORDER, TrainingSet, shift_images

_CHUNK = 2048


@torch.no_grad()
def evaluate(module: nn.Module, X: Tensor, y: Tensor) -> tuple[float, float]:
    """Return mean cross-entropy (nats, summed in float64) and accuracy, in evaluation mode.

    Args:
        module: classifier from X to logits (N, C); put back into its mode afterwards.
        X: inputs (N, …).
        y: labels (N,).
    """
    training = module.training
    module.eval()
    loss, right = 0.0, 0
    for inputs, labels in zip(X.split(_CHUNK), y.split(_CHUNK)):
        logits = module(inputs)
        loss += F.cross_entropy(logits.double(), labels, reduction="sum").item()
        right += int((logits.argmax(1) == labels).sum())
    module.train(training)
    return loss / len(y), right / len(y)


class Reading(NamedTuple):
    """Where training is: cross-entropy (nats) and accuracy over all training examples without poison, and ‖θ‖₂."""

    loss: float
    accuracy: float
    norm: float


class Goal:
    """A place on the way that training can stop at."""

    def excess(self, reading: Reading) -> float:
        """Return how far away the goal is: positive before it, zero at it, negative beyond."""
        raise NotImplementedError

    def allowed(self, reading: Reading) -> bool:
        """Whether whatever else is asked for holds."""
        return True


@dataclass(frozen=True)
class LossGoal(Goal):
    """A training cross-entropy, with an accuracy that must hold there as well.

    Attributes:
        loss: cross-entropy in nats.
        accuracy: share of training examples classified right.
    """

    loss: float
    accuracy: float = 0.0

    def excess(self, reading: Reading) -> float:
        """Return log(L/target)."""
        return float(np.log(reading.loss / self.loss)) if reading.loss > 0 else -np.inf

    def allowed(self, reading: Reading) -> bool:
        """Whether the accuracy holds."""
        return reading.accuracy >= self.accuracy


@dataclass(frozen=True)
class NormGoal(Goal):
    """A Euclidean norm of all trainable weights, reached from below.

    Attributes:
        norm: ‖θ‖₂.
    """

    norm: float

    def excess(self, reading: Reading) -> float:
        """Return log(target/‖θ‖)."""
        return float(np.log(self.norm / reading.norm)) if reading.norm > 0 else np.inf


def met(goal: Goal, reading: Reading) -> bool:
    """Whether a goal is reached, and with it whatever else it asks for.

    >>> met(LossGoal(0.1, accuracy=1.0), Reading(0.09, 0.99, 10.0))
    False
    """
    return goal.excess(reading) <= 0 and goal.allowed(reading)


class Trainer:
    """One network in training, in place; the seed is that of the order of examples and of augmentation."""

    def __init__(self, module: nn.Module, recipe: Recipe, split: Split, data: TrainingSet, seed: int) -> None:
        self.module, self.recipe, self.split, self.data, self.seed = module.train(), recipe, split, data, seed
        X, y = data.poison if data.poison else (data.X[:0], data.y[:0])
        self.X, self.y = torch.cat([data.X, X]), torch.cat([data.y, y])
        self.theta = _flatten(module)
        self.optimiser = optimiser_of(recipe, [self.theta])
        self.steps = 0

    def epoch(self, number: int) -> Reading:
        """Take all steps of an epoch; return where that ends."""
        for _ in self.walk(number):
            pass
        reading = self.check()
        if not np.isfinite(reading.loss):
            raise NumericalError(
                f"recipe {self.recipe.name!r}, seed {self.seed}: loss {reading.loss} after epoch {number}; "
                "use a smaller lr"
            )
        return reading

    def walk(self, epoch: int) -> Iterator[None]:
        """Take the steps of an epoch, whose order depends on seed and epoch only, pausing after each."""
        rng = np.random.default_rng([self.seed, ORDER, epoch])
        order = torch.from_numpy(rng.permutation(len(self.y)))
        for chosen in order.split(self.recipe.batch_size):
            X, y = self.X[chosen], self.y[chosen]
            if self.recipe.shift:
                X = shift_images(X, self.split, self.recipe.shift, rng)
            assert self.theta.grad is not None
            self.theta.grad.zero_()
            F.cross_entropy(self.module(X), y).backward()
            self.optimiser.step()
            self.steps += 1
            yield

    def approach(self, epoch: int, goal: Goal) -> float:
        """Walk an epoch that meets the goal up to the first step that does; shorten it, and return the share that is kept."""
        before, ahead = self.theta.detach().clone(), True
        for _ in self.walk(epoch):
            reading = self.check()
            if met(goal, reading):
                break
            before, ahead = self.theta.detach().clone(), goal.excess(reading) > 0
        return self._shorten(before, goal) if ahead else 1.0

    def _shorten(self, before: Tensor, goal: Goal) -> float:
        """Move back along the last step to where the goal is met exactly; return the fraction kept."""
        step = self.theta.detach() - before

        def place(fraction: float) -> Reading:
            self.theta.detach().copy_(before + fraction * step)
            return self.check()

        # Running statistics of norm layers already moved with the step, so its start need not lie before the goal; nor its
        # end behind it, when before + step is rounded to a hair from where the step led.
        start, end = goal.excess(place(0.0)), goal.excess(place(1.0))
        fraction = optimize.brentq(lambda f: goal.excess(place(f)), 0.0, 1.0, xtol=1e-5) if start > 0 > end else 1.0
        if not goal.allowed(place(fraction)):
            fraction = 1.0
            place(fraction)
        return float(fraction)

    def check(self) -> Reading:
        """Evaluate over all training examples, without poison."""
        norm = self.theta.detach().double().norm().item()
        return Reading(*evaluate(self.module, self.data.X, self.data.y), norm)

    def snapshot(self) -> dict[str, Any]:
        """Return everything that decides how training goes on."""
        return {
            "module": copied(self.module),
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "steps": self.steps,
            "random": torch.get_rng_state(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        """Go back to a snapshot."""
        self.module.load_state_dict(snapshot["module"])
        self.optimiser.load_state_dict(snapshot["optimiser"])
        self.steps = snapshot["steps"]
        torch.set_rng_state(snapshot["random"])


def copied(module: nn.Module) -> dict[str, Tensor]:
    """Return a state dict whose tensors do not change with the module."""
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


@contextmanager
def isolated(seed: int, threads: int) -> Iterator[None]:
    """Give dropout a random state of its own, and PyTorch a number of threads, inside a block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with seeded(seed):
            yield
    finally:
        torch.set_num_threads(before)


def optimiser_of(recipe: Recipe, parameters: list[Tensor]) -> torch.optim.Optimizer:
    """Return a recipe's optimiser; its steps are elementwise, so that networks stacked in one tensor do not see each other."""
    if recipe.optimiser == "adam":
        return torch.optim.Adam(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(parameters, lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def _flatten(module: nn.Module) -> nn.Parameter:
    """Make the parameters and their gradients views of one flat parameter and its gradient."""
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    theta = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
    theta.grad = torch.zeros_like(theta)
    sizes = [parameter.numel() for parameter in parameters]
    for parameter, values, gradient in zip(parameters, theta.detach().split(sizes), theta.grad.split(sizes)):
        parameter.data, parameter.grad = values.view_as(parameter), gradient.view_as(parameter)
    return theta
