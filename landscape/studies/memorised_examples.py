"""Which examples per network memorises, and whom that helps: retraining on random subsets (Feldman and Zhang 2020)."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.datasets import Split, digits
from landscape.errors import LandscapeError
from landscape.models import mlp
from landscape.results.memorisation import (
    INFLUENTIAL,
    MEMORISED,
    InfluentialPair,
    Memorisation,
    MemorisedExample,
)
from landscape.studies.grid import JobsRun, Row, protocol, run_jobs
from landscape.studies.registry import Experiment, published
from landscape.training import RECIPES, ModelFactory, Recipe, corrupt_labels
from landscape.training.training_data import LABELS, SUBSET
from landscape.training.vectorised import stack, train_stacked
from landscape.workers import Workers

NAME = "memorised-examples"


@published
def memorised_examples(
    factory: ModelFactory = mlp,
    split: Split | Any = None,
    *,
    networks: int = 500,
    ratio: float = 0.7,
    recipe: Recipe = RECIPES["momentum"],
    epochs: int = 20,
    label_noise: float = 0.0,
    seed: int = 0,
    together: int = 25,
    shown: int = 24,
    workers: Workers = 1,
    save: str | os.PathLike[str] | None = None,
) -> Memorisation:
    r"""Estimate how much each training example is memorised, and which test examples it helps.

    .. math:: \mathrm{mem}(i) = P[h(x_i) = y_i \mid i \in S] - P[h(x_i) = y_i \mid i \notin S], \qquad
        \mathrm{infl}(i, j) = P[h(x'_j) = y'_j \mid i \in S] - P[h(x'_j) = y'_j \mid i \notin S]

    over networks trained on random subsets S; many are trained at once (`train_stacked`). The mean of mem over the
    examples is the generalisation gap of such networks, which the result checks.

    Args:
        split: data with labels; `None`: the embedded digits.
        networks: T; the error of a score falls as 1/√T (`error_bound`: 0.10 for 500, 0.05 for 2,000).
        ratio: share of the examples in a subset.
        recipe: its optimiser, lr, momentum, batch_size and weight_decay are used.
        epochs: passes over the subset; there is no other stopping rule, so that all networks train equally.
        label_noise: probability with which a training label is redrawn first.
        seed: of subsets, label noise, initialisations and orders.
        together: networks trained at once.
        shown: how many of the most memorised examples and of the most influential pairs to keep pictures of.

    Returns:
        A `Memorisation` with every prediction, from which scores and influences follow.

    Source: V. Feldman and C. Zhang, *What neural networks memorize and why*, 2020 (arXiv 2008.03703), sections 2 and 3;
    their subsets of 0.7 N and thresholds, on small data.

    >>> from functools import partial
    >>> found = memorised_examples(partial(mlp, (64, 16, 10)), digits(train=60), networks=8, epochs=10, together=8)
    >>> found.memorisation.shape, found.influence.shape
    ((60,), (60, 1737))
    """
    split = digits() if split is None else split
    count = len(split.train[1])
    checks = {
        "networks must be at least 2": networks >= 2,
        f"ratio must leave examples in and out of {count}": 0 < round(ratio * count) < count,
        "epochs must be at least 1": epochs >= 1,
        "together must be at least 1": together >= 1,
        "shown must not be negative": shown >= 0,
        "recipes with poison, a subset or augmentation draw examples of their own; use one without": not (
            recipe.poison or recipe.examples or recipe.shift
        ),
        "label_noise is an argument of its own; leave the recipe's at 0": recipe.label_noise == 0,
    }
    for message, holds in checks.items():
        if not holds:
            raise LandscapeError(f"memorised examples: {message}")
    settings = protocol(
        factory, split, recipe=recipe, networks=networks, ratio=ratio, epochs=epochs, label_noise=label_noise, seed=seed,
        together=together,
    )  # fmt: skip
    (X, truth), (X_test, _) = split.train, split.test
    y = corrupt_labels(truth, label_noise, split.classes, seed=[seed, LABELS])
    groups = np.array_split(np.arange(networks), -(-networks // together))
    work = functools.partial(_train_group, factory, (X, y, X_test), recipe, ratio, epochs, seed, networks)
    jobs = {f"networks-{group[0]}-{group[-1]}": (group,) for group in groups}
    with JobsRun(save, NAME, settings) as run:
        if isinstance(run.result, Memorisation):
            return run.result
        run_jobs(work, jobs, run, workers=workers, desc="subsets")
        result = _result([run.done[key] for key in jobs], split, y, shown, settings)
        return run.conclude(result)


def subsets(seed: int, group: np.ndarray, count: int, ratio: float) -> Tensor:
    """Return the positions (K, n) of the training examples of each network, by its number in a group (K,), of `count` ones."""
    size = round(ratio * count)
    drawn = [np.random.default_rng([seed, SUBSET, int(k)]).permutation(count)[:size] for k in group]
    return torch.from_numpy(np.stack(drawn))


def _train_group(
    factory: ModelFactory,
    data: tuple[Tensor, Tensor, Tensor],
    recipe: Recipe,
    ratio: float,
    epochs: int,
    seed: int,
    networks: int,
    group: np.ndarray,
) -> Row:
    X, y, X_test = data
    seeds = [seed * networks + int(k) for k in group]
    chosen = subsets(seed, group, len(y), ratio)
    trained = train_stacked(stack(factory, seeds), X, y, chosen, recipe, epochs=epochs, seeds=seeds)
    included = torch.zeros(len(group), len(y), dtype=torch.uint8).scatter_(1, chosen, 1)
    return {
        "included": included.numpy(),
        "predictions": _small(trained.predictions(X)),
        "test_predictions": _small(trained.predictions(X_test)),
    }


def _small(classes: Tensor) -> np.ndarray:
    return classes.numpy().astype(np.uint8 if int(classes.max()) < 256 else np.int32)


def _result(parts: list[Row], split: Split, y: Tensor, shown: int, settings: Mapping[str, Any]) -> Memorisation:
    stacks: dict[str, Any] = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    blank = np.zeros((0, 2, *split.image_shape), dtype=np.float32)
    found = Memorisation(
        **stacks,
        labels=_small(y),
        true_labels=_small(split.train[1]),
        test_labels=_small(split.test[1]),
        memorised=(),
        pairs=(),
        pictures=blank[:, 0],
        pair_pictures=blank,
        pair_count=0,
        **{name: settings[name] for name in ("ratio", "label_noise", "epochs", "seed")},
        settings=dict(settings),
    )
    scores, influence = found.memorisation, found.influence
    examples = np.argsort(-np.nan_to_num(scores, nan=-2.0), kind="stable")[:shown]
    first, second = np.nonzero((scores[:, None] >= MEMORISED) & (influence >= INFLUENTIAL))
    order = np.argsort(-influence[first, second], kind="stable")[:shown]
    train, test = _pictures(split, split.train[0]), _pictures(split, split.test[0])
    return found.replace(
        memorised=tuple(_example(found, int(i)) for i in examples),
        pairs=tuple(_pair(found, int(i), int(j)) for i, j in zip(first[order], second[order], strict=True)),
        pair_count=len(first),
        pictures=train[examples],
        pair_pictures=np.stack([train[first[order]], test[second[order]]], axis=1),
    )


def _example(found: Memorisation, i: int) -> MemorisedExample:
    elsewhere = found.predictions[found.included[:, i] == 0, i]
    return MemorisedExample(
        index=i,
        label=int(found.labels[i]),
        elsewhere=int(np.bincount(elsewhere).argmax()) if len(elsewhere) else -1,
        memorisation=float(found.memorisation[i]),
        standard_error=float(found.standard_error[i]),
        held_in=float(found.held_in[i]),
        held_out=float(found.held_out[i]),
        changed=bool(found.changed[i]),
    )


def _pair(found: Memorisation, i: int, j: int) -> InfluentialPair:
    return InfluentialPair(
        train=i,
        test=j,
        train_label=int(found.labels[i]),
        test_label=int(found.test_labels[j]),
        memorisation=float(found.memorisation[i]),
        influence=float(found.influence[i, j]),
    )


def _pictures(split: Split, X: Tensor) -> np.ndarray:
    """Return intensities (N, channels, height, width) of inputs as the split has them."""
    return (X * split.std + split.mean).reshape(len(X), *split.image_shape).float().numpy()


STUDY = Experiment(
    name="memorised-examples",
    question="Which examples does a network memorise, and which test examples does that help?",
    function=memorised_examples,
    full={"networks": 2000},
    quick={"factory": functools.partial(mlp, (64, 32, 10)), "networks": 50, "epochs": 10},
)
