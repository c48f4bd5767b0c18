"""Sharpness against label noise at matched loss: noise levels × seeds × recipes, with one trend test over the noise."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from landscape.arguments import several
from landscape.comparison import PRIMARY
from landscape.comparison.audits import audit_columns, failed, in_words
from landscape.comparison.trend import noise_trends, noise_verdict, trend_placebo
from landscape.datasets import Split, digits
from landscape.errors import LandscapeError
from landscape.models import mlp
from landscape.results import Effect, Finding, Trials
from landscape.results.comparison import Placebo
from landscape.studies.evaluations import CURVES, Panel, epoch_grid, measured_run, score_rows
from landscape.studies.grid import grid, protocol
from landscape.studies.randomisation import NETWORK, PANEL, view_of
from landscape.studies.registry import Experiment, published
from landscape.training import Goal, LossGoal, ModelFactory, NormGoal, Recipe, as_checkpoint, get_recipe, train
from landscape.workers import Workers

NOISE = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
RECIPES = tuple(get_recipe(name, max_epochs=4000) for name in ("sgd", "momentum", "momentum-matched"))
LOSSES = (0.05, 0.01, 0.001)


@published
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
    workers: Workers = 1,
    save: str | os.PathLike[str] | None = None,
) -> Trials:
    r"""Train over a grid of label noise and measure every network where training losses match.

    Each network is trained once, through all places where it is measured (`train_through`): every loss in `losses`, and
    for contrast a common number of epochs and a common norm of the weights, where losses do not match and the verdict
    says so. The sharpness scores are seen three ways (see `landscape.studies.evaluations`). Over the noise levels
    there is one test per score, Page's with the seeds as blocks, since runs of one seed share initial weights, the order
    of examples and, as corruption is nested, redrawn labels; Holm's correction is over the three primary scores.

    Args:
        split: a `Split` or ``((X, y), (X_test, y_test))``; `None`: the digits.
        recipes: how to train; their `label_noise`, `target` and `target_accuracy` are not used.
        noise: probabilities p with which a label is replaced by a uniformly drawn class, ascending.
        losses: training cross-entropies in nats to stop at on the way.
        epoch: number of epochs to stop at as well, or None.
        norm: Euclidean norm of all weights to stop at as well, or None.
        panel: scores by evaluation, at the matched losses; elsewhere only the primary scores are measured.
        audit: put the first seed's network without noise and the one with the most through the transformations T1–T7.

    Returns:
        `Trials` by recipe, noise, seed and stage, with the trend of every score over the noise, a verdict per recipe and
        stage, the audit and the placebo of the rule.

    Source: the grid is that of C. Zhang et al. 2017 (arXiv 1611.03530), figure 1; the three evaluations and the test
    over p are this package's.

    >>> from landscape.experiments import get_recipe
    >>> quick = get_recipe("momentum", lr=0.1, examples=40)
    >>> table = randomisation_table(functools.partial(mlp, (64, 16, 10)), digits(train=100), recipes=[quick],
    ...     noise=(0, 0.5, 1), seeds=(0, 1), losses=(0.1,), epoch=None, norm=None, audit=False,
    ...     panel=Panel(own=("weight-norm",), label_free=(), shared=()))
    >>> table.where(stage="loss-0.1").array("own/weight-norm", "noise", "seed").shape
    (3, 2)
    """
    split, noise = digits() if split is None else split, tuple(map(float, several(noise, "noise", "float")))
    if not recipes or len(noise) < 2 or list(noise) != sorted(set(noise)):
        raise LandscapeError(
            f"{len(recipes)} recipes, noise {noise}; expected at least one recipe and two ascending noise levels"
        )
    goals: dict[str, Goal | int] = {f"loss-{loss:g}": LossGoal(loss) for loss in several(losses, "losses", "float")}
    goals |= {} if epoch is None else {f"epoch-{epoch}": epoch}
    goals |= {} if norm is None else {f"norm-{norm:g}": NormGoal(norm)}
    audited = [recipes[0].name, seeds[0]] if audit else []
    ends = (noise[0], noise[-1]) if audit else ()
    at_loss = [name for name in goals if name.startswith("loss-")]
    epochs = epoch_grid(max(recipe.max_epochs for recipe in recipes))
    return grid(
        functools.partial(_measure, split, factory, goals, noise, panel, ends, recipes[0].name, seeds[0]),
        {"recipe": {recipe.name: recipe for recipe in recipes}, "noise": noise, "seed": seeds},
        name=STUDY.name,
        settings=protocol(factory, split, recipes=recipes, noise=noise, goals=goals, panel=panel, audited=audited),
        also=("stage",),
        parts=("recipe", "stage"),
        arrays=CURVES,
        coordinates={**panel.coordinates, **dict.fromkeys(CURVES, epochs)},
        effects=functools.partial(_effects, scores=panel.names),
        findings=_findings,
        placebo=_placebo,
        shown=("train/loss", "train/accuracy", "test/error", "step", *panel.names),
        geometric=panel.names,
        words={recipe.name: recipe.long_name for recipe in recipes} | {"noise": "p", f"{CURVES[0]} over": "epoch"},
        view={**view_of(panel.names, "recipe"), "where": {"stage": (at_loss or list(goals))[-1]}},
        workers=workers,
        save=save,
    )


def _measure(
    split: Split,
    factory: ModelFactory,
    goals: Mapping[str, Goal | int],
    levels: Sequence[float],
    panel: Panel,
    ends: Sequence[float],
    audited: str,
    first: int,
    *,
    recipe: Recipe,
    noise: float,
    seed: int,
) -> list[dict[str, Any]]:
    """Train one network and measure it at every place; audit one without noise and one with the most."""
    noisy = dataclasses.replace(recipe, label_noise=noise)
    rows = measured_run(noisy, split, factory, seed, goals, levels, panel)
    if (recipe.name, seed) == (audited, first) and noise in ends:
        checkpoint = as_checkpoint(train(noisy, split, factory, seed=seed), factory)
        objective = checkpoint.objective()
        defined = [name for name, (row, *_) in score_rows(objective, PRIMARY, seed, checkpoint).items() if row.defined]
        rows[0] |= audit_columns(f"{recipe.name}-p-{noise:g}", objective, defined, seed)
    return rows


def _parts(trials: Trials) -> Iterator[Trials]:
    for recipe in trials.levels("recipe"):
        for stage in trials.levels("stage"):
            yield trials.where(recipe=recipe, stage=stage)


def _effects(trials: Trials, scores: Sequence[str]) -> list[Effect]:
    return [effect for part in _parts(trials) for effect in noise_trends(part, scores)]


def _findings(trials: Trials) -> Iterator[Finding]:
    for part in _parts(trials):
        place = f"{trials.words[part.levels('recipe')[0]]} at {part.levels('stage')[0].replace('-', ' ')}"
        yield noise_verdict(part, part.effects, place, descriptive=tuple(failed(trials.audited)))
    yield Finding("audit", in_words(trials.audited))
    if trials.placebo is not None:
        for label, text in trials.placebo.summary():
            if label in ("false alarms", "power"):
                yield Finding(f"placebo, {label}", text)


def _placebo(trials: Trials) -> Placebo | None:
    """The placebo of the tightest loss among runs without noise, where there are enough of them."""
    at_loss = [name for name in trials.levels("stage") if name.startswith("loss-")]
    wanted = {name: f"own/{name}" for name in PRIMARY}
    if not at_loss or any(name not in trials.measures for name in wanted.values()):
        return None
    recipe, noise = trials.levels("recipe")[0], trials.levels("noise")
    runs = trials.where(recipe=recipe, noise=noise[0], stage=at_loss[-1])
    scores = {name: runs.array(of, "seed").reshape(len(runs), -1) for name, of in wanted.items()}
    if any(len(values) < 4 or not (np.nan_to_num(values, nan=1.0) > 0).all() for values in scores.values()):
        return None
    return trend_placebo(scores, recipe=recipe, levels=len(noise))


STUDY = Experiment(
    name="randomisation-table",
    question="Are minima the sharper the more labels are random, at matched loss, for SGD and for momentum?",
    function=randomisation_table,
    quick={
        "factory": functools.partial(mlp, (64, 32, 10)),
        "split": digits(train=150),
        "recipes": [dataclasses.replace(recipe, lr=4 * recipe.lr) for recipe in RECIPES[:1]],
        "noise": (0.0, 0.4, 1.0),
        "seeds": (0, 1),
        "losses": (0.05,),
        "epoch": 20,
        "norm": None,
        "audit": False,
    },
)
