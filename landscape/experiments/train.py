"""Train reference networks to a stated training loss, so that solutions can be compared at matched loss.

The loop is written for many small networks on a CPU: parameters and gradients are views of two flat tensors, so that an
optimiser step is a handful of kernels whatever the number of layers, and the data never leave memory.
"""

from __future__ import annotations

import copy
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from scipy import optimize
from torch import Tensor, nn
from torch.nn import functional as F

from landscape.bars import bar
from landscape.datasets import Split
from landscape.errors import NumericalError
from landscape.experiments.recipes import Recipe
from landscape.experiments.runs import (
    History,
    ModelFactory,
    TrainedRun,
    describe_model,
    save_run,
)
from landscape.experiments.training_data import ORDER, TrainingSet, shift_images, training_set
from landscape.models import mlp

_CHUNK = 2048


def train(
    recipe: Recipe,
    split: Split,
    model_factory: ModelFactory = mlp,
    *,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    threads: int = 1,
) -> TrainedRun:
    """Train one network on the CPU until its training cross-entropy is the recipe's target.

    The loss over all training examples (evaluation mode, no augmentation, no poison) is checked after every epoch. The
    first epoch that ends with both target loss and target accuracy met is run again from its start, checked after every
    step; the first step that meets both is the last. Of that step only the fraction is taken that ends at the target
    loss (θ ← θ_before + f·(θ_after − θ_before), a last step with a smaller learning rate), so that runs match to about
    1e-4 relative. Where the accuracy is met only below the target loss, the step is taken in full and `overshoot` says
    how far below (up to 6 % for momentum at the same learning rate on digits, where 3 of 8 seeds do so).

    Args:
        recipe: see `Recipe`.
        split: data to train and test on.
        model_factory: called with ``seed=seed``; bind other arguments with `functools.partial`.
        seed: of everything random in the run; the global generator is left as it was.
        out: folder to save the run in (`save_run`), or None.
        threads: of PyTorch during the run; 1 is fastest for small networks, and the number changes the last digits.

    Returns:
        A `TrainedRun`; its `reached` is False if `max_epochs` passed first.

    Raises:
        LandscapeError: the recipe does not fit the data.
        NumericalError: the loss became NaN or infinite.

    >>> from landscape.datasets import digits
    >>> from landscape.experiments import get_recipe
    >>> run = train(get_recipe("momentum", examples=50, target=0.1), digits(train=100))
    >>> round(run.train_loss, 4), run.train_accuracy
    (0.1, 1.0)
    """
    start = time.perf_counter()
    model = describe_model(model_factory)
    data = training_set(recipe, split, seed=seed)
    with _isolated(seed, threads):
        trainer = _Trainer(model_factory(seed=seed), recipe, split, data, seed)
        init = _copied(trainer.module)
        history, last_step = trainer.run()
        train_loss, train_accuracy = evaluate(trainer.module, data.X, data.y)
        test_loss, test_accuracy = evaluate(trainer.module, *split.test)
    run = TrainedRun(
        recipe=recipe,
        seed=seed,
        model=model,
        weights=_copied(trainer.module),
        init=init,
        history=history,
        steps=trainer.steps,
        reached=last_step is not None,
        last_step=1.0 if last_step is None else last_step,
        train_loss=train_loss,
        train_accuracy=train_accuracy,
        test_loss=test_loss,
        test_accuracy=test_accuracy,
        data=data,
        test=split.test,
        split={"name": split.name, "arguments": dict(split.arguments), "fingerprint": split.fingerprint},
        seconds=time.perf_counter() - start,
    )
    if out is not None:
        save_run(run, out)
    return run


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


