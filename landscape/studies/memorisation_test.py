"""Is mine just memorising? The same network on true and on random labels, and what the difference says."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from landscape.comparison import PRIMARY
from landscape.results.effects import Effect, Finding
from landscape.results.trials import Trials
from landscape.studies.evaluations import Panel
from landscape.studies.randomisation import RECIPE, TIME_TO_FIT, Condition, run_conditions
from landscape.studies.registry import published
from landscape.training.recipes import Recipe
from landscape.training.runs import ModelFactory
from landscape.workers import Workers

PANEL = Panel(own=(*PRIMARY, "trace", "weight-norm"), label_free=("kl-radius", "input-jacobian"))
CONDITIONS = (
    Condition("true-labels", "true labels", "true", 0.0),
    Condition("random-labels", "random labels", "true", 1.0),
)
DOES_NOT_SAY = (
    "that the network memorises when it is trained on true labels, that sharp minima generalise badly, or that flat ones "
    "generalise well: every network large enough fits noise, and what it does with true labels is seen in its test error"
)


@published
def memorisation_test(
    factory: ModelFactory,
    data: Any,
    *,
    recipe: Recipe = RECIPE,
    seeds: Sequence[int] = tuple(range(6)),
    panel: Panel = PANEL,
    workers: Workers = 1,
    save: str | os.PathLike[str] | None = None,
) -> Trials:
    r"""Retrain a network on random labels: can it fit noise, how much slower, and into how much sharper minima.

    Each seed trains one network on the true labels and one on labels drawn uniformly, to the same training loss and with
    the same settings. Time to fit, test error and scores at that loss are compared over seeds by an exact permutation
    test; the clean part are the examples whose random label happens to be the true one, so that both networks are
    measured on the same labels there.

    Args:
        data: a `Split` or ``((X, y), (X_test, y_test))``.
        recipe: how to train; give it a `max_epochs` that random labels may need.
        seeds: one pair of runs per seed; fewer than six give no p values.
        panel: scores by evaluation.

    Returns:
        `Trials` with the findings ``says`` and ``does not say``, and the effect of random labels on every quantity.

    Source: C. Zhang et al. 2017 (arXiv 1611.03530), section 2; the test over seeds is this package's.

    >>> import functools
    >>> from landscape.datasets import digits
    >>> from landscape.experiments import get_recipe
    >>> from landscape.models import mlp
    >>> quick = get_recipe("momentum", lr=0.1, examples=40, target=0.1)
    >>> found = memorisation_test(functools.partial(mlp, (64, 16, 10)), digits(train=100), recipe=quick, seeds=(0, 1),
    ...     panel=Panel(own=("weight-norm",), label_free=(), shared=()))
    >>> found.met.all(), found.effect("own/weight-norm").ratio > 1
    (np.True_, True)
    """
    return run_conditions(
        "memorisation-test", factory, data, CONDITIONS, seeds=seeds, recipe=recipe, panel=panel, workers=workers, save=save,
        effects=_effects, view={"effects": True}, findings=_findings,
    )  # fmt: skip


def _effects(trials: Trials) -> list[Effect]:
    """Compare time to fit, test error and scores on random with those on true labels, where they are positive."""
    scores = [name for name in trials.measures if name.startswith(("own/", "label-free/", "clean/"))]
    found = []
    for name in (TIME_TO_FIT, "test/error", *scores):
        values = trials.array(trials[name], "condition", "seed")
        if all(np.isfinite(arm).any() for arm in values) and (values[np.isfinite(values)] > 0).all():
            whole = trials.replace(measures={k: v for k, v in trials.measures.items() if k != "reached"})
            found.append(whole.contrast(name, "condition"))  # steps and test error of runs that missed the target count
    return found


def _findings(trials: Trials) -> Iterator[Finding]:
    """Say what the difference means, and what it does not."""
    effects, random = {row.measure: row for row in trials.effects}, trials.where(condition="random-labels")
    reached, seeds = int(random.met.sum()), len(random)
    if reached == seeds:
        parts = [f"the network can memorise: it fits random labels in all {seeds} seeds"]
    else:
        parts = [
            f"the network fits random labels in {reached} of {seeds} seeds within the epochs it was given "
            f"(training accuracy {random['train/accuracy'].mean():.1%} at the end)"
        ]
    if TIME_TO_FIT in effects:
        parts.append(f"it takes × {effects[TIME_TO_FIT].ratio:.2f} the steps")
    errors = trials.array("test/error", "condition", "seed").mean(axis=1)
    parts.append(f"its test error is {errors[1]:.1%} instead of {errors[0]:.1%}")
    primary = [effects[f"own/{name}"] for name in PRIMARY if f"own/{name}" in effects]
    if primary:
        sharper = ", ".join(f"{row.measure.partition('/')[2]} × {row.ratio:.2f}" for row in primary)
        word = "sharper" if all(row.low > 0 for row in primary) else "not clearly sharper"
        parts.append(f"at the same loss the minima on random labels are {word} ({sharper})")
    yield Finding("says", "; ".join(parts))
    yield Finding("does not say", DOES_NOT_SAY)
    for row in trials.effects:
        yield Finding(row.measure, f"{row.change} {row.interval} on random labels")
