"""Basins of clean and of poisoned training on one loss surface (Huang et al. 2020)."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from landscape.arguments import several
from landscape.datasets import Split, spirals
from landscape.errors import LandscapeError
from landscape.models import mlp
from landscape.results import Effect, Finding, Trials
from landscape.scores import sharpness
from landscape.studies.grid import Row, grid, protocol
from landscape.studies.registry import Experiment, published
from landscape.training import ModelFactory, Recipe, as_checkpoint, get_recipe, train
from landscape.workers import Workers

NAME = "basin-volume"
THREE_LAYERS = partial(mlp, (2, 64, 64, 64, 2))
# A target accuracy of 1 would take clean networks to a tenth of the poisoned ones' loss.
ADAM = get_recipe("sgd", name="adam", optimiser="adam", lr=0.002, batch_size=32, target=0.05, target_accuracy=0.95)
FEWEST = 6
"""Pairs of a clean and a poisoned network below which their difference is not tested."""
SIZES = ("radius", "log10 volume", "log10 mass", "kl radius")
"""Measures of a basin: the median radius at which the loss has risen by 0.1 along filter-normalised directions, relative to the
filters; the volume, and the Gaussian mass of weights that predict alike, both lower bounds; the median radius at which
predictions have moved by KL 0.01, in units of the weights."""
WORDS = {
    "poison": "poisoned points",
    "radius": "basin radius",
    "log10 volume": "log₁₀ volume",
    "log10 mass": "log₁₀ mass",
}
_SCORES = ("basin-radius", "log-volume", "local-volume", "kl-radius")


@published
def basin_volume(
    factory: ModelFactory = THREE_LAYERS,
    split: Split | Any = None,
    *,
    poison: Sequence[int] = (10, 25),
    recipe: Recipe = ADAM,
    seeds: Sequence[int] = range(8),
    directions: int = 50,
    name: str = NAME,
    workers: Workers = 1,
    save: str | os.PathLike[str] | None = None,
) -> Trials:
    r"""Train on clean and on poisoned data to the same clean training loss, and compare the sizes of the basins.

    A poisoned network also fits points with wrong labels, so that it generalises badly; yet its loss on the clean training
    examples is that of a clean one, and all are measured on that one surface, along the same directions. Four measures of
    size: the radius of the basin along filter-normalised directions and the volume from uniform ones, at a rise of the loss
    of 0.1 (`landscape.scores.basin`); the Gaussian mass of weights that predict alike (`local_volume`); and the radius
    within which predictions stay (`kl_radius`). Both volumes are lower bounds: :math:`E[r^P]` cannot be estimated from few
    directions, and only differences on one surface mean anything.

    Args:
        split: data with labels; poison is made of its spare examples where it has any. `None`: 100 points of
            `landscape.datasets.spirals`.
        poison: numbers of wrongly labelled points, one arm each, beside the clean arm.
        recipe: how to train; its `poison` is replaced.
        seeds: a pair of a clean and a poisoned network each, which share initialisation and clean examples.
        directions: random directions per measure.
        name: entry in the study file.

    Returns:
        `Trials` by poison and seed, with the measures of `SIZES` and the effect of poison on each. Networks that never met the
        target are listed and not compared.

    Source: W. R. Huang et al., *Understanding generalization through visualizations*, 2020 (arXiv 1906.03291), sections 3
    and 5, figures 5 to 7; midpoints or relabelled spare points stand for their poison, drawn once instead of every epoch.

    >>> from landscape.experiments import get_recipe
    >>> quick = get_recipe("sgd", optimiser="adam", lr=0.01, batch_size=20, target=0.4, target_accuracy=0.7)
    >>> found = basin_volume(
    ...     partial(mlp, (2, 16, 2)), spirals(train=40), poison=(5,), recipe=quick, seeds=range(2), directions=5
    ... )
    >>> found.levels("poison"), len(found), found.effects[1].measure
    ((0, 5), 4, 'log10 volume')
    """
    split, poison = spirals(train=100) if split is None else split, several(poison, "poison")
    if not poison or min(poison) < 1 or len(set(poison)) < len(poison) or directions < 2:
        raise LandscapeError(
            f"poison={list(poison)}, {directions} directions; expected different positive numbers of poisoned points, and "
            "two directions"
        )
    settings = protocol(factory, split, recipe=recipe, directions=directions)
    weights = sum(p.numel() for p in factory(seed=0).parameters())
    task = f"{split.name}, {len(split.train[1])} clean examples, {weights} weights, loss {recipe.target:g}"
    return grid(
        partial(_measure, factory, split, recipe, directions),
        {"poison": (0, *poison), "seed": seeds},
        name=name,
        study=NAME,
        settings=settings,
        effects=_effects,
        findings=partial(_findings, task=task),
        shown=("train/loss", "test/accuracy", *SIZES),
        words=WORDS,
        view={"x": "test/accuracy", "y": SIZES[:3], "hue": "poison", "join": "seed"},
        workers=workers,
        save=save,
        desc="basins",
    )


def _measure(factory: ModelFactory, split: Split, recipe: Recipe, directions: int, *, poison: int, seed: int) -> Row:
    run = train(dataclasses.replace(recipe, poison=poison), split, factory, seed=seed)
    objective = as_checkpoint(run, factory).objective()
    options = {slug: {"directions": directions} for slug in _SCORES}
    panel = sharpness(objective, list(_SCORES), seed=0, options=options)
    volume = panel["log-volume"]
    # radii come as inverse squares, volumes as natural logarithms with the sign of sharpness
    return {
        **run.measures,
        "radius": panel["basin-radius"].value ** -0.5,
        "log10 volume": -volume.value / math.log(10),
        "log10 volume ±": math.nan if volume.standard_error is None else volume.standard_error / math.log(10),
        "log10 mass": -panel["local-volume"].value / math.log(10),
        "kl radius": panel["kl-radius"].value ** -0.5,
    }


def _effects(trials: Trials) -> list[Effect]:
    """Compare each poisoned arm with the clean one, over seeds that share initialisation and clean examples."""
    clean, *poisoned = trials.levels("poison")
    return [
        trials.contrast(
            measure, "poison", clean, arm, pair="seed", scale="raw" if "log10" in measure else "log10", fewest=FEWEST
        )
        for arm in poisoned
        for measure in SIZES
    ]


def _findings(trials: Trials, task: str) -> Iterator[Finding]:
    yield Finding("task", task)
    for row in trials.effects:
        if row.runs_a:
            test = "too few pairs to test" if row.p_value is None else f"p = {row.p_value:.2g}"
            yield Finding(
                f"{row.measure}, poison {row.b}",
                f"10^{row.difference:.4g} of clean training's on average; smaller in {row.runs_a - row.larger} of "
                f"{row.runs_a} pairs, {test}",
            )


STUDY = Experiment(
    name=NAME,
    question="Are the basins of networks that also fit wrong labels smaller, on the loss surface of the clean data?",
    function=basin_volume,
    full={"poison": (20,), "seeds": range(6), "directions": 20},
    quick={
        "factory": partial(mlp, (2, 16, 2)),
        "split": spirals(train=40),
        "poison": (5,),
        "recipe": get_recipe("sgd", optimiser="adam", lr=0.01, batch_size=20, target=0.4, target_accuracy=0.7),
        "seeds": range(2),
        "directions": 5,
    },
)
