"""Bringing checkpoints to a common loss, by temperature or between saved checkpoints, before they are compared.

Sharpness depends on how far a network was trained, so scores at different losses do not compare. Either every network is
softened to the largest loss among them, which keeps all its decisions, or the scores of each run are interpolated
between the two checkpoints that were saved before and after the common loss.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from scipy import optimize

from landscape.comparison.gates import Facts
from landscape.comparison.rule import compared_by_ratio
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.results.scores import Score, Scores
from landscape.transforms.head import tempering

Match = Literal["temper", "interpolate"]


@dataclass(frozen=True)
class Matched:
    """What stands for one seed of a recipe at the common loss.

    Attributes:
        at: one objective, or those of the checkpoints before and after the common loss.
        which: positions of these checkpoints among those saved of the run.
        share: weight of the second, 0 when there is one.
        temperature: the factor t on the logits; 1 when they are as trained.
    """

    at: tuple[Objective, ...]
    which: tuple[int, ...] = (0,)
    share: float = 0.0
    temperature: float = 1.0


def temper(objective: Objective, loss: float) -> tuple[Objective, float]:
    r"""Multiply the last layer by the factor t at which the loss is the one wanted; every decision stays.

    .. math:: \frac1n \sum_i \ell(t f(x_i), y_i) = L

    Args:
        objective: a classifier.
        loss: L, at least the loss as it is and below that of a network without preference, log C.

    Returns:
        The objective at the scaled weights, and t.

    Raises:
        NotDefinedError: no class logits, or no last layer of its own among the selected parameters.
        LandscapeError: no temperature between 0 and 1 gives that loss.

    Source: Guo et al. 2017 (arXiv 1706.04599), section 4.2, who choose t to calibrate.

    >>> import torch, landscape as ls
    >>> X, y = torch.eye(3), torch.arange(3)
    >>> net = torch.nn.Linear(3, 3)
    >>> objective = ls.Objective(net, (X, y), "cross_entropy").at(torch.cat([5 * X.flatten(), torch.zeros(3)]))
    >>> soft, t = temper(objective, 0.5)
    >>> round(soft.loss(), 5), t < 1
    (0.5, True)
    """
    scaled = tempering(objective)
    value = _loss_at_temperature(objective)
    if abs(value(1.0) - loss) <= 1e-5 * loss:  # equal, to the rounding of a float32 loss
        return objective, 1.0
    if not value(1.0) < loss < value(0.0):
        raise LandscapeError(
            f"no temperature between 0 and 1 brings a loss of {value(1.0):.4g} to {loss:.4g}, only to less than "
            f"{value(0.0):.4g}; train to the same loss instead"
        )
    t = float(optimize.brentq(lambda t: value(t) - loss, 0.0, 1.0, xtol=1e-14))
    return scaled(t), t


def _loss_at_temperature(objective: Objective) -> Callable[[float], float]:
    with objective.guard(), torch.no_grad():
        outputs = [objective.batch_outputs(objective.theta, batch).double() for batch in objective.batches]

    def value(t: float) -> float:
        total = torch.zeros((), dtype=torch.float64, device=objective.device)
        for output, batch in zip(outputs, objective.batches, strict=True):
            total += objective.criterion(t * output, batch)
        return float(objective.world.sum(total))

    return value


def tempered(arms: Mapping[str, Sequence[Sequence[Objective]]]) -> tuple[dict[str, list[Matched]], str]:
    """Soften every network to the largest loss among all, and say so.

    Raises:
        NotDefinedError: a network has no last layer of its own.
        LandscapeError: a run of several checkpoints was given.
    """
    members = {slug: [_only(run, slug) for run in runs] for slug, runs in arms.items()}
    target = max(objective.loss() for arm in members.values() for objective in arm)
    found = {}
    for slug, arm in members.items():
        pairs = [temper(objective, target) for objective in arm]
        found[slug] = [Matched((objective,), temperature=t) for objective, t in pairs]
    factors = [one.temperature for arm in found.values() for one in arm]
    return found, (
        f"all networks were tempered to a training loss of {target:.4g}, their last layers multiplied by "
        f"{min(factors):.3g} to {max(factors):.3g}"
    )


def _only(run: Sequence[Objective], slug: str) -> Objective:
    if len(run) != 1:
        raise LandscapeError(f"the recipe {slug!r} holds runs of several checkpoints; pass match='interpolate'")
    return run[0]


def between_checkpoints(arms: Mapping[str, Sequence[Sequence[Objective]]]) -> tuple[dict[str, list[Matched]], str]:
    """Find in every run the checkpoints on both sides of the smallest loss that all runs passed, and say so.

    Raises:
        LandscapeError: there is no such loss.
    """
    losses = {slug: [[objective.loss() for objective in run] for run in runs] for slug, runs in arms.items()}
    every = [run for runs in losses.values() for run in runs]
    target, ceiling = max(min(run) for run in every), min(max(run) for run in every)
    if target > ceiling:
        raise LandscapeError(
            f"the runs have no loss in common: one never falls below {target:.4g}, another never rises above "
            f"{ceiling:.4g}; pass more of their saved checkpoints"
        )
    found = {
        slug: [_around(run, values, target) for run, values in zip(runs, losses[slug], strict=True)]
        for slug, runs in arms.items()
    }
    return found, (
        f"scores were interpolated, in logarithms of score and loss, to a training loss of {target:.4g} between saved "
        "checkpoints"
    )


def _around(run: Sequence[Objective], losses: Sequence[float], target: float) -> Matched:
    """Return the last two successive checkpoints between whose losses the target lies."""
    for i in range(len(run) - 1, -1, -1):
        if losses[i] == target:
            return Matched((run[i],), (i,))
        if i and losses[i] < target < losses[i - 1]:
            share = math.log(losses[i - 1] / target) / math.log(losses[i - 1] / losses[i])
            return Matched((run[i - 1], run[i]), (i - 1, i), share)
    raise LandscapeError(
        f"a run's checkpoints rise past the common loss {target:.4g} and never fall below it; pass them in the order of "
        "training"
    )


def blend(values: Sequence[float], share: float, *, positive: bool = True) -> float:
    """Interpolate between two numbers, on the logarithm where both are positive and that is asked for.

    >>> round(blend([1.0, 100.0], 0.5), 6), blend([-1.0, 2.0], 0.5), blend([3.0], 0.0)
    (10.0, 0.5, 3.0)
    """
    if len(values) == 1:
        return values[0]
    first, second = values
    if positive and first > 0 and second > 0:
        return float(first ** (1 - share) * second**share)
    return (1 - share) * first + share * second


def blend_facts(found: Sequence[Facts], share: float) -> Facts:
    """Return what the gates look at between two checkpoints: numbers interpolated, the doubtful ones at their worst."""
    first = found[0]
    if len(found) == 1:
        return first
    return replace(
        first,
        loss=blend([f.loss for f in found], share),
        accuracy=blend([f.accuracy for f in found], share, positive=False),
        noise_ratio=float(np.max([f.noise_ratio for f in found])),
        modal_share=max(f.modal_share for f in found),
    )


def blend_scores(found: Sequence[Scores], share: float) -> Scores:
    """Return the panel between two checkpoints, row by row; a row that is missing or marked on one side stays marked."""
    first, last = found[0], found[-1]
    if len(found) == 1:
        return first
    twins = {(row.name, row.radius): row for row in last.rows}
    rows = [
        _blend_rows(row, twins[row.name, row.radius], share) for row in first.rows if (row.name, row.radius) in twins
    ]
    return first.replace(rows=tuple(rows), seconds=first.seconds + last.seconds)


def _blend_rows(a: Score, b: Score, share: float) -> Score:
    marked = a if a.status != "ok" else b
    value = blend([a.value, b.value], share, positive=compared_by_ratio(a.name))
    return replace(
        a,
        value=value,
        standard_error=_blend_errors(a, b, share, value),
        status=marked.status,
        note=marked.note,
        gradients=a.gradients + b.gradients,
    )


def _blend_errors(a: Score, b: Score, share: float, value: float) -> float | None:
    """Return the error to first order, as if those of the two sides were independent."""
    if a.standard_error is None or b.standard_error is None:
        return None
    relative = a.value > 0 and b.value > 0 and compared_by_ratio(a.name)
    slopes = [(1 - share), share]
    if relative:
        slopes = [value * (1 - share) / a.value, value * share / b.value]
    return math.hypot(slopes[0] * a.standard_error, slopes[1] * b.standard_error)


def blended(measure: Callable[[Objective, int], Mapping[str, float]], one: Matched) -> dict[str, float]:
    """Interpolate a mapping of numbers, such as losses and accuracies, between the checkpoints of a run."""
    found = [measure(objective, i) for objective, i in zip(one.at, one.which, strict=True)]
    return {
        key: blend([part[key] for part in found], one.share, positive=not key.endswith("accuracy")) for key in found[0]
    }
