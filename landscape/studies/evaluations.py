"""A trained network scored three ways, because networks fitted to different labels do not share a loss.

Random labels change the function whose sharpness is measured, so a difference on each network's own labels could be
one of labels, not of minima. Beside it stand scores that no label enters, and scores on a shared set of examples that have
the same label for every network (the clean part) or the same wrong label (the corrupted part).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from landscape.comparison import PRIMARY, facts
from landscape.datasets import Split
from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.checkpoint import Checkpoint
from landscape.function.objective import Objective
from landscape.results.scores import Score, score_columns
from landscape.scores import REGISTRY, select, sharpness
from landscape.training import (
    Goal,
    History,
    LossGoal,
    ModelFactory,
    Recipe,
    TrainedRun,
    as_checkpoint,
    train_through,
    training_set,
)

FITS: dict[str, dict[str, float]] = {
    "steps to accuracy 0.95": {"accuracy": 0.95},
    "steps to accuracy 1": {"accuracy": 1.0},
    "steps to loss 0.1": {"loss": 0.1},
    "steps to loss 0.01": {"loss": 0.01},
}
"""What a run's time to fit is counted to, by the name of the measure."""
CURVES = ("training loss", "training accuracy")
"""Learning curves that stand beside the measures, on `epoch_grid`."""
FEWEST = 20
"""Examples below which a clean or corrupted part is not scored: a tenth of the 0–1 error must be a whole number of them."""
MATCHED = 1e-4
"""Relative distance from its target loss at which training ends, on either side; such a run has reached it."""


@dataclass(frozen=True)
class Panel:
    """Which scores are measured in which of the three evaluations.

    Attributes:
        own: on each network's own training labels.
        label_free: scores whose value no label enters, on the same training inputs.
        shared: on the clean and on the corrupted part, apart; a part with fewer than 20 examples is left out.
    """

    own: tuple[str, ...] = (
        *PRIMARY,
        "lambda-max",
        "lambda-min",
        "trace",
        "relative-flatness",
        "fisher-rao",
        "weight-norm",
        "distance-from-init",
        "margin",
        "gradient-norm",
    )
    label_free: tuple[str, ...] = ("kl-radius", "input-jacobian")
    shared: tuple[str, ...] = PRIMARY

    @property
    def names(self) -> tuple[str, ...]:
        """Evaluation and score, joined by a slash, in the order of tables."""
        parts = {"own": self.own, "label-free": self.label_free, "clean": self.shared, "corrupted": self.shared}
        return tuple(f"{part}/{name}" for part, names in parts.items() for name in names)

    @property
    def radii(self) -> dict[str, tuple[float, ...]]:
        """The radii of every score, empty where it has none."""
        return {name: select([name.partition("/")[2]])[0].radii for name in self.names}

    @property
    def coordinates(self) -> dict[str, np.ndarray]:
        """The radii of the scores that have any, as `Trials` keep them."""
        return {name: np.array(radii) for name, radii in self.radii.items() if radii}


LIGHT = Panel(own=(*PRIMARY, "weight-norm"), label_free=(), shared=())
"""The primary scores alone, for places on the way where nothing is concluded."""


@dataclass(frozen=True)
class Shared:
    """Positions of examples whose label is true at every noise level, and of those with one wrong label at all above zero."""

    clean: np.ndarray
    corrupted: np.ndarray


def shared_examples(recipe: Recipe, split: Split, levels: Sequence[float], *, seed: int) -> Shared:
    """Find the examples of a run that carry the same label at every noise level; corruption is nested (`corrupt_labels`).

    Even at p = 1 one label in C is drawn true, so that the clean part is never empty on large data.

    >>> from landscape.datasets import digits
    >>> from landscape.experiments import get_recipe
    >>> shared = shared_examples(get_recipe("sgd"), digits(), (0, 0.1, 1), seed=0)
    >>> len(shared.clean) > 80, len(shared.corrupted) > 70
    (True, True)
    """
    noise = [level for level in levels if level > 0] or [0.0]
    most, least = (training_set(replace(recipe, label_noise=p), split, seed=seed) for p in (max(noise), min(noise)))
    return Shared(clean=np.setdiff1d(np.arange(len(most.y)), most.changed.numpy()), corrupted=least.changed.numpy())


def _evaluated(run: TrainedRun, panel: Panel, shared: Shared, factory: ModelFactory) -> dict[str, Any]:
    """Score a trained network in all three ways, with the same draws for all; NaN where a score has no value."""
    checkpoint = as_checkpoint(run, factory)
    objective = checkpoint.objective(norm="frozen")  # of which parts are scored
    wrong = run.data.changed.numpy()
    parts: dict[str, tuple[Objective | None, tuple[str, ...]]] = {
        "own": (objective, panel.own),
        "label-free": (objective, panel.label_free),
        "clean": (_part(objective, np.setdiff1d(shared.clean, wrong)), panel.shared),
        "corrupted": (_part(objective, np.intersect1d(shared.corrupted, wrong)), panel.shared),
    }
    found: dict[str, Any] = {}
    for part, (of, names) in parts.items():
        rows = {} if of is None else score_rows(of, names, 0, checkpoint)
        for name in names:
            found |= score_columns(f"{part}/{name}", rows.get(name, ()), panel.radii[f"{part}/{name}"])
    return found