class _Trainer:
    """One network in training, able to go back to the start of an epoch and walk it again."""

    def __init__(self, module: nn.Module, recipe: Recipe, split: Split, data: TrainingSet, seed: int) -> None:
        self.module, self.recipe, self.split, self.data, self.seed = module.train(), recipe, split, data, seed
        X, y = data.poison if data.poison else (data.X[:0], data.y[:0])
        self.X, self.y = torch.cat([data.X, X]), torch.cat([data.y, y])
        self.theta = _flatten(module)
        self.optimiser = optimiser_of(recipe, [self.theta])
        self.steps = 0

    def run(self) -> tuple[History, float | None]:
        """Train to the target; return the history and the fraction of the last step taken, None if out of epochs."""
        rows = [(0, 0, *self.check())]
        for epoch in bar(range(1, self.recipe.max_epochs + 1), desc=f"{self.recipe.name}-{self.seed}", unit="epoch"):
            before = self.snapshot()
            for _ in self.walk(epoch):
                pass
            loss, accuracy = self.check()
            if not np.isfinite(loss):
                raise NumericalError(
                    f"recipe {self.recipe.name!r}, seed {self.seed}: loss {loss} after epoch {epoch}; use a smaller lr"
                )
            fraction = None
            if self.meets(loss, accuracy):
                self.restore(before)
                fraction = self.approach(epoch)
                loss, accuracy = self.check()
            rows.append((epoch, self.steps, loss, accuracy))
            if fraction is not None:
                break
        columns = [np.array(column) for column in zip(*rows)]
        return History(epoch=columns[0], step=columns[1], loss=columns[2], accuracy=columns[3]), fraction

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

    def approach(self, epoch: int) -> float:
        """Walk an epoch that is known to meet the target up to its first step that does, and shorten that step."""
        before, above = self.theta.detach().clone(), True
        for _ in self.walk(epoch):
            loss, accuracy = self.check()
            if self.meets(loss, accuracy):
                break
            before, above = self.theta.detach().clone(), loss > self.recipe.target
        return self.shorten(before) if above else 1.0

    def shorten(self, before: Tensor) -> float:
        """Move back along the last step to the target loss; return the fraction kept."""
        step = self.theta.detach() - before

        def place(fraction: float) -> tuple[float, float]:
            self.theta.detach().copy_(before + fraction * step)
            return self.check()

        def excess(fraction: float) -> float:
            return float(np.log(place(fraction)[0] / self.recipe.target))

        # Running statistics of norm layers already moved with the step, so its start need not lie above the target.
        fraction = optimize.brentq(excess, 0.0, 1.0, xtol=1e-5) if excess(0.0) > 0 else 1.0
        if place(fraction)[1] < self.recipe.target_accuracy:
            fraction = 1.0
            place(fraction)
        return float(fraction)

    def check(self) -> tuple[float, float]:
        return evaluate(self.module, self.data.X, self.data.y)

    def meets(self, loss: float, accuracy: float) -> bool:
        return loss <= self.recipe.target and accuracy >= self.recipe.target_accuracy

    def snapshot(self) -> dict[str, Any]:
        return {
            "module": _copied(self.module),
            "optimiser": copy.deepcopy(self.optimiser.state_dict()),
            "steps": self.steps,
            "random": torch.get_rng_state(),
        }

    def restore(self, snapshot: dict[str, Any]) -> None:
        self.module.load_state_dict(snapshot["module"])
        self.optimiser.load_state_dict(snapshot["optimiser"])
        self.steps = snapshot["steps"]
        torch.set_rng_state(snapshot["random"])


def optimiser_of(recipe: Recipe, parameters: list[Tensor]) -> torch.optim.Optimizer:
    """Return a recipe's optimiser for some parameters.

    Args:
        recipe: its optimiser, lr, momentum and weight_decay are used.
        parameters: what it moves; its steps are elementwise, so that networks stacked in one tensor do not see each other.
    """
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


def _copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.state_dict().items()}


@contextmanager
def _isolated(seed: int, threads: int) -> Iterator[None]:
    """Give dropout a random state of its own, and PyTorch a number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)
