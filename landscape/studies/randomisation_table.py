"""Sharpness against label noise at matched loss: noise levels × seeds × recipes, with one trend test over the noise."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landscape.arguments import numbers_checked, several, several_seeds
from landscape.comparison.audits import audit_recipes, failed, in_words
from landscape.comparison.trend import noise_trends, noise_verdict, trend_placebo
from landscape.datasets import Split, digits
from landscape.errors import LandscapeError
from landscape.models import mlp
from landscape.results.comparison import Audited
from landscape.results.randomisation_table import RandomisationTable
from landscape.studies.evaluations import (
    FITS,
    METRICS,
    PRIMARY,
    Panel,
    epoch_grid,
    measured_run,
    radii_of,
    score_rows,
)
from landscape.training.checkpoints import as_checkpoint
from landscape.training.factories import as_split, check_factory
from landscape.training.jobs import Row, finished_rows, run_jobs
from landscape.training.recipes import Recipe, as_recipes, get_recipe
from landscape.training.runs import ModelFactory, describe_model
from landscape.training.train import train
from landscape.training.trainer import Goal, LossGoal, NormGoal

NETWORK = functools.partial(mlp, (64, 128, 128, 10))
PANEL = Panel()
NOISE = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
RECIPES = tuple(get_recipe(name, max_epochs=4000) for name in ("sgd", "momentum", "momentum-matched"))
LOSSES = (0.05, 0.01, 0.001)


@numbers_checked
def randomisation_table(
    factory: ModelFactory = NETWORK,
    split: Any = None,
    *,
    recipes: Sequence[Recipe] = RECIPES,
    noise: Sequence[float] = NOISE,
    seeds: Sequence[int] = tuple(range(8)),
    losses: Sequence[float] = LOSSES,
    epoch: int | None = 100,
    norm: float | None = 12.5,
    panel: Panel = PANEL,
    audit: bool = True,
    workers: int = 1,
    save: str | os.PathLike[str] | None = None,
) -> RandomisationTable:
    r"""Train over a grid of label noise and measure every network where training losses match.

    Each network is trained once, through all places where it is measured (`train_through`): every loss in `losses`, and
    for contrast a common number of epochs and a common norm of the weights, where losses do not match and the verdict
    says so. The sharpness scores are seen three ways (see `landscape.studies.evaluations`). Over the noise levels
    there is one test a score, Page's with the seeds as blocks, since runs of one seed share initial weights, the order
    of examples and, as corruption is nested, redrawn labels; Holm's correction is over the three primary scores.

    Args:
        factory: called with ``seed=seed``.
        split: a `Split` or ``((X, y), (X_test, y_test))``; `None`: the digits.
        recipes: how to train; their `label_noise`, `target` and `target_accuracy` are not used.
        noise: probabilities p with which a label is replaced by a uniformly drawn class, ascending.
        seeds: one run a recipe, noise level and seed.
        losses: training cross-entropies in nats to stop at on the way.
        epoch: number of epochs to stop at as well, or None.
        norm: Euclidean norm of all weights to stop at as well, or None.
        panel: scores by evaluation, at the matched losses; elsewhere only the primary scores are measured.
        audit: put the first seed's network without noise and the one with the most through the transformations T1–T7.
        workers: processes that train and measure.
        save: a study file; the result is stored there as ``randomisation-table``, and finished runs are kept beside it
            until then, so that the same call goes on after an interruption.

    Returns:
        `RandomisationTable`.

    Raises:
        LandscapeError: a factory or data that cannot be used, noise levels out of order, or a study with runs of other
            settings.

    Source: the grid is that of C. Zhang et al. 2017 (arXiv 1611.03530), figure 1; the three evaluations and the test
    over p are this package's.

    >>> from landscape.experiments import get_recipe
    >>> quick = get_recipe("momentum", lr=0.1, examples=40)
    >>> table = randomisation_table(functools.partial(mlp, (64, 16, 10)), digits(train=100), recipes=[quick],
    ...     noise=(0, 0.5, 1), seeds=(0, 1), losses=(0.1,), epoch=None, norm=None, audit=False,
    ...     panel=Panel(own=("weight-norm",), label_free=(), shared=()))
    >>> table.values("own/weight-norm", "loss-0.1").shape
    (3, 2)
    """
    split = digits() if split is None else as_split(split)
    check_factory(factory, split.train[0][:2], classes=split.classes)
    noise = tuple(map(float, several(noise, "noise", "float")))
    seeds, recipes = several_seeds(seeds), as_recipes(recipes)
    if not recipes or not seeds or len(noise) < 2 or list(noise) != sorted(set(noise)):
        raise LandscapeError(
            f"{len(recipes)} recipes, {len(seeds)} seeds, noise {noise}; expected at least one recipe, one seed and two "
            "ascending noise levels"
        )
    goals = _goals(several(losses, "losses", "float"), epoch, norm)
    jobs = _jobs(factory, split, recipes, noise, seeds, goals, panel)
    with finished_rows(save, "randomisation-table", _settings(factory, split, recipes, noise, goals, panel)) as done:
        run_jobs(measured_run, jobs, done, workers=workers)
        audits = _audits(factory, split, recipes[0], noise, seeds[0]) if audit else {}
        run_jobs(audited_run, audits, done, workers=workers, desc="audits")
        result = _assembled(done, recipes, noise, seeds, goals, panel, list(audits))
        return done.conclude(result)


def audited_run(recipe: Recipe, split: Split, factory: ModelFactory, seed: int) -> Row:
    """Put one network through all transformations: the columns of `Audited`."""
    checkpoint = as_checkpoint(train(recipe, split, factory, seed=seed), factory)
    objective = checkpoint.objective()
    defined = [name for name, (row, *_) in score_rows(objective, PRIMARY, seed, checkpoint).items() if row.defined]
    found = audit_recipes({recipe.name: objective}, defined, seed) if defined else []
    return {field.name: np.array([getattr(row, field.name) for row in found]) for field in dataclasses.fields(Audited)}


def _goals(losses: Sequence[float], epoch: int | None, norm: float | None) -> dict[str, Goal | int]:
    goals: dict[str, Goal | int] = {f"loss-{loss:g}": LossGoal(loss) for loss in losses}
    if epoch is not None:
        goals[f"epoch-{epoch}"] = epoch
    if norm is not None:
        goals[f"norm-{norm:g}"] = NormGoal(norm)
    return goals


def _settings(
    factory: ModelFactory,
    split: Split,
    recipes: Sequence[Recipe],
    noise: Sequence[float],
    goals: Mapping[str, Goal | int],
    panel: Panel,
) -> dict[str, Any]:
    """Everything that decides the numbers of a row but its own key."""
    places = {name: goal if isinstance(goal, int) else dict(vars(goal)) for name, goal in goals.items()}
    return {
        "model": describe_model(factory),
        "data": split.fingerprint,
        "recipes": [dataclasses.asdict(recipe) for recipe in recipes],
        "noise": list(noise),
        "goals": places,
        "panel": dataclasses.asdict(panel),
    }


def _jobs(
    factory: ModelFactory,
    split: Split,
    recipes: Sequence[Recipe],
    noise: Sequence[float],
    seeds: Sequence[int],
    goals: Mapping[str, Goal | int],
    panel: Panel,
) -> dict[str, tuple[Any, ...]]:
    """One job a run, seed after seed, so that an interrupted table is a smaller one and not a lopsided one."""
    return {
        f"{recipe.name}/{p:g}/{seed}": (_noisy(recipe, p), split, factory, seed, goals, tuple(noise), panel)
        for seed in seeds
        for p in noise
        for recipe in recipes
    }


def _audits(
    factory: ModelFactory, split: Split, recipe: Recipe, noise: Sequence[float], seed: int
) -> dict[str, tuple[Any, ...]]:
    ends = (noise[0], noise[-1])
    named = [dataclasses.replace(_noisy(recipe, p), name=f"{recipe.name}-p-{p:g}") for p in ends]
    return {f"audit/{one.name}/{seed}": (one, split, factory, seed) for one in named}


def _noisy(recipe: Recipe, p: float) -> Recipe:
    return dataclasses.replace(recipe, label_noise=p)


def _assembled(
    done: Mapping[str, Row],
    recipes: Sequence[Recipe],
    noise: Sequence[float],
    seeds: Sequence[int],
    goals: Mapping[str, Goal | int],
    panel: Panel,
    audits: Sequence[str],
) -> RandomisationTable:
    """Stack the rows into arrays over (recipe, noise, seed), test, and decide."""

    def stacked(column: str) -> np.ndarray:
        cells = [[[done[f"{one.name}/{p:g}/{seed}"][column] for seed in seeds] for p in noise] for one in recipes]
        return np.array(cells, dtype=np.float64)

    metrics = {name: stacked(name) for name in METRICS}
    there = (metrics["reached"] > 0)[..., None]
    both = {name: stacked(name) for name in panel.names}  # (recipe, noise, seed, stage, value or error, radius)
    scores = {name: np.where(there, values[..., 0, :], np.nan) for name, values in both.items()}
    errors = {name: np.where(there, values[..., 1, :], np.nan) for name, values in both.items()}
    audited = tuple(
        Audited(*(done[key][field.name][i].item() for field in dataclasses.fields(Audited)))
        for key in audits
        for i in range(len(done[key]["score"]))
    )
    trends, verdicts = [], []
    for i, recipe in enumerate(recipes):
        for j, stage in enumerate(goals):
            mine = noise_trends(recipe.name, stage, {name: values[i, :, :, j] for name, values in scores.items()})
            here = {name: values[i, :, :, j] for name, values in metrics.items()}
            trends += mine
            verdicts.append(
                noise_verdict(recipe.name, stage, recipe.long_name, here, mine, descriptive=tuple(failed(audited)))
            )
    curves = stacked("curve")
    return RandomisationTable(
        recipes=tuple(recipe.name for recipe in recipes),
        long_names=tuple(recipe.long_name for recipe in recipes),
        stages=tuple(goals),
        noise=np.array(noise),
        seeds=np.array(seeds),
        epochs=epoch_grid(max(recipe.max_epochs for recipe in recipes)),
        metrics=metrics,
        lengths={name: stacked(name) for name in FITS},
        curves={"train/loss": curves[..., 0, :], "train/accuracy": curves[..., 1, :]},
        scores=scores,
        errors=errors,
        radii=radii_of(panel),
        trends=tuple(trends),
        verdicts=tuple(verdicts),
        audited=audited,
        audit=in_words(audited),
        placebo=_placebo(scores, recipes[0].name, list(goals), len(noise)),
    )


def _placebo(scores: Mapping[str, np.ndarray], recipe: str, stages: Sequence[str], levels: int) -> Any:
    """The placebo of the tightest loss among runs without noise, where there are enough of them."""
    at_loss = [place for place, name in enumerate(stages) if name.startswith("loss-")]
    wanted = {name: scores.get(f"own/{name}") for name in PRIMARY}
    if not at_loss or any(values is None for values in wanted.values()):
        return None
    chosen = {name: values[0, 0, :, at_loss[-1]] for name, values in wanted.items() if values is not None}
    if any(len(values) < 4 or not (np.nan_to_num(values, nan=1.0) > 0).all() for values in chosen.values()):
        return None
    return trend_placebo(chosen, recipe=recipe, levels=levels)
