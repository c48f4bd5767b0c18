"""Basins of clean and of poisoned training on one loss surface (Huang et al. 2020)."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from landscape.arguments import numbers_checked, several, several_seeds
from landscape.datasets import Split, spirals
from landscape.errors import LandscapeError
from landscape.models import mlp
from landscape.results.basin_volume import LOG10, BasinDifference, BasinRow, BasinVolume
from landscape.results.scores import Score, Scores
from landscape.scores import sharpness
from landscape.statistics import sign_flip_test
from landscape.training.checkpoints import as_checkpoint
from landscape.training.factories import as_split, check_factory
from landscape.training.jobs import Row, finished_rows, run_jobs
from landscape.training.recipes import Recipe, check_recipe, get_recipe
from landscape.training.runs import ModelFactory, describe_model
from landscape.training.train import train

NAME = "basin-volume"
THREE_LAYERS = partial(mlp, (2, 64, 64, 64, 2))
# A target accuracy of 1 would take clean networks to a tenth of the poisoned ones' loss.
ADAM = get_recipe("sgd", name="adam", optimiser="adam", lr=0.002, batch_size=32, target=0.05, target_accuracy=0.95)
FEWEST = 6
_SCORES = ("basin-radius", "log-volume", "local-volume", "kl-radius")
_MEASURES = ("radius", "log10_volume", "log10_mass", "kl_radius")


@numbers_checked
def basin_volume(
    factory: ModelFactory = THREE_LAYERS,
    split: Split | Any = None,
    *,
    poison: Sequence[int] = (10, 25),
    recipe: Recipe | None = None,
    seeds: Iterable[int] = range(8),
    directions: int = 50,
    name: str = NAME,
    workers: int = 1,
    save: str | os.PathLike[str] | None = None,
) -> BasinVolume:
    r"""Train on clean and on poisoned data to the same clean training loss, and compare the sizes of the basins.

    A poisoned network also fits points with wrong labels, so that it generalises badly; yet its loss on the clean training
    examples is that of a clean one, and all are measured on that one surface, along the same directions. Four measures of
    size: the radius of the basin along filter-normalised directions and the volume from uniform ones, at a rise of the loss
    of 0.1 (`landscape.scores.basin`); the Gaussian mass of weights that predict alike (`local_volume`); and the radius
    within which predictions stay (`kl_radius`). Both volumes are lower bounds: :math:`E[r^P]` cannot be estimated from few
    directions, and only differences on one surface mean anything.

    Args:
        factory: called with ``seed=``; importable by name if there are several workers.
        split: data with labels; poison is made of its spare examples where it has any. `None`: 100 points of
            `landscape.datasets.spirals`.
        poison: numbers of wrongly labelled points, one arm each, beside the clean arm.
        recipe: how to train; its `poison` is replaced. `None`: Adam to a cross-entropy of 0.05.
        seeds: a pair of a clean and a poisoned network each, which share initialisation and clean examples.
        directions: random directions a measure.
        name: entry in the study file.
        workers: processes.
        save: study file to keep the result in; finished networks survive an interruption.

    Returns:
        A `BasinVolume`. Networks that never met the target are listed and not compared.

    Raises:
        LandscapeError: data without labels, a factory that does not fit them, no poison, or a study begun with other
            settings.
        NumericalError: a loss became NaN or infinite.

    Source: W. R. Huang et al., *Understanding generalization through visualizations*, 2020 (arXiv 1906.03291), sections 3
    and 5, figures 5 to 7; midpoints or relabelled spare points stand for their poison, drawn once instead of every epoch.

    >>> from landscape.experiments import get_recipe
    >>> quick = get_recipe("sgd", optimiser="adam", lr=0.01, batch_size=20, target=0.4, target_accuracy=0.7)
    >>> found = basin_volume(
    ...     partial(mlp, (2, 16, 2)), spirals(train=40), poison=(5,), recipe=quick, seeds=range(2), directions=5
    ... )
    >>> found.arms, len(found.rows), found.differences[1].measure
    ((0, 5), 4, 'log10_volume')
    """
    split = spirals(train=100) if split is None else as_split(split)
    recipe = ADAM if recipe is None else recipe
    check_recipe(recipe)
    seeds, poison = several_seeds(seeds), several(poison, "poison")
    if not poison or min(poison) < 1 or len(set(poison)) < len(poison) or not seeds or directions < 2:
        raise LandscapeError(
            f"poison={list(poison)}, {len(seeds)} seeds, {directions} directions; expected different positive numbers of "
            "poisoned points, at least one seed and two directions"
        )
    check_factory(factory, split.train[0][:2], classes=split.classes)
    arms = (0, *poison)
    settings = {
        "model": describe_model(factory),
        "data": split.fingerprint,
        "recipe": dataclasses.asdict(recipe),
        "directions": directions,
    }
    jobs = {
        f"poison-{count}-{seed}": (factory, split, dataclasses.replace(recipe, poison=count), seed, directions)
        for seed in seeds
        for count in arms
    }
    with finished_rows(save, name, settings) as done:
        run_jobs(_measure, jobs, done, workers=workers, desc="basins")
        found = [
            BasinRow(poison=count, seed=seed, **done[f"poison-{count}-{seed}"]) for count in arms for seed in seeds
        ]
        result = BasinVolume(
            rows=tuple(found),
            differences=tuple(difference(found, count, measure) for count in poison for measure in _MEASURES),
            task=split.name,
            examples=len(split.train[1]),
            parameters=sum(p.numel() for p in factory(seed=0).parameters()),
            target=recipe.target,
            directions=directions,
            settings=settings,
        )
        return done.conclude(result)


def _measure(factory: ModelFactory, split: Split, recipe: Recipe, seed: int, directions: int) -> Row:
    """Train one network and measure its basin on the clean training examples."""
    run = train(recipe, split, factory, seed=seed)
    objective = as_checkpoint(run, factory).objective()
    options = {slug: {"directions": directions} for slug in _SCORES if slug != "log-volume"}
    panel = sharpness(objective, list(_SCORES), seed=0, options=options)
    volume = panel["log-volume"]
    return {
        "reached": run.reached,
        "train_loss": run.train_loss,
        "train_accuracy": run.train_accuracy,
        "test_accuracy": run.test_accuracy,
        "radius": _radius(panel, "basin-radius"),
        "log10_volume": -volume.value / LOG10,
        "log10_volume_error": _error(volume),
        "log10_mass": -panel["local-volume"].value / LOG10,
        "kl_radius": _radius(panel, "kl-radius"),
    }


def _error(score: Score) -> float:
    return math.nan if score.standard_error is None else score.standard_error / LOG10


def _radius(panel: Scores, slug: str) -> float:
    """Turn a score, the inverse square of a radius, back into the radius."""
    return float(panel[slug].value) ** -0.5


def difference(found: Sequence[BasinRow], poison: int, measure: str) -> BasinDifference:
    """Compare poisoned with clean networks of the same seeds, where both met the target.

    Args:
        found: rows of both arms.
        poison: the poisoned arm.
        measure: a field of `BasinRow`; what is not a logarithm already becomes one.
    """
    by_arm = {
        count: {row.seed: _logarithm(row, measure) for row in found if row.poison == count and row.reached}
        for count in (0, poison)
    }
    clean, poisoned = by_arm[0], by_arm[poison]
    both = [seed for seed in clean if seed in poisoned and math.isfinite(clean[seed] + poisoned[seed])]
    a, b = np.array([clean[seed] for seed in both]), np.array([poisoned[seed] for seed in both])
    return BasinDifference(
        poison=poison,
        measure=measure,
        pairs=len(both),
        difference=float((b - a).mean()) if both else math.nan,
        smaller=int((b < a).sum()),
        p_value=sign_flip_test(a, b, fewest=FEWEST).p_value if len(both) >= FEWEST else math.nan,
    )


def _logarithm(row: BasinRow, measure: str) -> float:
    value = float(getattr(row, measure))
    return value if measure.startswith("log10") else float(np.log10(value))
