"""Whether two recipes may be compared at all: same network, same inputs, matched loss, near a critical point.

Sharpness falls by orders of magnitude as the training loss of an interpolating network falls, so scores of solutions
at different losses measure how long each was trained.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.function.gradients import gradient_noise_ratio
from landscape.function.objective import Objective
from landscape.hashing import fingerprint
from landscape.results.comparison import REPORTED, WAIVED, Gate
from landscape.scores.gauges import Gauged, shift_removed

GATES = ("network", "inputs", "seeds", "train accuracy", "train loss", "gradient", "collapse")


@dataclass(frozen=True)
class Facts:
    """What the gates look at in one checkpoint.

    Attributes:
        network: names and shapes of the parameters.
        inputs: sha256 of the inputs the scores are measured on.
        loss: training loss.
        accuracy: training accuracy; NaN when the task has none.
        noise_ratio: ‖g‖ / √(Tr C / n), over batches where norm layers use their statistics; NaN when it cannot be computed.
        modal_share: share of examples that get the most frequent prediction, over that of the most frequent label.
        init: fingerprint of the initial weights; empty where they are not known. Runs that share it are a pair.
        gauge: what could not be taken out of the network before it is scored, in words; empty when nothing.
        frozen_ratio: the ratio with frozen norm statistics, where the function is that with those of each batch; else NaN.
    """

    network: str
    inputs: str
    loss: float
    accuracy: float
    noise_ratio: float
    modal_share: float
    init: str = ""
    gauge: str = ""
    frozen_ratio: float = math.nan


def facts(objective: Objective, init: Mapping[str, Tensor] | None = None) -> Facts:
    """Measure a checkpoint for the gates: one evaluation and about two gradients, four with batch norm.

    Args:
        objective: the function at the trained weights.
        init: the weights before training, where they are known.
    """
    measured = objective.evaluate()
    return Facts(
        network=";".join(f"{n}{tuple(s)}" for n, s in zip(objective.names, objective.whole_space.shapes, strict=True)),
        inputs=objective.batches.input_fingerprint(objective.world.relayed),
        loss=measured["loss"],
        accuracy=measured.get("accuracy", math.nan),
        noise_ratio=_ratio(objective),
        modal_share=_modal_share(objective),
        init="" if init is None else fingerprint(*(init[name] for name in sorted(init))),
        gauge=Gauged(objective).left(shift_removed),
        frozen_ratio=_ratio(objective.with_norm("frozen")) if objective.norm == "batch" else math.nan,
    )


def _ratio(objective: Objective) -> float:
    try:
        return gradient_noise_ratio(objective)
    except LandscapeError:
        return math.nan


def gates_named(given: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of gates, one or several.

    Raises:
        LandscapeError: there is no gate of a name.

    >>> gates_named("train loss")
    ('train loss',)
    """
    names = (given,) if isinstance(given, str) else tuple(given)
    unknown = set(names) - set(GATES)
    if unknown:
        raise LandscapeError(f"no gate is called {', '.join(sorted(unknown))}; the gates are {', '.join(GATES)}")
    return names


def check(
    a: str,
    b: str,
    arm_a: Sequence[Facts],
    arm_b: Sequence[Facts],
    *,
    loss_tolerance: float = 0.1,
    fewest: int = 6,
    waive: Sequence[str] = (),
    stationary: bool = True,
) -> list[Gate]:
    """Return every gate between two recipes, those waived by the user marked so. What is not a number passes none.

    Args:
        a: the reference recipe.
        b: the other recipe.
        arm_a: its checkpoints, one per seed.
        arm_b: the other's.
        loss_tolerance: how far apart the mean training losses may be, relative to the smaller.
        fewest: seeds per arm below which significance is not defined.
        waive: gates the user takes responsibility for.
        stationary: whether a score that decides needs a critical point, as curvature does. Where the first order cancels,
            as between w + δ and w − δ, the gradient is reported only.

    Raises:
        LandscapeError: an unknown gate is waived.
    """
    waive = gates_named(waive)
    both = [*arm_a, *arm_b]
    names = [f"{slug}-{i}" for slug, arm in ((a, arm_a), (b, arm_b)) for i in range(len(arm))]
    losses = [float(np.mean([f.loss for f in arm])) for arm in (arm_a, arm_b)]
    ratio = float(np.max(losses) / np.min(losses) - 1) if np.min(losses) > 0 else math.inf
    accuracies = [float(np.mean([f.accuracy for f in arm])) for arm in (arm_a, arm_b)]
    gap = 0.0 if all(math.isnan(f.accuracy) for f in both) else abs(accuracies[0] - accuracies[1])
    noise, frozen = (
        float(np.max([np.median([getattr(f, name) for f in arm]) for arm in (arm_a, arm_b)]))
        for name in ("noise_ratio", "frozen_ratio")
    )
    modal, smallest = float(np.max([f.modal_share for f in both])), min(len(arm_a), len(arm_b))
    loss_note = "train both to the same loss, or pass match='temper' (--match temper)"
    if not np.isfinite(ratio):
        odd = [f"{name} has {f.loss:.3g}" for name, f in zip(names, both, strict=True) if not 0 < f.loss < math.inf]
        loss_note = f"losses are finite and positive; {', '.join(odd)}"
    rest_note = "mean gradient within its sampling noise; train on if not"
    if not stationary and not noise <= 1:
        rest_note = f"{REPORTED}: the scores that decide need no critical point, those of the family curvature do"
    if not math.isnan(frozen):
        rest_note += f" ({frozen:.2g} with frozen norm statistics)"
    modal_note = "no predictor gives nearly always the same answer"
    if modal > 3:
        modal_note += f", as {next(name for name, f in zip(names, both, strict=True) if f.modal_share == modal)} does"

    def gate(name: str, value: float, limit: float, note: str, *, passed: bool | None = None) -> Gate:
        passed = value <= limit if passed is None else passed
        waived = name in waive and not passed
        return Gate(a, b, name, passed or waived, float(value), float(limit), WAIVED if waived else note)

    def alike(fact: str, note: str) -> Gate:
        kinds = [getattr(f, fact) for f in both]
        usual = max(kinds, key=kinds.count)
        odd = [name for name, kind in zip(names, kinds, strict=True) if kind != usual]
        return gate(fact, len(set(kinds)), 1, note + (f", {', '.join(odd)} not those of the others" if odd else ""))

    return [
        alike("network", "parameters have the same names and shapes"),
        alike("inputs", "all checkpoints are measured on the same inputs"),
        gate(
            "seeds",
            smallest,
            fewest,
            f"significance needs at least {fewest} seeds per recipe",
            passed=smallest >= fewest,
        ),
        gate("train accuracy", gap, 0.005, "train both to the same accuracy"),
        gate("train loss", ratio, loss_tolerance, loss_note),
        gate("gradient", noise, 1.0, rest_note, passed=noise <= 1 or not stationary),
        gate("collapse", modal, 3.0, modal_note),
    ]


def _modal_share(objective: Objective) -> float:
    if objective.task != "classes":
        return 1.0
    predicted, target = objective.outputs().argmax(1).flatten(), objective.targets
    if target.is_floating_point():
        return 1.0
    target = target.flatten()[target.flatten() >= 0]
    return float(predicted.bincount().max() / len(predicted) / (target.bincount().max() / len(target)))
