"""The invariance audit: the user's own network, transformed, and every score measured before and after."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from landscape import transforms
from landscape.arguments import checked
from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.function.parameters import ParameterSpace
from landscape.results.scores import Audit, AuditRow, Score
from landscape.scores.network import in_double, network
from landscape.scores.panel import Panel
from landscape.scores.register import REGISTRY, TRANSFORMATIONS
from landscape.transforms import Transformed


@dataclass(frozen=True)
class ReorderedSpace(ParameterSpace):
    """A parameter space in which entry i of the network's own flat vector is entry ``order[i]``."""

    order: Tensor

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Concatenate named tensors into one vector (P,), in this order."""
        own = super().flatten(tensors)
        return torch.empty_like(own).index_copy_(0, self.order.to(own.device), own)

    def unflatten(self, theta: Tensor) -> dict[str, Tensor]:
        """Split a vector (P,) in this order into named tensors."""
        return super().unflatten(theta[self.order.to(theta.device)])


def reindexed(objective: Objective, mapping: Mapping[str, Tensor]) -> Objective:
    """Return the objective of a permuted network in the coordinates of the network it was permuted from.

    Every draw, direction and probe of a score then meets the weight it met before the permutation, as a comparison of both
    networks requires: a permuted network needs permuted noise. The mapping has, for each tensor whose entries moved, the flat
    positions they came from.
    """
    order = torch.arange(objective.size)
    for name, where in objective.space.slices.items():
        if name in mapping:
            order[where] = where.start + mapping[name].cpu()
    space = objective.space
    return objective.with_space(ReorderedSpace(space.names, space.shapes, space.dtypes, space.dtype, order))


TOLERANCE = 1e-6
"""Largest |R − 1| of an invariant score in float64."""

Transform = Callable[[nn.Module, Any, int], Transformed]

APPLY: dict[str, Transform] = {
    "T1": lambda model, inputs, seed: transforms.layer_scale(model, inputs, alpha=5.0),
    "T2": lambda model, inputs, seed: transforms.node_scale(model, inputs, seed=seed),
    "T3": lambda model, inputs, seed: transforms.norm_layer_scale(model, inputs, alpha=5.0),
    "T4": lambda model, inputs, seed: transforms.permutation(model, inputs, seed=seed),
    "T5": lambda model, inputs, seed: transforms.softmax_shift(model, inputs, seed=seed),
    "T6": lambda model, inputs, seed: transforms.gl_attention(model, inputs, seed=seed),
    "T7": lambda model, inputs, seed: transforms.temperature(model, inputs, t=2.0),
}
"""The strength of each transformation in an audit."""

OF_LOGITS = ("T5", "T7")
"""What keeps predicted classes, and nothing of other outputs."""


@checked
def audit(
    objective: Objective,
    scores: str | Sequence[str] | None = None,
    seed: int = 0,
    *,
    transformations: Sequence[str] | None = None,
    examples: int | None = 256,
    radii: Mapping[str, Sequence[float]] | Sequence[float] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Audit:
    r"""Transform the network in ways that keep its function and report what that does to its scores.

    .. math:: R = S(T(w)) / S(w)

    A score is ``invariant`` under T when |R − 1| < 1e-6 in float64, ``within error`` when R differs from 1 by less than
    1.96 standard errors, and ``not invariant`` otherwise. Scores that are logarithms or entropies, by the register, are
    judged and shown by the difference S(T(w)) − S(w), since their ratio depends on the unit they are counted from. The
    draws are the same before and after; where units were permuted they are permuted too. Scores that move are
    properties of the parametrisation: describe, do not conclude.

    Args:
        objective: the function at the trained weights.
        scores: as in `sharpness`; `None`: the panel.
        seed: of draws and transformations.
        transformations: some of ``T1`` … ``T7``; `None`: all. Those with no valid place are marked.
        examples: how many examples to measure on (the first ones); `None`: all. Invariance does not need many.
        radii: as in `sharpness`.
        options: keyword arguments by slug, as in `sharpness`.

    Returns:
        `Audit`.

    Raises:
        LandscapeError: no objective, an unknown score or transformation.

    Source: Dinh et al. 2017 (arXiv 1703.04933).

    >>> import torch, landscape as ls
    >>> X, y = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 3
    >>> objective = ls.Objective(ls.models.mlp((4, 6, 3)), (X, y), "cross_entropy")
    >>> report = audit(objective, ["adaptive-average", "weight-norm"], transformations=["T1", "T7"])
    >>> report.survived("adaptive-average"), report.survived("weight-norm")
    (('T1', 'T7'), ())
    """
    started = time.perf_counter()
    names = list(TRANSFORMATIONS) if transformations is None else list(transformations)
    if unknown := [name for name in names if name not in APPLY]:
        raise LandscapeError(f"unknown transformations {', '.join(unknown)}; expected some of {', '.join(APPLY)}")
    panel = Panel(scores, seed, radii, options=options or {})
    model = network(objective)
    whole = examples is None or bool(objective.batches.uncut)
    base = in_double(objective if whole else objective.subset(range(min(examples or 0, objective.n))), model)
    inputs = base.batches[0].inputs
    before = panel.rows(base)
    found: list[AuditRow] = []
    changes: dict[str, float] = {}
    for name in bar(names, desc="audit"):
        if name in OF_LOGITS and not _gives_logits(base):
            found += [_compare(row, None, name, note="the outputs are no logits of classes") for row in before]
            continue
        try:
            moved = APPLY[name](model, inputs, seed)
        except LandscapeError as error:
            found += [_compare(row, None, name, note=str(error)) for row in before]
            continue
        changes[name] = moved.change
        there = in_double(base, moved.model)  # with the settings of its layers, which no state dict holds
        there = reindexed(there, moved.mapping) if moved.mapping else there
        after = {(row.name, row.radius): row for row in panel.rows(there)}
        # a transformation that keeps the function only up to rounding, or up to a norm's epsilon, moves scores by as much
        tolerance = TOLERANCE if name == "T7" else max(TOLERANCE, 100 * moved.change)
        found += [_compare(row, after.get((row.name, row.radius)), name, tolerance) for row in before]
    order = {key: i for i, key in enumerate(dict.fromkeys((row.name, row.radius) for row in before))}
    return Audit(
        rows=tuple(sorted(found, key=lambda row: order[row.score, row.radius])),
        changes=changes,
        examples=base.n,
        seed=seed,
        provenance=objective.provenance(),
        seconds=time.perf_counter() - started,
    )


def _gives_logits(objective: Objective) -> bool:
    target = objective.batches[0].target
    return objective.task == "classes" or (target is not None and not target.is_floating_point())


def _compare(row: Score, twin: Score | None, name: str, tolerance: float = 0.0, note: str = "") -> AuditRow:
    """Return what a transformation did to a score; without a defined twin it does not apply, and the note says why."""
    definition = REGISTRY[row.name]
    known: dict[str, Any] = {
        "score": row.name,
        "radius": row.radius,
        "transformation": name,
        "before": row.value,
        "declared": name in definition.invariant.split(),
        "compared": definition.compared,
    }
    if twin is None or not (row.defined and twin.defined):
        note = note or (row.note if twin is None or not row.defined else twin.note)
        known |= {"after": math.nan, "ratio": math.nan, "standard_error": None}
        return AuditRow(**known, verdict="not applicable", note=note)
    difference = twin.value - row.value
    relative = definition.compared == "ratio"
    error = None
    if row.standard_error is not None and twin.standard_error is not None:
        error = math.hypot(row.standard_error, twin.standard_error)
    if abs(difference) <= tolerance * (abs(row.value) if relative else 1.0):
        verdict = "invariant"
    elif error is not None and abs(difference) <= 1.96 * error:
        verdict = "within error"
    else:
        verdict = "not invariant"
    if error is not None and relative:
        error = error / abs(row.value) if row.value else None
    ratio = twin.value / row.value if row.value else (1.0 if twin.value == 0 else math.inf)
    return AuditRow(**known, after=twin.value, ratio=ratio, standard_error=error, verdict=verdict)
