"""The share every batch has in the loss of a data set, and the checks that the data and the loss mean what they seem to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from landscape.batches import Batch, Batches, pick
from landscape.errors import LandscapeError
from landscape.losses import BatchLoss

if TYPE_CHECKING:
    from landscape.objective import Objective

CHECKED = 64
"""Examples of the first batch on which the loss is tried out."""


def weighted(objective: Objective, data: Batches) -> Batches:
    """Return the batches with their shares: the divisor of each batch's mean over the sum of all, or 1 for a sum.

    Raises:
        LandscapeError: a batch has no target, a label is out of range, the loss is not a scalar, the rule for its divisor
            does not hold, or nothing counts.
    """
    with objective.guard(), torch.no_grad():
        few = pick(data[0], torch.arange(min(data[0].size, CHECKED)))
        _check_loss(objective, few)
        if objective.task == "classes":
            classes = objective.batch_outputs(objective._theta, few).shape[1]
            for batch in data.stored:
                check_labels(batch, classes, objective.known.ignore_index)
        if objective.reduction == "sum":
            return data.with_scales([1.0] * len(data))
        counts = [_divisor(objective, batch) for batch in data]
    total = sum(counts)
    if not total > 0:
        raise LandscapeError("no target counts towards the loss; are all of them ignored, or all class weights zero?")
    return data.with_scales([count / total for count in counts])


def check_labels(batch: Batch, classes: int, ignore: int) -> None:
    """Raise LandscapeError when a class index lies outside 0 … classes − 1 (on CUDA it would end the process)."""
    target = batch.target
    if target is None or target.is_floating_point():
        return
    counted = target[target != ignore]
    if counted.numel() and not (int(counted.min()) >= 0 and int(counted.max()) < classes):
        worst = int(counted.min()) if int(counted.min()) < 0 else int(counted.max())
        raise LandscapeError(
            f"label {worst} is out of range: the network has {classes} outputs, expected labels 0 … {classes - 1}"
        )


def _divisor(objective: Objective, batch: Batch) -> float:
    """Return what the mean loss of a batch divides by."""
    if isinstance(objective._loss, BatchLoss):
        return float(objective._loss.count(batch.raw)) if objective._loss.count else float(batch.size)
    if objective.known.count is None:
        return float(batch.size)
    assert batch.target is not None
    output = objective.batch_outputs(objective._theta, batch) if objective._count is not None else None
    return float(objective.known.count(output, batch.target))


def _check_loss(objective: Objective, few: Batch) -> None:
    """Try the loss on a few examples: it must be a scalar, and a mean over what is counted."""
    own_loss = isinstance(objective._loss, BatchLoss)
    if not own_loss and few.target is None:
        raise LandscapeError(
            "the first batch has no target; expected (inputs, target), a mapping with 'labels', or a loss ls.BatchLoss(fn)"
        )
    if objective.task == "classes":
        output = objective.batch_outputs(objective._theta, few)
        _check_classes(output, few.target)
        check_labels(few, output.shape[1], objective.known.ignore_index)
    if not own_loss and objective.known.elementwise:
        _check_shapes(objective.batch_outputs(objective._theta, few), few.target)
    value = objective.batch_value(objective._theta, few)
    if not isinstance(value, Tensor) or value.numel() != 1:
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise LandscapeError(
            f"the loss of a batch is {found}, expected a scalar tensor; return the mean (or the sum) of its terms"
        )
    rule_is_known = not own_loss and objective.known.count is not None and objective._count is None
    if not rule_is_known and few.size > 1 and objective.mode == "eval":
        _check_parts(objective, few, value)


def _check_classes(output: Tensor, target: Tensor | None) -> None:
    """Refuse targets that are neither one class index an output row nor probabilities of the outputs' shape."""
    if target is None or target.shape == output.shape:
        return
    wanted = (output.shape[0], *output.shape[2:])
    if target.is_floating_point():
        raise LandscapeError(f"labels are {target.dtype}, expected integers 0 … {output.shape[1] - 1}; pass y.long()")
    if target.shape != wanted:
        raise LandscapeError(
            f"labels have shape {tuple(target.shape)}, expected {wanted} for outputs {tuple(output.shape)}; squeeze or "
            "reshape them"
        )


def _check_shapes(output: Tensor, target: Tensor | None) -> None:
    """Refuse targets that an elementwise loss would stretch against the outputs: its mean would be over pairs."""
    if target is not None and output.shape != target.shape:
        raise LandscapeError(
            f"outputs {tuple(output.shape)} and targets {tuple(target.shape)} differ in shape, so the loss would compare every "
            "output with every target; reshape one, for example y[:, None]"
        )


def _check_parts(objective: Objective, batch: Batch, value: Tensor) -> None:
    """Compare a batch with a third of it and the rest under the rule for the divisor that was assumed or given."""
    third = torch.arange(batch.size) % 3 == 0
    parts = [pick(batch, torch.nonzero(keep).flatten()) for keep in (third, ~third)]
    values = torch.stack([objective.batch_value(objective._theta, p).double().reshape(()) for p in parts])
    if objective.reduction == "sum":
        expected = values.sum()
    else:
        counts = torch.tensor([_divisor(objective, p) for p in parts], dtype=torch.float64, device=values.device)
        expected = (values * counts).sum() / counts.sum()
    # float32 reaches about 1e-6, bfloat16 about 1e-2; a wrong divisor is off by tens of percent
    slack = 10 * torch.finfo(objective.dtype).eps ** 0.8
    if torch.isfinite(expected) and abs(expected - value) > slack * max(1.0, float(abs(value))):
        raise LandscapeError(
            f"the loss of {batch.size} examples is {float(value):.6g} but its parts give {float(expected):.6g}: it is not a "
            f"{objective.reduction} over what is counted; pass count= (the divisor of its mean), or reduction='sum'"
        )
