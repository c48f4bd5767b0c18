"""SGD against momentum at one loss, in both matchings, and each against its own threshold of stability."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from landscape.arguments import numbers_checked, several_seeds
from landscape.comparison import PRIMARY, Facts, facts, judge
from landscape.comparison.audits import audit_recipes
from landscape.datasets import Split, digits
from landscape.errors import LandscapeError
from landscape.models import mlp
from landscape.results.comparison import Audited, Comparison
from landscape.results.optimisers import Optimisers
from landscape.scores import select, sharpness
from landscape.scores.stability import threshold
from landscape.studies.evaluations import score_rows, summary_of
from landscape.training.checkpoints import as_checkpoint
from landscape.training.factories import as_split, check_factory
from landscape.training.jobs import Row, finished_rows, run_jobs
from landscape.training.recipes import Recipe, as_recipes, get_recipe
from landscape.training.runs import ModelFactory, describe_model
from landscape.training.train import train

NETWORK = functools.partial(mlp, (64, 128, 128, 10))
RECIPES = tuple(get_recipe(name, target=0.001, max_epochs=4000) for name in ("sgd", "momentum", "momentum-matched"))
SCORES = (*PRIMARY, "trace", "relative-flatness", "fisher-rao", "kl-radius", "weight-norm", "margin", "gradient-norm")
RELATIVE = ("lambda-max", "stability", "batch-sharpness")


@numbers_checked
def optimisers(
    factory: ModelFactory = NETWORK,
    split: Any = None,
    *,
    recipes: Sequence[Recipe] = RECIPES,
    seeds: Sequence[int] = tuple(range(8)),
    scores: Sequence[str] = SCORES,
    margin: float = 0.05,
    workers: int = 1,
    save: str | os.PathLike[str] | None = None,
) -> Optimisers:
    r"""Train with several optimisers to one loss and ask which minima are sharper, raw and relative to stability.

    Momentum is matched to SGD in both ways, by the learning rate η and by η/(1 − β). The verdict on raw sharpness is that
    of `landscape.compare`: gates, three primary scores, exact permutation tests over seeds, Holm's correction,
    equivalence within `margin`. Beside it stand λmax and batch sharpness in units of the threshold
    :math:`(2 + 2\beta)/\eta` of each optimiser: dynamics alone keep an optimiser below its own threshold, so that a
    difference of thresholds has to be taken into account before a difference of minima is claimed.

    Args:
        factory: called with ``seed=seed``.
        split: a `Split` or ``((X, y), (X_test, y_test))``; `None`: the digits.
        recipes: the optimisers, the reference first, all to one `target`.
        seeds: one run a recipe and seed.
        scores: slugs; the three primary ones are needed for a verdict.
        margin: half-width of equivalence in log10 S.
        workers: processes.
        save: a study file; the result is stored there as ``optimisers``, and finished runs are kept beside it until then.

    Returns:
        `Optimisers`.

    Raises:
        LandscapeError: fewer than two recipes, several targets, an unknown score, a factory or data that cannot be used,
            or a study with runs of other settings.

    Source: thresholds Cohen et al. 2021 (arXiv 2103.00065), appendix B; batch sharpness Andreyev and Beneventano 2024
    (arXiv 2412.20553).

    >>> from landscape.experiments import get_recipe
    >>> quick = [get_recipe(name, lr=0.1, examples=40, target=0.1) for name in ("sgd", "momentum")]
    >>> small = functools.partial(mlp, (64, 16, 10))
    >>> found = optimisers(small, digits(train=100), recipes=quick, seeds=(0, 1), scores=["weight-norm"])
    >>> found.thresholds
    array([20., 38.])
    """
    split = digits() if split is None else as_split(split)
    check_factory(factory, split.train[0][:2], classes=split.classes)
    recipes, seeds = as_recipes(recipes), several_seeds(seeds)
    if len(recipes) < 2 or not seeds or len({recipe.target for recipe in recipes}) > 1:
        raise LandscapeError(
            f"{len(recipes)} recipes and {len(seeds)} seeds to targets {sorted({one.target for one in recipes})}; expected "
            "two recipes or more, one seed or more, and one target"
        )
    names = tuple(definition.slug for definition in select(list(scores)))
    jobs: dict[str, tuple[Any, ...]] = {
        f"{recipe.name}/{seed}": (recipe, split, factory, seed, names, seed == seeds[0])
        for seed in seeds
        for recipe in recipes
    }
    settings = {
        "model": describe_model(factory),
        "data": split.fingerprint,
        "recipes": [dataclasses.asdict(recipe) for recipe in recipes],
        "scores": list(names),
        "audited": seeds[0],
    }
    with finished_rows(save, "optimisers", settings) as done:
        run_jobs(trained_and_scored, jobs, done, workers=workers)
        result = _assembled(done, recipes, seeds, names, margin)
        return done.conclude(result)


def trained_and_scored(
    recipe: Recipe, split: Split, factory: ModelFactory, seed: int, scores: Sequence[str], audited: bool
) -> Row:
    """Train one network and measure it: what `compare` looks at, and the curvature relative to the threshold.

    Args:
        recipe: how to train.
        split: the data.
        factory: called with ``seed=seed``.
        seed: of the run.
        scores: slugs.
        audited: put the network through the transformations of the invariance audit as well.
    """
    run = train(recipe, split, factory, seed=seed)
    checkpoint = as_checkpoint(run, factory)
    objective = checkpoint.objective()
    width = max(1, *(len(definition.radii) for definition in select(list(scores))))
    rows = score_rows(objective, scores, 0, checkpoint)
    relative = sharpness(objective, list(RELATIVE), checkpoint=checkpoint)
    found: dict[str, Any] = {**summary_of(run), **{f"fact/{key}": v for key, v in vars(facts(objective)).items()}}
    for key, of in (("value", lambda row: row.value), ("error", lambda row: row.standard_error)):
        for name in scores:
            values = [of(row) for row in rows[name] if row.defined]
            padded = [*values, *[None] * (width - len(values))]
            found[f"{key}/{name}"] = np.array([np.nan if value is None else value for value in padded])
    found |= {f"relative/{name}": relative[name].value for name in RELATIVE}
    if audited:
        defined = [name for name in PRIMARY if name in scores and rows[name][0].defined]
        audit = audit_recipes({recipe.name: objective}, defined, seed) if defined else []
        found |= {
            f"audit/{f.name}": np.array([getattr(row, f.name) for row in audit]) for f in dataclasses.fields(Audited)
        }
    return found


def _assembled(
    done: Mapping[str, Row], recipes: Sequence[Recipe], seeds: Sequence[int], scores: Sequence[str], margin: float
) -> Optimisers:
    def stacked(column: str) -> np.ndarray:
        return np.array([[done[f"{one.name}/{seed}"][column] for seed in seeds] for one in recipes], dtype=np.float64)

    metrics = {
        name: stacked(name)
        for name in ("train/loss", "train/accuracy", "test/loss", "test/error", "epoch", "step", "reached")
    }
    there = metrics["reached"] > 0
    limits = np.array([threshold(one.lr, one.momentum) for one in recipes])
    raw = {name: np.where(there, stacked(f"relative/{name}"), np.nan) for name in RELATIVE}
    return Optimisers(
        recipes=tuple(one.name for one in recipes),
        long_names=tuple(one.long_name for one in recipes),
        lr=np.array([one.lr for one in recipes]),
        momentum=np.array([one.momentum for one in recipes]),
        batch_size=np.array([one.batch_size for one in recipes]),
        thresholds=limits,
        seeds=np.array(seeds),
        relative={
            "lambda-max": raw["lambda-max"],
            "lambda-max / threshold": raw["stability"],
            "batch sharpness": raw["batch-sharpness"] * limits[:, None],
            "batch sharpness / threshold": raw["batch-sharpness"],
        },
        metrics=metrics,
        comparison=_compared(done, recipes, seeds, scores, margin, there, stacked),
        target=recipes[0].target,
    )


def _compared(
    done: Mapping[str, Row],
    recipes: Sequence[Recipe],
    seeds: Sequence[int],
    scores: Sequence[str],
    margin: float,
    there: np.ndarray,
    stacked: Any,
) -> Comparison:
    """Apply the rules of `compare` to rows that were measured before."""
    values, errors = (np.stack([stacked(f"{key}/{name}") for name in scores], axis=2) for key in ("value", "error"))
    values[~there] = np.nan
    audited = [
        Audited(*(row[f"audit/{field.name}"][i].item() for field in dataclasses.fields(Audited)))
        for row in (done[f"{one.name}/{seeds[0]}"] for one in recipes)
        for i in range(len(row.get("audit/score", ())))
    ]
    known = [
        [
            Facts(**{f.name: done[f"{one.name}/{seed}"][f"fact/{f.name}"] for f in dataclasses.fields(Facts)})
            for seed in seeds
        ]
        for one in recipes
    ]
    radii = np.full((len(scores), values.shape[-1]), np.nan)
    for i, definition in enumerate(select(list(scores))):
        radii[i, : len(definition.radii)] = definition.radii
    names = {one.name: one.long_name for one in recipes}
    fit = {name: stacked(name) for name in ("train/loss", "train/accuracy", "test/loss", "test/error")}
    return judge(names, scores, radii, values, errors, known, fit, audited=audited, margin=margin)
