"""Many small networks trained at once, each to its own recipe, each stopped exactly where its loss is met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from landscape.bars import bar
from landscape.datasets import Split
from landscape.errors import LandscapeError
from landscape.training.recipes import Recipe
from landscape.training.runs import ModelFactory
from landscape.training.training_data import orders, training_set
from landscape.training.vectorised import Stacked, stack

_ROWS = 8000
"""Examples, of all networks together, that are evaluated at once: more no longer fit a core's cache."""
_HALVINGS = 18


@dataclass(frozen=True, eq=False)
class Stopped:
    """A network where its training ended: parameters by name, cross-entropy (norm statistics over all examples), optimiser steps.

    It has reached the recipe's target, or `max_epochs` had passed, or the loss was no longer finite.
    """

    weights: Mapping[str, Tensor]
    loss: float
    steps: int
    reached: bool


def train_together(
    factory: ModelFactory, split: Split, jobs: Mapping[str, tuple[Recipe, int]], *, width: int = 48
) -> Iterator[tuple[str, Stopped]]:
    """Train many networks of one architecture at once and yield each as it stops; others take its place.

    Data, initial weights, order of examples and stopping are those of `landscape.training.train`, up to rounding, with one
    difference: norm layers are evaluated with statistics of all training examples, not with running ones, and the target
    is the loss alone. After every epoch the loss of each network is checked; those that met their target go back to the
    start of the epoch, take it again with a check after each step, and shorten the step that meets it.

    Args:
        factory: called with ``seed=``.
        split: data to train on.
        jobs: recipe and seed by key; all with one `batch_size` and one number of `examples`.
        width: networks that are trained at once.

    Raises:
        LandscapeError: recipes of several batch sizes or numbers of examples, or with what is not done here: Adam, weight decay,
            augmentation or poison.

    >>> from landscape.datasets import digits
    >>> from landscape.experiments import get_recipe
    >>> from landscape.models import mlp
    >>> quick = get_recipe("momentum", examples=50, target=0.1)
    >>> found = dict(train_together(mlp, digits(train=100), {"a": (quick, 0), "b": (quick, 1)}))
    >>> round(found["a"].loss, 4), found["b"].reached
    (0.1, True)
    """
    recipes = [recipe for recipe, _ in jobs.values()]
    if len({(recipe.batch_size, recipe.examples) for recipe in recipes}) > 1:
        raise LandscapeError("recipes of several batch sizes or numbers of examples; train each kind by itself")
    if any(recipe.optimiser != "sgd" or recipe.weight_decay or recipe.shift or recipe.poison for recipe in recipes):
        raise LandscapeError("Adam, weight decay, augmentation and poison are not trained together; use train_many")
    waiting, fleet = list(jobs), _Fleet(factory, recipes[0].batch_size if recipes else 1)
    with bar(total=len(jobs), desc="networks", unit="network") as shown:
        while waiting or len(fleet):
            joining, waiting = waiting[: width - len(fleet)], waiting[width - len(fleet) :]
            fleet.join({key: jobs[key] for key in joining}, split)
            for key, stopped in fleet.epoch():
                yield key, stopped
                shown.update()


