"""Do large batches find sharper minima than small ones? (Keskar et al. 2017)"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from landscape.arguments import numbers_checked, several_seeds
from landscape.datasets import Split, digits
from landscape.errors import LandscapeError, NotDefinedError
from landscape.models.common import seeded
from landscape.results.large_batch import MATCHINGS, BatchContrast, BatchRun, LargeBatch
from landscape.scores import sharpness
from landscape.statistics import permutation_test
from landscape.training.checkpoints import as_checkpoint
from landscape.training.factories import as_split, check_factory
from landscape.training.jobs import Row, finished_rows, run_jobs
from landscape.training.recipes import Recipe, check_recipe
from landscape.training.runs import ModelFactory, describe_model
from landscape.training.train import train

NAME = "large-batch"
SCORES = ("keskar", "lambda-max")
RADII = {"keskar": (1e-3, 5e-4)}
"""The ε of the published table."""

RECIPE = Recipe(name="large-batch", long_name="Adam", optimiser="adam", lr=1e-3, max_epochs=1000)

_UNREACHABLE = 1e-300
"""A target that never stops the training, where its length is given."""


def f1_mlp(width: int = 512, *, inputs: int = 64, classes: int = 10, hidden: int = 5, seed: int = 0) -> nn.Sequential:
    """Build a network like F1 of Keskar et al. 2017: hidden layers of 512 ReLU units, each with batch norm.

    Args:
        width: units of each hidden layer.
        inputs: features of an example.
        classes: logits C.
        hidden: hidden layers.
        seed: of the weights.

    >>> len([layer for layer in f1_mlp(8) if isinstance(layer, nn.BatchNorm1d)])
    5
    """
    with seeded(seed):
        layers: list[nn.Module] = [nn.Flatten()]
        for layer in range(hidden):
            layers += [nn.Linear(width if layer else inputs, width), nn.BatchNorm1d(width), nn.ReLU()]
        layers.append(nn.Linear(width, classes))
    return nn.Sequential(*layers)


@numbers_checked
def large_batch(
    factory: ModelFactory = f1_mlp,
    split: Split | Any = None,
    *,
    small: int = 16,
    large: int | None = None,
    recipe: Recipe = RECIPE,
    epochs: int = 30,
    matchings: Sequence[str] = ("epochs", "loss"),
    scores: Sequence[str] = SCORES,
    radii: Mapping[str, Sequence[float]] = RADII,
    seeds: Iterable[int] = range(6),
    workers: int = 1,
    save: str | os.PathLike[str] | None = None,
) -> LargeBatch:
    r"""Train with small and with large batches and compare the sharpness of what they find.

    Keskar's is :math:`100\,(\max_{|y_i| \le \epsilon(|w_i|+1)} L(w + y) - L(w))/(1 + L(w))` in the full space. At equal epochs,
    as published, the arms differ in training loss and in steps as well, on which every such score depends; at equal loss
    they do not. Norm statistics are re-estimated over the training data before anything is measured.

    Args:
        factory: called with ``seed=``.
        split: data with labels; `None`: the embedded digits, 1,000 to train on.
        small: examples a step of the first arm.
        large: of the second; `None`: a tenth of the training data, as published.
        recipe: optimiser, learning rate and, for ``loss``, the training loss to stop at.
        epochs: length of the training at equal epochs, and of the small-batch one at equal steps.
        matchings: of ``epochs``, ``loss`` and ``steps``.
        scores: what to measure, as in `landscape.sharpness`.
        radii: their radii by slug.
        seeds: one network of each arm and matching a seed; six an arm give an exact test.
        workers: processes.
        save: study file to keep the result in, as ``large-batch``; finished runs survive an interruption.

    Returns:
        A `LargeBatch`; networks that never reached a target loss are kept and not compared.

    Raises:
        LandscapeError: data without labels, an unknown matching, arms of one batch size, a factory that does not fit, or
            a study begun with other settings.

    Source: N. S. Keskar et al., *On large-batch training for deep learning*, 2017 (arXiv 1609.04836), table 3: for F1 on
    MNIST at ε = 10⁻³, 205.14 against 1.23 (a ratio of 167), at 5·10⁻⁴ 42.90 against 0.61. For what the number of steps
    has to do with it: E. Hoffer et al. 2017 (arXiv 1705.08741).

    >>> from functools import partial
    >>> options = {"epochs": 3, "matchings": ["epochs"], "scores": ["keskar"], "seeds": [0]}
    >>> found = large_batch(partial(f1_mlp, 16), digits(train=60), small=3, **options)
    >>> [run.batch_size for run in found.runs], sorted(found.scores)
    ([3, 6], ['keskar/0.0005', 'keskar/0.001'])
    """
    split = digits() if split is None else as_split(split)
    check_recipe(recipe)
    seeds, matchings = several_seeds(seeds), list(matchings)
    sizes = {"small": small, "large": max(1, len(split.train[1]) // 10) if large is None else large}
    _check(sizes, seeds, matchings, recipe, epochs)
    check_factory(factory, split.train[0][:2], classes=split.classes)
    chosen = {name: tuple(radii[name]) for name in scores if name in radii}
    settings = {
        "model": describe_model(factory),
        "data": split.fingerprint,
        "recipe": dataclasses.asdict(recipe),
        "sizes": sizes,
        "epochs": epochs,
        "matchings": matchings,
        "scores": list(scores),
        "radii": {name: list(values) for name, values in chosen.items()},
        "seeds": seeds,
    }
    jobs = {
        f"{matching}-{batch}-{seed}": (
            factory,
            split,
            _planned(recipe, matching, batch, sizes, epochs),
            (matching, batch),
            tuple(scores),
            chosen,
            seed,
        )
        for matching in matchings
        for batch in sizes
        for seed in seeds
    }
    with finished_rows(save, NAME, settings) as done:
        run_jobs(_train, jobs, done, workers=workers, desc="networks")
        result = _result([done[key] for key in jobs], settings)
        return done.conclude(result)


def _check(sizes: Mapping[str, int], seeds: list[int], matchings: list[str], recipe: Recipe, epochs: int) -> None:
    unknown = [name for name in matchings if name not in MATCHINGS]
    if unknown or not matchings:
        raise LandscapeError(
            f"matchings {', '.join(unknown) or 'are missing'}; expected some of {', '.join(MATCHINGS)}"
        )
    if not 1 <= sizes["small"] < sizes["large"] or not seeds or epochs < 1:
        raise LandscapeError(
            f"batches of {sizes['small']} and {sizes['large']}, {len(seeds)} seeds, {epochs} epochs; expected a small "
            "batch below the large one, a seed and an epoch"
        )
    if recipe.examples is not None or recipe.poison:
        raise LandscapeError("the arms train on the whole training part; use a recipe without examples or poison")


def _planned(recipe: Recipe, matching: str, batch: str, sizes: Mapping[str, int], epochs: int) -> Recipe:
    """Return the recipe of one arm."""
    planned = dataclasses.replace(recipe, name=f"{matching}-{batch}", batch_size=sizes[batch])
    if matching == "loss":
        return planned
    longer = sizes["large"] / sizes["small"] if (matching, batch) == ("steps", "large") else 1
    return dataclasses.replace(planned, target=_UNREACHABLE, max_epochs=round(longer * epochs))


def _train(
    factory: ModelFactory,
    split: Split,
    recipe: Recipe,
    arm: tuple[str, str],
    scores: tuple[str, ...],
    radii: Mapping[str, Sequence[float]],
    seed: int,
) -> Row:
    """Train one network and score it."""
    run = train(recipe, split, factory, seed=seed)
    checkpoint = as_checkpoint(run, factory)
    objective = checkpoint.objective("train")
    found = sharpness(objective, list(scores), seed=seed, checkpoint=checkpoint, radii=radii)
    here = objective.evaluate()
    values = {
        f"score {row.name}" + (f"/{row.radius:g}" if row.radius is not None else ""): row.value for row in found.rows
    }
    return {
        "matching": arm[0],
        "batch": arm[1],
        "batch_size": recipe.batch_size,
        "seed": seed,
        "reached": run.reached or arm[0] != "loss",
        "epochs": int(run.history.epoch[-1]),
        "steps": run.steps,
        "train_loss": here["loss"],
        "train_accuracy": here["accuracy"],
        "test_accuracy": checkpoint.objective("test").evaluate()["accuracy"],
        **values,
    }


def _result(found: Sequence[Row], settings: Mapping[str, Any]) -> LargeBatch:
    columns = BatchRun.__dataclass_fields__
    names = [name for name in found[0] if name.startswith("score ")]
    result = LargeBatch(
        runs=tuple(BatchRun(**{name: row[name] for name in columns}) for row in found),
        scores={name.removeprefix("score "): np.array([row[name] for row in found]) for name in names},
        contrasts=(),
        settings=settings,
    )
    return result.replace(contrasts=tuple(_contrasts(result)))


def _contrasts(result: LargeBatch) -> Iterator[BatchContrast]:
    """Yield a contrast for every matching and score of which both arms have networks."""
    for matching in result.matchings:
        for score in result.scores:
            small, large = (result.values(score, matching, batch) for batch in ("small", "large"))
            if not len(small) or not len(large):
                continue
            yield BatchContrast(
                matching=matching,
                score=score,
                small=float(small.mean()),
                small_sd=_deviation(small),
                large=float(large.mean()),
                large_sd=_deviation(large),
                ratio=float(large.mean() / small.mean()) if small.mean() else math.nan,
                p_value=_p_value(small, large),
                networks=len(small) + len(large),
            )


def _p_value(small: np.ndarray, large: np.ndarray) -> float:
    """Return the exact p of the mean log10 score; NaN for scores that are not positive, or too few seeds."""
    if not (np.all(small > 0) and np.all(large > 0)):
        return math.nan
    try:
        return permutation_test(np.log10(small), np.log10(large)).p_value
    except NotDefinedError:
        return math.nan


def _deviation(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan
