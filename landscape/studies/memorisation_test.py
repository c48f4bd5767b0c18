"""Is mine just memorising? The same network on true and on random labels, and what the difference says."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from landscape.arguments import numbers_checked
from landscape.comparison import PRIMARY
from landscape.errors import NotDefinedError
from landscape.results.randomisation import TIME_TO_FIT, Condition, Contrast, MemorisationTest, Randomisation
from landscape.statistics import bootstrap_interval, permutation_test
from landscape.studies.evaluations import Panel
from landscape.studies.randomisation import RECIPE, run_conditions
from landscape.training.recipes import Recipe
from landscape.training.runs import ModelFactory

PANEL = Panel(own=(*PRIMARY, "trace", "weight-norm"), label_free=("kl-radius", "input-jacobian"))
CONDITIONS = (
    Condition("true-labels", "true labels", "true", 0.0),
    Condition("random-labels", "random labels", "true", 1.0),
)
DOES_NOT_SAY = (
    "that the network memorises when it is trained on true labels, that sharp minima generalise badly, or that flat ones "
    "generalise well: every network large enough fits noise, and what it does with true labels is seen in its test error"
)


@numbers_checked
def memorisation_test(
    factory: ModelFactory,
    data: Any,
    *,
    recipe: Recipe = RECIPE,
    seeds: Sequence[int] = tuple(range(6)),
    panel: Panel = PANEL,
    workers: int = 1,
    save: str | os.PathLike[str] | None = None,
) -> MemorisationTest:
    r"""Retrain a network on random labels: can it fit noise, how much slower, and into how much sharper minima.

    Each seed trains one network on the true labels and one on labels drawn uniformly, to the same training loss and with
    the same settings. Time to fit, test error and scores at that loss are compared over seeds by an exact permutation
    test; the clean part are the examples whose random label happens to be the true one, so that both networks are
    measured on the same labels there.

    Args:
        factory: called with ``seed=seed``.
        data: a `Split` or ``((X, y), (X_test, y_test))``.
        recipe: how to train; give it a `max_epochs` that random labels may need.
        seeds: one pair of runs a seed; fewer than six give no p values.
        panel: scores by evaluation.
        workers: processes.
        save: a study file; the result is stored there as ``memorisation-test``.

    Returns:
        `MemorisationTest`: ``.says``, ``.does_not_say``, ``.table()``.

    Raises:
        LandscapeError: a factory or data that cannot be used, or a study with runs of other settings.

    Source: C. Zhang et al. 2017 (arXiv 1611.03530), section 2; the test over seeds is this package's.

    >>> import functools
    >>> from landscape.datasets import digits
    >>> from landscape.experiments import get_recipe
    >>> from landscape.models import mlp
    >>> quick = get_recipe("momentum", lr=0.1, examples=40, target=0.1)
    >>> found = memorisation_test(functools.partial(mlp, (64, 16, 10)), digits(train=100), recipe=quick, seeds=(0, 1),
    ...     panel=Panel(own=("weight-norm",), label_free=(), shared=()))
    >>> found.fits, found.contrast("own/weight-norm").ratio > 1
    (1.0, True)
    """
    runs = run_conditions(
        "memorisation-test-runs", factory, data, CONDITIONS, seeds=seeds, recipe=recipe, panel=panel, workers=workers, save=save
    )  # fmt: skip
    result = conclusion(runs)
    if save is not None:
        result.save(save, "memorisation-test", overwrite=True)
    return result


def conclusion(runs: Randomisation) -> MemorisationTest:
    """Compare the runs on random with those on true labels and put the outcome into words.

    Args:
        runs: with conditions ``true-labels`` and ``random-labels``.
    """
    true, random = runs.place("true-labels"), runs.place("random-labels")
    quantities = {
        TIME_TO_FIT: runs.lengths[TIME_TO_FIT],
        "test error": runs.metrics["test/error"],
        **{name: runs.values(name) for name in runs.scores if not name.startswith("corrupted/")},
    }
    contrasts = [_contrast(name, values[true], values[random]) for name, values in quantities.items()]
    found = tuple(row for row in contrasts if row is not None)
    reached = runs.metrics["reached"]
    return MemorisationTest(
        fits=float(reached[random].mean()),
        contrasts=found,
        says=_says(runs, found, true, random),
        does_not_say=DOES_NOT_SAY,
        runs=runs,
        provenance=dict(runs.provenance),
        seconds=runs.seconds,
    )


def _contrast(name: str, true: np.ndarray, random: np.ndarray) -> Contrast | None:
    """Compare two arms by the ratio of their geometric means; None where a value is missing or not positive."""
    arms = [values[np.isfinite(values)] for values in (true, random)]
    if any(not len(values) or (values <= 0).any() for values in arms):
        return None
    a, b = (np.log10(values) for values in arms)
    low = high = np.nan
    if min(len(a), len(b)) > 1:
        interval = bootstrap_interval(a, b)
        low, high = 10**interval.low, 10**interval.high
    try:
        p_value = permutation_test(a, b).p_value
    except NotDefinedError:
        p_value = None
    means = 10 ** a.mean(), 10 ** b.mean()
    return Contrast(
        name, float(means[0]), float(means[1]), float(means[1] / means[0]), float(low), float(high), p_value
    )


def _says(runs: Randomisation, contrasts: Sequence[Contrast], true: int, random: int) -> str:
    rows = {row.quantity: row for row in contrasts}
    reached, seeds = int(runs.metrics["reached"][random].sum()), len(runs.seeds)
    parts = []
    if reached == seeds:
        parts.append(f"the network can memorise: it fits random labels in all {seeds} seeds")
    else:
        end = runs.metrics["train/accuracy"][random].mean()
        parts.append(
            f"the network fits random labels in {reached} of {seeds} seeds within the epochs it was given "
            f"(training accuracy {end:.1%} at the end)"
        )
    if TIME_TO_FIT in rows:
        parts.append(f"it takes × {rows[TIME_TO_FIT].ratio:.2f} the steps")
    errors = runs.metrics["test/error"].mean(axis=1)
    parts.append(f"its test error is {errors[random]:.1%} instead of {errors[true]:.1%}")
    primary = [rows[f"own/{name}"] for name in PRIMARY if f"own/{name}" in rows]
    if primary:
        sharper = ", ".join(f"{row.quantity.partition('/')[2]} × {row.ratio:.2f}" for row in primary)
        word = "sharper" if all(row.low > 1 for row in primary) else "not clearly sharper"
        parts.append(f"at the same loss the minima on random labels are {word} ({sharper})")
    return "; ".join(parts)