def _part(objective: Objective, chosen: np.ndarray) -> Objective | None:
    return objective.subset(chosen.tolist()) if len(chosen) >= FEWEST else None


def score_rows(
    objective: Objective, names: Sequence[str], seed: int, checkpoint: Checkpoint
) -> dict[str, tuple[Score, ...]]:
    """Measure scores and return their rows by slug; one without a meaning for the network has a row that says so.

    `sharpness` refuses a score that is asked for by its name and not defined: one network that learnt nothing would end
    an experiment over hundreds.
    """
    if not names:
        return {}
    try:
        panel = sharpness(objective, list(names), seed, checkpoint=checkpoint)
    except NotDefinedError as error:
        if len(names) == 1:
            return {names[0]: (REGISTRY[names[0]].missing(error, seed),)}
        return {name: score_rows(objective, [name], seed, checkpoint)[name] for name in names}
    return {name: panel.all(name) for name in names}


def steps_to(history: History, *, accuracy: float = 0.0, loss: float = np.inf) -> float:
    """Return the optimiser steps at the end of the first epoch with that accuracy and loss (to `MATCHED`), NaN if there is none.

    >>> history = History(
    ...     epoch=np.arange(3), step=np.array([0, 16, 32]), loss=np.array([2.3, 0.5, 0.1]), accuracy=np.array([0.1, 0.9, 1])
    ... )
    >>> steps_to(history, accuracy=0.95), steps_to(history, loss=0.01)
    (32.0, nan)
    """
    there = (history.accuracy >= accuracy) & (history.loss <= loss * (1 + MATCHED))
    return float(history.step[there.argmax()]) if there.any() else np.nan


def on_grid(history: History, epochs: np.ndarray) -> np.ndarray:
    """Return loss and accuracy (2, E) at the ends of chosen epochs (E,), NaN after the last."""
    found = np.full((2, len(epochs)), np.nan)
    there = np.isin(epochs, history.epoch)
    chosen = np.searchsorted(history.epoch, epochs[there])
    found[:, there] = history.loss[chosen], history.accuracy[chosen]
    return found


def epoch_grid(last: int) -> np.ndarray:
    """Return 0, 1, 2, 3, … and then about twelve epochs a factor of two, up to the last: enough to draw a curve.

    >>> epoch_grid(40)[:8], epoch_grid(40).max() == 40
    (array([0, 1, 2, 3, 4, 5, 6, 7]), np.True_)
    """
    if last < 1:
        raise LandscapeError(f"last epoch {last}; expected at least 1")
    powers = np.geomspace(1, last, max(2, int(12 * np.log2(last)) + 1)).round().astype(int)
    return np.unique(np.concatenate([[0], powers, [last]]))


def measured_run(
    recipe: Recipe,
    split: Split,
    factory: ModelFactory,
    seed: int,
    goals: Mapping[str, Goal | int],
    levels: Sequence[float],
    panel: Panel,
) -> list[dict[str, Any]]:
    """Train one network through several places and measure it at each: one row of a randomisation experiment.

    Args:
        recipe: how to train.
        split: the data.
        factory: called with ``seed=seed``.
        seed: of the run.
        goals: places to stop at on the way, by name (see `train_through`); those that are no loss get the primary scores
            only.
        levels: noise levels whose runs are compared, for the clean and the corrupted part.
        panel: scores by evaluation.

    Returns:
        One row per place, ``stage``: the run's measures, `FITS` in steps, every score of the panel (NaN where training
        never got there), and at the last place that it got to the learning curve on `epoch_grid`.
    """
    runs = train_through(recipe, split, factory, goals=goals, seed=seed)
    shared = shared_examples(recipe, split, levels, seed=seed)
    last = max(runs.values(), key=lambda run: run.steps)
    rows: list[dict[str, Any]] = []
    for name, run in runs.items():
        row: dict[str, Any] = {"stage": name, **run.measures}
        row["gradient/noise"] = facts(as_checkpoint(run, factory).objective()).noise_ratio
        row |= {key: steps_to(last.history, **wanted) for key, wanted in FITS.items()}
        row |= {score: np.full(len(radii), np.nan) if radii else np.nan for score, radii in panel.radii.items()}
        if run.reached:
            chosen = panel if isinstance(goals[name], LossGoal) else LIGHT
            row |= _evaluated(run, chosen, shared, factory)
        if run is last:
            row |= dict(zip(CURVES, on_grid(last.history, epoch_grid(recipe.max_epochs)), strict=True))
        rows.append(row)
    return rows
