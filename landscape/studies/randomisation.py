"""Can it fit noise? True, corrupted and random labels; shuffled, random and Gaussian inputs (Zhang et al. 2017).

`memorisation_test` asks the same of true and random labels alone, with what the difference says and what it does not.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape.arguments import several
from landscape.comparison import PRIMARY
from landscape.datasets import Split, digits
from landscape.errors import LandscapeError
from landscape.models import mlp
from landscape.results import Effect, Finding, Trials
from landscape.studies.evaluations import CURVES, FITS, Panel, epoch_grid, measured_run
from landscape.studies.grid import grid, protocol
from landscape.studies.registry import Experiment, published
from landscape.training import LossGoal, ModelFactory, Recipe, as_split, get_recipe
from landscape.workers import Workers

NETWORK = functools.partial(mlp, (64, 128, 128, 10))
PANEL = Panel()
RECIPE = get_recipe("sgd", max_epochs=4000)
NOISE = (0.2, 0.4, 0.6, 0.8)
TIME_TO_FIT = "steps to accuracy 1"
FEW = Panel(own=(*PRIMARY, "trace", "weight-norm"))
DOES_NOT_SAY = (
    "that the network memorises when it is trained on true labels, that sharp minima generalise badly, or that flat ones "
    "generalise well: every network large enough fits noise, and what it does with true labels is seen in its test error"
)
"""What a `memorisation_test` does not say."""


@dataclass(frozen=True)
class Condition:
    """How the training data were treated: the inputs as `Recipe` has them, and the probability that a label was redrawn."""

    name: str
    long_name: str
    inputs: str
    noise: float


TRUE = Condition("true-labels", "true labels", "true", 0.0)
RANDOM = Condition("random-labels", "random labels", "true", 1.0)
INPUTS = (
    Condition("shuffled-pixels", "shuffled pixels", "shuffled-pixels", 0.0),
    Condition("random-pixels", "random pixels", "random-pixels", 0.0),
    Condition("gaussian", "Gaussian inputs", "gaussian", 0.0),
)


@published
def randomisation(
    factory: ModelFactory = NETWORK,
    split: Any = None,
    *,
    noise: Sequence[float] = NOISE,
    seeds: Sequence[int] = (0, 1),
    recipe: Recipe = RECIPE,
    panel: Panel = PANEL,
    workers: Workers = 1,
    save: str | os.PathLike[str] | None = None,
) -> Trials:
    r"""Train one network on real and on randomised data, with unchanged settings, and measure it at matched loss.

    Six conditions: true labels; labels corrupted with each probability p in `noise`; random labels (p = 1); one
    permutation of pixels for all images; another permutation for every image; Gaussian inputs of the same mean and
    variance. What is redrawn is drawn once per seed and kept. Every run ends at the recipe's cross-entropy and accuracy; its
    scores are measured there in three ways (see `landscape.studies.evaluations`). A run that never gets there is
    reported so, and its scores are left out.

    Args:
        factory: called with ``seed=seed``; your network, for inputs as the split has them.
        split: a `Split` or ``((X, y), (X_test, y_test))``; `None`: the digits.
        noise: probabilities of corruption strictly between 0 and 1, ascending.
        recipe: how to train, the same in all conditions.
        panel: scores by evaluation.

    Returns:
        `Trials` by condition and seed: fit and test error, steps to an accuracy or a loss, and scores as
        ``evaluation/score``, with the learning curves beside them.

    Source: C. Zhang et al., *Understanding deep learning requires rethinking generalization*, 2017 (arXiv 1611.03530),
    section 2.1 and figure 1.

    >>> from landscape.experiments import get_recipe
    >>> quick = get_recipe("momentum", lr=0.1, examples=40, target=0.1)
    >>> found = randomisation(functools.partial(mlp, (64, 16, 10)), digits(train=100), noise=(), seeds=(0,), recipe=quick,
    ...     panel=Panel(own=("weight-norm",), label_free=(), shared=()))
    >>> found.levels("condition")
    ('true-labels', 'random-labels', 'shuffled-pixels', 'random-pixels', 'gaussian')
    >>> found["train/accuracy"].min()
    np.float64(1.0)
    """
    noise = several(noise, "noise", "float")
    if any(not 0 < p < 1 for p in noise) or list(noise) != sorted(set(noise)):
        raise LandscapeError(
            f"noise is {tuple(noise)}; expected ascending probabilities between 0 and 1, ends excluded"
        )
    corrupted = [Condition(f"corrupted-{p:g}", f"labels corrupted, p = {p:g}", "true", float(p)) for p in noise]
    return run_conditions(
        STUDY.name, factory, split, [TRUE, *corrupted, RANDOM, *INPUTS], seeds=seeds, recipe=recipe, panel=panel,
        workers=workers, save=save, view=view_of(panel.names, "inputs"), findings=_findings,
    )  # fmt: skip


def run_conditions(
    name: str,
    factory: ModelFactory,
    split: Split | None,
    conditions: Sequence[Condition],
    *,
    seeds: Sequence[int],
    recipe: Recipe,
    panel: Panel,
    **options: Any,
) -> Trials:
    """Train and measure one network per condition and seed; options are those of `grid`."""
    split = digits() if split is None else split
    levels = tuple(sorted({one.noise for one in conditions}))
    return grid(
        functools.partial(_measure, recipe, split, factory, levels, panel),
        {"condition": {one.name: one for one in conditions}, "seed": seeds},
        name=name,
        settings=protocol(factory, split, recipe=recipe, levels=levels, panel=panel),
        attributes={"condition": {"inputs": "inputs", "noise": "noise"}},
        also=("stage",),
        arrays=CURVES,
        coordinates={**panel.coordinates, **dict.fromkeys(CURVES, epoch_grid(recipe.max_epochs))},
        shown=("train/accuracy", "test/error", *FITS, *panel.names),
        geometric=panel.names,
        words={one.name: one.long_name for one in conditions}
        | {"noise": "share of labels redrawn, p", f"{CURVES[0]} over": "epoch"},
        **options,
    )


DRAWN = (*PRIMARY, "kl-radius", "weight-norm", "trace")
"""Scores in the figure of a noise grid, which is to fit a page; tables hold all."""


def view_of(names: Sequence[str], hue: str) -> dict[str, Any]:
    """Return the figure of a noise grid: time to fit, test error, and the scores of `DRAWN` in all their evaluations."""
    scores: dict[str, list[str]] = {}
    for name in [name for name in names if name.partition("/")[2] in DRAWN] or names:
        scores.setdefault(name.partition("/")[2], []).append(name)
    return {"x": "noise", "hue": hue, "y": [CURVES[0], TIME_TO_FIT, "test/error", *scores.values()]}


def _measure(
    recipe: Recipe,
    split: Split,
    factory: ModelFactory,
    levels: Sequence[float],
    panel: Panel,
    *,
    condition: Condition,
    seed: int,
) -> list[dict[str, Any]]:
    treated = dataclasses.replace(recipe, inputs=condition.inputs, label_noise=condition.noise)  # type: ignore[arg-type]
    goals = {"end": LossGoal(recipe.target, recipe.target_accuracy)}
    return measured_run(treated, split, factory, seed, goals, levels, panel)


def _findings(trials: Trials) -> Iterator[Finding]:
    names = trials.levels("condition")
    accuracy, error = (trials.array(name, "condition", "seed") for name in ("train/accuracy", "test/error"))
    worst = int(accuracy.mean(axis=1).argmin())
    all_fit = f"training accuracy {accuracy.min():.2%} or more in all {len(names)} conditions"
    one_not = f"training accuracy {accuracy[worst].mean():.2%} on {trials.words[names[worst]]}"
    yield Finding("fits", all_fit if accuracy.min() == 1 else one_not)
    true = trials.where(inputs="true")
    noise = np.array(true.levels("noise"))
    errors = true.array("test/error", "noise", "seed").mean(axis=1)
    rise = "grows at every step" if (np.diff(errors) > 0).all() else "does not grow at every step"
    yield Finding("test error", f"{rise} of p, from {errors[0]:.1%} to {errors[-1]:.1%} at p = {noise[-1]:g}")
    for length in (TIME_TO_FIT, "steps to loss 0.1"):
        yield Finding(length, _slower(noise, true.array(length, "noise", "seed").mean(axis=1)))
    times = dict(zip(names, trials.array(TIME_TO_FIT, "condition", "seed").mean(axis=1), strict=True))
    hardest = str(true["condition"][np.argmax(true["noise"])])
    for condition in names:
        if condition not in true["condition"]:
            against = _against(times[condition], times[hardest], trials.words[hardest])
            label = trials.words[condition]
            yield Finding(label, f"{against}; test error {error[names.index(condition)].mean():.1%}")
    yield Finding("sharpness", _sharpness(true))


def _slower(noise: np.ndarray, steps: np.ndarray) -> str:
    each = ", ".join(f"p = {p:g}: {step:.0f}" for p, step in zip(noise, steps, strict=True) if np.isfinite(step))
    never = [f"{p:g}" for p, step in zip(noise, steps, strict=True) if not np.isfinite(step)]
    if never:
        return f"not reached by every seed at p = {', '.join(never)}" + (f" ({each})" if each else "")
    grows = "grow at every step of p" if (np.diff(steps) > 0).all() else "do not grow at every step of p"
    return f"× {steps[-1] / steps[0]:.2f} from least to most noise; they {grows} ({each})"


def _against(steps: float, most: float, other: str) -> str:
    """Compare the steps of a treatment of the inputs with those of the most noise; NaN: some seed never fitted."""
    if not np.isfinite(steps):
        return "not fitted by every seed"
    if not np.isfinite(most):
        return f"fitted in {steps:.0f} steps; {other} not by every seed"
    return f"fitted in {steps:.0f} steps, {'faster' if steps < most else 'not faster'} than {other} ({most:.0f})"


def _sharpness(true: Trials) -> str:
    """Say by what factor the most noise moves every score of sharpness on own labels, and those without labels."""
    chosen = ("own/adaptive", "own/inverse", "own/trace", "own/lambda-max", "label-free")
    ratios = []
    for name in (name for name in true.measures if name.startswith(chosen)):
        values = true.array(true[name], "noise", "seed")[[0, -1]]
        if (values > 0).all():
            low, high = np.log(values).mean(axis=1)
            ratios.append(f"{name} × {np.exp(high - low):.3g}")
    target = true.settings["recipe"]["target"]
    return f"most noise over none, at cross-entropy {target:g}: {', '.join(ratios) or 'not measured'}"


@published
def memorisation_test(
    factory: ModelFactory,
    data: Any,
    *,
    recipe: Recipe = RECIPE,
    seeds: Sequence[int] = tuple(range(6)),
    panel: Panel = FEW,
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

    >>> from landscape.experiments import get_recipe
    >>> quick = get_recipe("momentum", lr=0.1, examples=40, target=0.1)
    >>> found = memorisation_test(functools.partial(mlp, (64, 16, 10)), digits(train=100), recipe=quick, seeds=(0, 1),
    ...     panel=Panel(own=("weight-norm",), label_free=(), shared=()))
    >>> found.met.all(), found.effect("own/weight-norm").ratio > 1
    (np.True_, True)
    """
    return run_conditions(
        "memorisation-test", factory, as_split(data), (TRUE, RANDOM), seeds=seeds, recipe=recipe, panel=panel,
        workers=workers, save=save, effects=_memorisation, view={"effects": True}, findings=_memorised,
    )  # fmt: skip


def _memorisation(trials: Trials) -> list[Effect]:
    """Compare what is positive on random with what it is on true labels."""
    scores = [name for name in trials.measures if name.startswith(("own/", "label-free/", "clean/"))]
    found = []
    for name in (TIME_TO_FIT, "test/error", *scores):
        values = trials.array(trials[name], "condition", "seed")
        if all(np.isfinite(arm).any() for arm in values) and (values[np.isfinite(values)] > 0).all():
            whole = trials.replace(measures={k: v for k, v in trials.measures.items() if k != "reached"})
            found.append(whole.contrast(name, "condition"))  # steps and test error of runs that missed the target count
    return found


def _memorised(trials: Trials) -> Iterator[Finding]:
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


STUDY = Experiment(
    name="randomisation",
    question="Can the network fit noise, how much slower, how much sharper, and how bad is it on test data?",
    function=randomisation,
    full={"seeds": range(6)},
    quick={
        "factory": functools.partial(mlp, (64, 32, 10)),
        "split": digits(train=150),
        "noise": (0.4,),
        "seeds": (0,),
        "recipe": dataclasses.replace(RECIPE, lr=0.2, target=0.05),
    },
)
