"""Can it fit noise? True, corrupted and random labels; shuffled, random and Gaussian inputs (Zhang et al. 2017)."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landscape.arguments import numbers_checked, several, several_seeds
from landscape.datasets import Split, digits
from landscape.errors import LandscapeError
from landscape.models import mlp
from landscape.results.randomisation import Condition, Randomisation
from landscape.studies.evaluations import FITS, METRICS, Panel, epoch_grid, measured_run, radii_of
from landscape.training.factories import as_split, check_factory
from landscape.training.jobs import Row, finished_rows, run_jobs
from landscape.training.recipes import Recipe, check_recipe, get_recipe
from landscape.training.runs import ModelFactory, describe_model
from landscape.training.trainer import LossGoal

NETWORK = functools.partial(mlp, (64, 128, 128, 10))
PANEL = Panel()
RECIPE = get_recipe("sgd", max_epochs=4000)
NOISE = (0.2, 0.4, 0.6, 0.8)
INPUTS = (
    Condition("shuffled-pixels", "shuffled pixels", "shuffled-pixels", 0.0),
    Condition("random-pixels", "random pixels", "random-pixels", 0.0),
    Condition("gaussian", "Gaussian inputs", "gaussian", 0.0),
)


@numbers_checked
def randomisation(
    factory: ModelFactory = NETWORK,
    split: Any = None,
    *,
    noise: Sequence[float] = NOISE,
    seeds: Sequence[int] = (0, 1),
    recipe: Recipe = RECIPE,
    panel: Panel = PANEL,
    workers: int = 1,
    save: str | os.PathLike[str] | None = None,
) -> Randomisation:
    r"""Train one network on real and on randomised data, with unchanged settings, and measure it at matched loss.

    Six conditions: true labels; labels corrupted with each probability p in `noise`; random labels (p = 1); one
    permutation of pixels for all images; another permutation for every image; Gaussian inputs of the same mean and
    variance. What is redrawn is drawn once a seed and kept. Every run ends at the recipe's cross-entropy and accuracy; its
    scores are measured there in three ways (see `landscape.studies.evaluations`). A run that never gets there is
    reported so, and its scores are left out.

    Args:
        factory: called with ``seed=seed``; your network, for inputs as the split has them.
        split: a `Split` or ``((X, y), (X_test, y_test))``; `None`: the digits.
        noise: probabilities of corruption strictly between 0 and 1, ascending.
        seeds: one run a condition and seed.
        recipe: how to train, the same in all conditions.
        panel: scores by evaluation.
        workers: processes.
        save: a study file; the result is stored there as ``randomisation``, and finished runs are kept beside it until
            then.

    Returns:
        `Randomisation`: ``.table()``, ``.plot()``, ``.summary()``.

    Raises:
        LandscapeError: a factory or data that cannot be used, noise levels out of range or order, or a study with runs
            of other settings.

    Source: C. Zhang et al., *Understanding deep learning requires rethinking generalization*, 2017 (arXiv 1611.03530),
    section 2.1 and figure 1.

    >>> from landscape.experiments import get_recipe
    >>> quick = get_recipe("momentum", lr=0.1, examples=40, target=0.1)
    >>> found = randomisation(functools.partial(mlp, (64, 16, 10)), digits(train=100), noise=(), seeds=(0,), recipe=quick,
    ...     panel=Panel(own=("weight-norm",), label_free=(), shared=()))
    >>> [row.name for row in found.conditions]
    ['true-labels', 'random-labels', 'shuffled-pixels', 'random-pixels', 'gaussian']
    >>> found.metrics["train/accuracy"].min()
    np.float64(1.0)
    """
    noise = several(noise, "noise", "float")
    if any(not 0 < p < 1 for p in noise) or list(noise) != sorted(set(noise)):
        raise LandscapeError(
            f"noise is {tuple(noise)}; expected ascending probabilities between 0 and 1, ends excluded"
        )
    labels = [
        Condition("true-labels", "true labels", "true", 0.0),
        *(Condition(f"corrupted-{p:g}", f"labels corrupted, p = {p:g}", "true", float(p)) for p in noise),
        Condition("random-labels", "random labels", "true", 1.0),
    ]
    return run_conditions(
        "randomisation", factory, split, [*labels, *INPUTS], seeds=seeds, recipe=recipe, panel=panel, workers=workers, save=save
    )  # fmt: skip


def run_conditions(
    name: str,
    factory: ModelFactory,
    split: Any,
    conditions: Sequence[Condition],
    *,
    seeds: Sequence[int],
    recipe: Recipe,
    panel: Panel,
    workers: int,
    save: str | os.PathLike[str] | None,
) -> Randomisation:
    """Train and measure one network a condition and seed, resumably.

    Args:
        name: of the entry in the study.
        factory: called with ``seed=seed``.
        split: as `randomisation` takes it.
        conditions: treatments of the data.
        seeds: one run a condition and seed.
        recipe: how to train.
        panel: scores by evaluation.
        workers: processes.
        save: a study file, or None.
    """
    split = digits() if split is None else as_split(split)
    check_factory(factory, split.train[0][:2], classes=split.classes)
    check_recipe(recipe)
    seeds = several_seeds(seeds)
    if not seeds:
        raise LandscapeError("no seeds; expected at least one")
    goals = {"end": LossGoal(recipe.target, recipe.target_accuracy)}
    levels = tuple(sorted({one.noise for one in conditions}))
    jobs: dict[str, tuple[Any, ...]] = {
        f"{one.name}/{seed}": (_treated(recipe, one), split, factory, seed, goals, levels, panel)
        for seed in seeds
        for one in conditions
    }
    settings = {
        "model": describe_model(factory),
        "data": split.fingerprint,
        "recipe": dataclasses.asdict(recipe),
        "levels": list(levels),
        "panel": dataclasses.asdict(panel),
    }
    with finished_rows(save, name, settings) as done:
        run_jobs(measured_run, jobs, done, workers=workers)
        result = _assembled(done, conditions, seeds, split, recipe, panel)
        return done.conclude(result)


def _treated(recipe: Recipe, condition: Condition) -> Recipe:
    return dataclasses.replace(recipe, inputs=condition.inputs, label_noise=condition.noise)  # type: ignore[arg-type]


def _assembled(
    done: Mapping[str, Row],
    conditions: Sequence[Condition],
    seeds: Sequence[int],
    split: Split,
    recipe: Recipe,
    panel: Panel,
) -> Randomisation:
    def stacked(column: str) -> np.ndarray:
        return np.array(
            [[done[f"{one.name}/{seed}"][column] for seed in seeds] for one in conditions], dtype=np.float64
        )

    metrics = {name: stacked(name)[..., 0] for name in METRICS}
    there = (metrics["reached"] > 0)[..., None]
    both = {name: stacked(name)[:, :, 0] for name in panel.names}  # (condition, seed, value or error, radius)
    curves = stacked("curve")
    return Randomisation(
        conditions=tuple(conditions),
        seeds=np.array(seeds),
        epochs=epoch_grid(recipe.max_epochs),
        metrics=metrics,
        lengths={name: stacked(name) for name in FITS},
        curves={"train/loss": curves[:, :, 0], "train/accuracy": curves[:, :, 1]},
        scores={name: np.where(there, values[:, :, 0], np.nan) for name, values in both.items()},
        errors={name: np.where(there, values[:, :, 1], np.nan) for name, values in both.items()},
        radii=radii_of(panel),
        target=recipe.target,
        recipe=recipe.name,
        classes=split.classes,
    )
