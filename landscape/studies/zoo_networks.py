"""The networks of the zoo: architectures × data × effective step × momentum × label noise × examples × seeds, at one loss."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.datasets import Split, digits, mnist1d
from landscape.function.checkpoint import Checkpoint
from landscape.models import mlp, resnet, transformer
from landscape.results import Trials
from landscape.results.trials import REACHED
from landscape.studies.grid import grid
from landscape.studies.registry import published
from landscape.training import ModelFactory, Recipe, training_set
from landscape.training.together import Stopped, train_together
from landscape.training.trainer import copied

STEPS = (0.015, 0.05, 0.15, 0.5, 1.5)
MOMENTA = (0.0, 0.9)
NOISE = (0.0, 0.2, 1.0)
EXAMPLES = (250, 1000)
WEIGHTS = "weights"
PADDED = 5120
"""Length to which the weights of all networks are filled with zeros, so that they are one array."""


FACTORS = ("network", "data", "effective_step", "momentum", "label_noise", "examples")
"""What a network was made under, besides its seed."""
GROUP = ("network", "data", "examples", "seed")
"""What the networks that are trained and measured together share."""


@dataclass(frozen=True)
class Kind:
    """An architecture on a data set.

    Attributes:
        factory: called with ``seed=``.
        shaped: turns the inputs of the data set into what the network takes.
        max_steps: where training gives up.
    """

    factory: ModelFactory
    shaped: Callable[[Tensor], Tensor]
    max_steps: int


_RESNET = partial(resnet, 8, width=4, in_channels=1)
_TRANSFORMER = partial(transformer, width=18, heads=2, layers=1)
KINDS: Mapping[tuple[str, str], Kind] = {
    ("mlp", "digits"): Kind(partial(mlp, (64, 64, 10)), lambda X: X, 40_000),
    ("mlp", "mnist1d"): Kind(partial(mlp, (40, 96, 10)), lambda X: X, 40_000),
    ("resnet8-bn", "digits"): Kind(_RESNET, lambda X: X.reshape(-1, 1, 8, 8), 6_000),
    # signals of 40 numbers: folded into images of five rows, and cut into five patches of eight channels
    ("resnet8-bn", "mnist1d"): Kind(_RESNET, lambda X: X.reshape(-1, 1, 5, 8), 6_000),
    ("patch-transformer", "digits"): Kind(
        partial(_TRANSFORMER, (1, 8, 8), patch=4), lambda X: X.reshape(-1, 1, 8, 8), 10_000
    ),
    ("patch-transformer", "mnist1d"): Kind(
        partial(_TRANSFORMER, (8, 1, 5), patch=1),
        lambda X: X.reshape(-1, 5, 8).transpose(1, 2)[:, :, None].contiguous(),
        10_000,
    ),
}
NETWORKS = tuple(dict.fromkeys(network for network, _ in KINDS))
DATA = tuple(dict.fromkeys(data for _, data in KINDS))


@cache
def split_of(network: str, data: str) -> Split:
    """Return a data set in the shape that a network takes: 1,200 digits to train on and 597 to test, MNIST-1D as it comes."""
    split, shaped = digits(train=1200) if data == "digits" else mnist1d(), KINDS[network, data].shaped
    return replace(split, train=(shaped(split.train[0]), split.train[1]), test=(shaped(split.test[0]), split.test[1]))


def recipe_of(
    network: str, data: str, effective_step: float, momentum: float, label_noise: float, examples: int
) -> Recipe:
    """Return how a network is trained, by its `FACTORS`."""
    return Recipe(
        name="zoo",
        long_name="the zoo",
        lr=effective_step * (1 - momentum),
        momentum=momentum,
        batch_size=32,
        label_noise=label_noise,
        examples=examples,
        target_accuracy=0.0,
        max_epochs=KINDS[network, data].max_steps // -(-examples // 32),
    )


def checkpoint_of(row: Mapping[str, Any], theta: np.ndarray) -> Checkpoint:
    """Return a network of the zoo with the data that it was trained on, all drawn again from its seed.

    Its batch size is left out: what it is trained and scored on are frozen norm statistics of all its training examples.

    Args:
        row: its factors and measures by name, as in the zoo's `Trials`.
        theta: its weights, padded.
    """
    factors = {name: row[name] for name in FACTORS}
    kind, split = KINDS[row["network"], row["data"]], split_of(row["network"], row["data"])
    recipe, draw = recipe_of(**factors), int(row["draw"])
    data, model = training_set(recipe, split, seed=draw), kind.factory(seed=draw)
    init = copied(model)
    nn.utils.vector_to_parameters(torch.from_numpy(theta.astype(np.float32)), model.parameters())
    return Checkpoint(
        model,
        copied(model),
        loss="cross_entropy",
        train=(data.X, data.y),
        test=split.test,
        init=init,
        optimizer="sgd",
        lr=recipe.lr,
        momentum=recipe.momentum,
        step=int(row["steps"]),
        name="-".join(str(value) for value in (*factors.values(), row["seed"])),
    )


@published
def zoo_networks(
    networks: Sequence[str] = NETWORKS,
    data: Sequence[str] = DATA,
    *,
    steps: Sequence[float] = STEPS,
    momenta: Sequence[float] = MOMENTA,
    noise: Sequence[float] = NOISE,
    examples: Sequence[int] = EXAMPLES,
    seeds: Sequence[int] = tuple(range(4)),
    slow: int = 1,
    workers: int = 1,
    save: str | os.PathLike[str] | None = None,
) -> Trials:
    """Train small networks over a grid of recipes, each to a training cross-entropy of 0.01 (`train_together`).

    Initial weights, examples, order and label noise of every network are drawn by a seed of its own, ``draw``.

    Args:
        networks: of `NETWORKS`.
        data: of `DATA`.
        steps: effective steps η/(1 − β).
        momenta: β.
        noise: shares of labels that are redrawn.
        examples: numbers of training examples.
        slow: seeds, the first ones, that are trained with the smallest step too, which takes half of all the time.

    Returns:
        `Trials`, one row per network, with its weights (float32, padded to `PADDED`), ``steps``, ``train_loss`` and whether the
        target was ``reached``.
    """
    chosen = {"effective_step": tuple(steps), "momentum": tuple(momenta), "label_noise": tuple(noise)}
    kinds = [KINDS[network, of] for network in networks for of in data]
    return grid(
        partial(_trained, chosen, tuple(seeds)[:slow]),
        dict(zip(GROUP, (networks, data, examples, seeds), strict=True)),
        name="zoo-networks",
        settings={**chosen, "slow": slow, "max_steps": [kind.max_steps for kind in kinds]},
        also=tuple(chosen),
        arrays=(WEIGHTS,),
        workers=workers,
        save=save,
        desc="groups of networks",
    )


def draw_of(network: str, data: str, examples: int, seed: int, which: int) -> int:
    """Return the seed of everything random in one network: digits that name its cell and its place there."""
    size = EXAMPLES.index(examples) if examples in EXAMPLES else f"9{examples:06d}"
    return int(f"{1 + seed}{NETWORKS.index(network)}{DATA.index(data)}{size}{which:02d}")


def _trained(
    chosen: Mapping[str, Sequence[float]], slow: Sequence[int], network: str, data: str, examples: int, seed: int
) -> list[dict[str, Any]]:
    """Train the networks of one group at once: all effective steps, momenta and noise levels."""
    levels = {
        draw_of(network, data, examples, seed, which): dict(zip(chosen, level, strict=True))
        for which, level in enumerate(product(*chosen.values()))
        if seed in slow or level[0] > min(chosen["effective_step"])
    }
    jobs = {str(draw): (recipe_of(network, data, examples=examples, **level), draw) for draw, level in levels.items()}
    found = dict(train_together(KINDS[network, data].factory, split_of(network, data), jobs))
    return [{**level, "draw": draw, **_row(found[str(draw)])} for draw, level in levels.items()]


def _row(stopped: Stopped) -> dict[str, Any]:
    theta = torch.cat([tensor.flatten() for tensor in stopped.weights.values()]).numpy()
    return {
        REACHED: float(stopped.reached),
        "steps": float(stopped.steps),
        "train_loss": stopped.loss,
        WEIGHTS: np.pad(theta, (0, PADDED - len(theta))),
    }
