"""SGD against momentum at one loss, in both matchings, and each against its own threshold of stability."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from landscape.comparison import PRIMARY, facts, judge
from landscape.comparison.audits import audit_columns
from landscape.comparison.judge import fact_row
from landscape.datasets import Split, digits
from landscape.errors import LandscapeError
from landscape.models import mlp
from landscape.results import Finding, Trials
from landscape.results.scores import score_columns
from landscape.scores import select, sharpness
from landscape.scores.stability import threshold
from landscape.studies.evaluations import score_rows
from landscape.studies.grid import Row, grid, protocol
from landscape.studies.registry import Experiment, published
from landscape.tables import spread
from landscape.training import ModelFactory, Recipe, as_checkpoint, get_recipe, train
from landscape.workers import Workers

NETWORK = functools.partial(mlp, (64, 128, 128, 10))
RECIPES = tuple(get_recipe(name, target=0.001, max_epochs=4000) for name in ("sgd", "momentum", "momentum-matched"))
SCORES = (*PRIMARY, "trace", "relative-flatness", "fisher-rao", "kl-radius", "weight-norm", "margin", "gradient-norm")
RELATIVE = ("lambda-max", "lambda-max / threshold", "batch sharpness", "batch sharpness / threshold")
"""Curvature, raw and in units of what the optimiser can bear."""


@published
def optimisers(
    factory: ModelFactory = NETWORK,
    split: Any = None,
    *,
    recipes: Sequence[Recipe] = RECIPES,
    seeds: Sequence[int] = tuple(range(8)),
    scores: Sequence[str] = SCORES,
    margin: float = 0.05,
    workers: Workers = 1,
    save: str | os.PathLike[str] | None = None,
) -> Trials:
    r"""Train with several optimisers to one loss and ask which minima are sharper, raw and relative to stability.

    Momentum is matched to SGD in both ways, by the learning rate η and by η/(1 − β). The verdict on raw sharpness is that
    of `landscape.compare`: gates, three primary scores, exact permutation tests over seeds, Holm's correction,
    equivalence within `margin`. Beside it stand λmax and batch sharpness in units of the threshold
    :math:`(2 + 2\beta)/\eta` of each optimiser: dynamics alone keep an optimiser below its own threshold, so that a
    difference of thresholds has to be taken into account before a difference of minima is claimed.

    Args:
        split: a `Split` or ``((X, y), (X_test, y_test))``; `None`: the digits.
        recipes: the optimisers, the reference first, all to one `target`.
        scores: slugs; the three primary ones are needed for a verdict.
        margin: half-width of equivalence in log10 S.

    Returns:
        `Trials` by recipe and seed, with the verdicts in its ``comparison``.

    Source: thresholds Cohen et al. 2021 (arXiv 2103.00065), appendix B; batch sharpness Andreyev and Beneventano 2024
    (arXiv 2412.20553).

    >>> from landscape.experiments import get_recipe
    >>> quick = [get_recipe(name, lr=0.1, examples=40, target=0.1) for name in ("sgd", "momentum")]
    >>> small = functools.partial(mlp, (64, 16, 10))
    >>> found = optimisers(small, digits(train=100), recipes=quick, seeds=(0, 1), scores=["weight-norm"])
    >>> found.by("recipe")["threshold"]
    array([20., 38.])
    """
    split, targets = digits() if split is None else split, {recipe.target for recipe in recipes}
    if len(recipes) < 2 or len(targets) > 1:
        raise LandscapeError(
            f"{len(recipes)} recipes to targets {sorted(targets)}; expected two recipes or more, and one target"
        )
    definitions = select(list(scores))
    names = [definition.slug for definition in definitions]
    primary = [name for name in PRIMARY if name in names]
    return grid(
        functools.partial(_measure, split, factory, names, seeds[0]),
        {"recipe": {recipe.name: recipe for recipe in recipes}, "seed": seeds},
        name=STUDY.name,
        settings=protocol(factory, split, recipes=recipes, scores=names, audited=seeds[0]),
        attributes={"recipe": {"η": "lr", "β": "momentum", "batch size": "batch_size"}},
        coordinates={d.slug: np.array(d.radii) for d in definitions if d.radii},
        comparison=functools.partial(judge, scores=names, margin=margin),
        findings=_findings,
        shown=("threshold", "train/loss", "train/accuracy", "test/loss", "test/error", "epoch", "step", *RELATIVE, *names),
        words={recipe.name: recipe.long_name for recipe in recipes} | {"threshold": "threshold (2 + 2β)/η"},
        view={"x": "recipe", "hue": "recipe", "y": [*primary, *RELATIVE[:2], RELATIVE[3]], "join": "seed",
              "margin": dict.fromkeys((*primary, RELATIVE[0]), margin), "level": {RELATIVE[1]: 1.0, RELATIVE[3]: 1.0}},
        workers=workers,
        save=save,
    )  # fmt: skip


def _measure(
    split: Split, factory: ModelFactory, scores: Sequence[str], audited: int, *, recipe: Recipe, seed: int
) -> Row:
    """Train one network and measure it: what `compare` looks at, and the curvature relative to the threshold."""
    run = train(recipe, split, factory, seed=seed)
    checkpoint = as_checkpoint(run, factory)
    objective = checkpoint.objective()
    rows = score_rows(objective, scores, seed, checkpoint)
    panel = sharpness(objective, ["lambda-max", "stability", "batch-sharpness"], checkpoint=checkpoint)
    limit, batch = threshold(recipe.lr, recipe.momentum), panel["batch-sharpness"].value
    curvatures = (panel["lambda-max"].value, panel["stability"].value, batch * limit, batch)
    found: dict[str, Any] = {**run.measures, "threshold": limit, **fact_row(facts(objective, checkpoint.init), seed)}
    for definition in select(list(scores)):
        found |= score_columns(definition.slug, (row for row in rows[definition.slug] if row.defined), definition.radii)
    found |= dict(zip(RELATIVE, curvatures if run.reached else [np.nan] * 4, strict=True))
    if seed == audited:
        found |= audit_columns(recipe.name, objective, [n for n in PRIMARY if n in scores and rows[n][0].defined], seed)
    return found


def _findings(trials: Trials) -> Iterator[Finding]:
    assert trials.comparison is not None
    yield Finding("seeds", str(len(trials.levels("seed"))))
    for verdict in trials.comparison.verdicts:
        yield Finding(f"{verdict.b} against {verdict.a}", verdict.text, verdict.verdict)
    for recipe in trials.levels("recipe"):
        arm, label = trials.where(recipe=recipe), trials.words[recipe]
        raw, share, batch, batch_share = (spread(arm[name]) for name in RELATIVE)
        if not arm.met.any():
            yield Finding(label, f"none of {len(arm)} runs reached the target")
            continue
        yield Finding(
            label,
            f"λmax {raw} is {share} of its threshold {arm['threshold'][0]:.4g}; batch sharpness {batch} is {batch_share} of it",
        )


STUDY = Experiment(
    name="optimisers",
    question="Does momentum end in flatter minima than SGD, at one loss and against its own edge of stability?",
    function=optimisers,
    quick={
        "factory": functools.partial(mlp, (64, 32, 10)),
        "split": digits(train=150),
        "recipes": [dataclasses.replace(recipe, lr=4 * recipe.lr, target=0.05) for recipe in RECIPES],
        "seeds": (0, 1),
    },
)
