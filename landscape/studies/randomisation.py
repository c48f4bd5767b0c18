"""Can it fit noise? True, corrupted and random labels; shuffled, random and Gaussian inputs (Zhang et al. 2017)."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from landscape.arguments import several, several_seeds
from landscape.comparison import PRIMARY
from landscape.datasets import Split, digits
from landscape.errors import LandscapeError
from landscape.models import mlp
from landscape.results.effects import Effect, Finding
from landscape.results.trials import Trials
from landscape.studies.evaluations import CURVES, FITS, Panel, epoch_grid, measured_run
from landscape.studies.grid import grid, protocol
from landscape.studies.registry import Experiment, published
from landscape.training.factories import as_split
from landscape.training.recipes import Recipe, get_recipe
from landscape.training.runs import ModelFactory
from landscape.training.trainer import LossGoal
from landscape.workers import Workers

NETWORK = functools.partial(mlp, (64, 128, 128, 10))
PANEL = Panel()
RECIPE = get_recipe("sgd", max_epochs=4000)
NOISE = (0.2, 0.4, 0.6, 0.8)
TIME_TO_FIT = "steps to accuracy 1"


@dataclass(frozen=True)
class Condition:
    """How the training data were treated.

    Attributes:
        name: slug.
        long_name: in words.
        inputs: ``true``, ``shuffled-pixels``, ``random-pixels`` or ``gaussian``.
        noise: probability with which a label was redrawn.
    """

    name: str
    long_name: str
    inputs: str
    noise: float


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
    labels = [
        Condition("true-labels", "true labels", "true", 0.0),
        *(Condition(f"corrupted-{p:g}", f"labels corrupted, p = {p:g}", "true", float(p)) for p in noise),
        Condition("random-labels", "random labels", "true", 1.0),
    ]
    return run_conditions(
        STUDY.name, factory, split, [*labels, *INPUTS], seeds=seeds, recipe=recipe, panel=panel, workers=workers, save=save,
        findings=_findings,
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
    workers: Workers,
    save: str | os.PathLike[str] | None,
    effects: Callable[[Trials], Sequence[Effect]] | None = None,
    view: Mapping[str, Any] | None = None,
    findings: Callable[[Trials], Iterator[Finding]] | None = None,
) -> Trials:
    """Train and measure one network per condition and seed, resumably.

    Args:
        name: of the entry in the study.
        factory: called with ``seed=seed``.
        split: as `randomisation` takes it.
        conditions: treatments of the data.
        seeds: one run per condition and seed.
        recipe: how to train.
        panel: scores by evaluation.
        workers: processes.
        save: a study file, or None.
        effects: as `grid` takes them.
        view: the figure; `None`: everything over the noise.
        findings: likewise.
    """
    split = digits() if split is None else as_split(split)
    seeds = several_seeds(seeds)
    if not seeds:
        raise LandscapeError("no seeds; expected at least one")
    levels = tuple(sorted({one.noise for one in conditions}))
    settings = {
        **protocol(factory, split, recipe),
        "levels": list(levels),
        "panel": dataclasses.asdict(panel),
    }
    epochs = epoch_grid(recipe.max_epochs)
    return grid(
        functools.partial(_measure, recipe, split, factory, levels, panel),
        {"condition": {one.name: one for one in conditions}, "seed": seeds},
        name=name,
        settings=settings,
        attributes={"condition": {"inputs": "inputs", "noise": "noise"}},
        also=("stage",),
        arrays=CURVES,
        coordinates={**panel.coordinates, **dict.fromkeys(CURVES, epochs)},
        effects=effects,
        findings=findings,
        shown=("train/accuracy", "test/error", *FITS, *panel.names),
        geometric=panel.names,
        words={one.name: one.long_name for one in conditions}
        | {"noise": "share of labels redrawn, p", f"{CURVES[0]} over": "epoch"},
        view=view_of(panel.names, "inputs") if view is None else view,
        workers=workers,
        save=save,
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
    """Train one network under a condition and measure it at the end."""
    treated = dataclasses.replace(recipe, inputs=condition.inputs, label_noise=condition.noise)  # type: ignore[arg-type]
    goals = {"end": LossGoal(recipe.target, recipe.target_accuracy)}
    return measured_run(treated, split, factory, seed, goals, levels, panel)


def _findings(trials: Trials) -> Iterator[Finding]:
    """Say what the field wants to know: does it fit, how much slower, how bad on test data, how sharp."""
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