class _Fleet:
    """Networks in training: a row of θ, velocity and data each."""

    def __init__(self, factory: ModelFactory, batch_size: int):
        self.factory, self.batch_size = factory, batch_size
        self.module: nn.Module = factory(seed=0).train()
        self.shapes = {name: p.shape for name, p in self.module.named_parameters()}
        self.sizes = [shape.numel() for shape in self.shapes.values()]
        self.buffers = {name: b.clone() for name, b in self.module.named_buffers()}
        self.keys: list[tuple[str, Recipe, int]] = []
        self.rows: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self.keys)

    def join(self, jobs: Mapping[str, tuple[Recipe, int]], split: Split) -> None:
        """Take networks in at their initial weights."""
        if not jobs:
            return
        sets = [training_set(recipe, split, seed=seed) for recipe, seed in jobs.values()]
        first = stack(self.factory, [seed for _, seed in jobs.values()]).parameters
        theta = torch.cat([first[name].flatten(1) for name in self.shapes], 1)
        fresh = {
            "theta": theta,
            "velocity": torch.zeros_like(theta),
            "lr": torch.tensor([[recipe.lr] for recipe, _ in jobs.values()]),
            "momentum": torch.tensor([[recipe.momentum] for recipe, _ in jobs.values()]),
            "epoch": torch.zeros(len(jobs), dtype=torch.long),
            "X": torch.stack([one.X for one in sets]),
            "y": torch.stack([one.y for one in sets]),
        }
        self.rows = {name: torch.cat([self.rows[name], new]) if self.keys else new for name, new in fresh.items()}
        self.keys += [(key, *job) for key, job in jobs.items()]

    def epoch(self) -> Iterator[tuple[str, Stopped]]:
        """Take an epoch; yield the networks that stop in it, and let them go."""
        before = {name: self.rows[name].clone() for name in ("theta", "velocity")}
        self.rows["epoch"] += 1
        for _ in self._walk(self.rows, [seed for *_, seed in self.keys]):
            pass
        losses, ended = self.losses(self.rows), {}
        per_epoch = -(-self.rows["y"].shape[1] // self.batch_size)
        met = [i for i, (_, recipe, _) in enumerate(self.keys) if losses[i] <= recipe.target]
        if met:
            part = {name: values[met] for name, values in (self.rows | before).items()}
            ended = self._approach(part, met, per_epoch)
            for name in ("theta", "velocity"):  # of those that missed it by rounding, which go on from there
                self.rows[name][met] = part[name]
        for i, (_, recipe, _) in enumerate(self.keys):
            epoch = int(self.rows["epoch"][i])
            if i not in ended and (epoch >= recipe.max_epochs or not np.isfinite(losses[i])):
                ended[i] = self._stopped(self.rows["theta"][i], float(losses[i]), epoch * per_epoch, reached=False)
        for i, stopped in ended.items():
            yield self.keys[i][0], stopped
        stay = [i for i in range(len(self)) if i not in ended]
        self.keys = [self.keys[i] for i in stay]
        self.rows = {name: values[stay] for name, values in self.rows.items()}

    def _approach(self, part: dict[str, Tensor], which: list[int], per_epoch: int) -> dict[int, Stopped]:
        """Take an epoch again, checking every step; return those that meet their target, with the last step shortened."""
        targets, ended, last = np.array([self.keys[i][1].target for i in which]), {}, part["theta"].clone()
        for number, _ in enumerate(self._walk(part, [self.keys[i][2] for i in which]), start=1):
            losses = self.losses(part)
            for j in np.flatnonzero(losses <= targets).tolist():
                if which[j] not in ended:
                    steps = (int(part["epoch"][j]) - 1) * per_epoch + number
                    theta, loss = self._shorten(last[j], {n: v[j : j + 1] for n, v in part.items()}, targets[j])
                    ended[which[j]] = self._stopped(theta, loss, steps, reached=True)
            if len(ended) == len(which):
                break
            last = part["theta"].clone()
        return ended

    def _shorten(self, start: Tensor, part: dict[str, Tensor], target: float) -> tuple[Tensor, float]:
        """Return the place on the last step where the target is met, and the loss there."""
        step = part["theta"][0] - start

        def at(fraction: float) -> float:
            return float(self.losses(part | {"theta": (start + fraction * step)[None]})[0])

        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (low, middle) if at(middle) <= target else (middle, high)
        return start + high * step, at(high)

    def _walk(self, rows: dict[str, Tensor], seeds: list[int]) -> Iterator[None]:
        """Take the steps of the epoch that each network is in, pausing after each."""
        X, y = rows["X"], rows["y"]
        order, each = orders(seeds, rows["epoch"].tolist(), y.shape[1]), torch.arange(len(seeds))[:, None]
        for chosen in order.split(self.batch_size, dim=1):
            theta = rows["theta"].detach().requires_grad_()
            labels = y[each, chosen]
            loss = F.cross_entropy(
                self._logits(theta, X[each, chosen]).flatten(0, 1), labels.flatten(), reduction="sum"
            )
            (gradient,) = torch.autograd.grad(loss / labels.shape[1], theta)
            rows["velocity"] = rows["momentum"] * rows["velocity"] + gradient
            rows["theta"] = theta.detach() - rows["lr"] * rows["velocity"]
            yield

    @torch.no_grad()
    def losses(self, rows: Mapping[str, Tensor]) -> np.ndarray:
        """Return the cross-entropy of each network over its examples in nats, (K,), summed in float64."""
        found, size = [], max(1, _ROWS // rows["y"].shape[1])
        for theta, X, y in zip(*(rows[name].split(size) for name in ("theta", "X", "y")), strict=True):
            terms = self._logits(theta, X).double().log_softmax(2).gather(2, y[..., None])
            found.append(-terms.mean((1, 2)))
        return torch.cat(found).numpy()

    def _logits(self, theta: Tensor, X: Tensor) -> Tensor:
        buffers = {name: buffer.expand(len(X), *buffer.shape).clone() for name, buffer in self.buffers.items()}
        return Stacked(self.module, self.named(theta), buffers).logits(X)

    def named(self, theta: Tensor) -> dict[str, Tensor]:
        """Return the parameters by name, (K, …), of rows of θ."""
        parts = theta.split(self.sizes, dim=1)
        return {name: part.unflatten(1, shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def _stopped(self, theta: Tensor, loss: float, steps: int, *, reached: bool) -> Stopped:
        weights = {name: part[0].clone() for name, part in self.named(theta[None]).items()}
        return Stopped(weights, loss, steps, reached)
