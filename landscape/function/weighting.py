"""The share every batch has in the loss of a data set, and the checks that the data and the loss mean what they seem to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from landscape.errors import LandscapeError, NumericalError
from landscape.function.batches import Batch, Batches, leaves, pick, versions
from landscape.function.forward import forward, logits
from landscape.function.losses import BatchLoss

if TYPE_CHECKING:
    from landscape.function.objective import Objective

_DROPOUT = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)

CHECKED = 64
"""Examples of a batch on which the loss is tried out, at most."""


def weighted(objective: Objective, data: Batches) -> Batches:
    """Return the batches with their shares: the divisor of each batch's mean over the sum of all, or 1 for a sum.

    Raises:
        LandscapeError: a batch has no target, a label is out of range, the loss is not a scalar, the rule for its divisor
            does not hold, nothing counts, or the data is changed in place.
        NumericalError: the loss of the same examples differs from one evaluation to the next.
    """
    with objective.guard(), torch.no_grad():
        few = _few(data)
        with _pointing_at(objective, few):
            outputs = _check_loss(objective, few)
        if objective.task == "classes":
            assert outputs is not None
            classes = outputs.shape[1]
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


def _few(data: Batches) -> Batch:
    """Return some examples to try the loss on: from the first batch that has several, or else the first two joined."""
    first = next((i for i, batch in enumerate(data.stored) if batch.size > 1), None)
    if first is not None:
        return pick(data[first], torch.arange(min(data[first].size, CHECKED)))
    if len(data) > 1:
        with suppress(LandscapeError):  # of different shapes
            return data.regrouped([0, 1], 2)[0]
    return data[0]


@contextmanager
def _pointing_at(objective: Objective, batch: Batch) -> Iterator[None]:
    """Add to whatever the user's network or loss raises what it was called with."""
    try:
        yield
    except LandscapeError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{tuple(t.shape)} {str(t.dtype).removeprefix('torch.')}" for t in leaves(batch.raw))
        error.add_note(f"raised in the network or the loss, called with {batch.size} examples of the data: {shapes}")
        output = None
        if objective.has_criterion:
            with suppress(Exception):
                output = objective.call(objective.theta, lambda model: forward(model, batch.inputs))
        if output is not None and not isinstance(output, Tensor):
            error.add_note(
                f"the network returned {type(output).__name__}, of which a loss is given one tensor, "
                f"{tuple(logits(output).shape)}; for a loss of several outputs pass ls.BatchLoss(fn)"
            )
        raise


def _check_loss(objective: Objective, few: Batch) -> Tensor | None:
    """Try the loss on a few examples: it must be a scalar, one number, and a mean over what is counted.

    Returns:
        The outputs; `None` for a `BatchLoss`.
    """
    own_loss, outputs = isinstance(objective._loss, BatchLoss), None
    if not own_loss:
        if few.target is None:
            raise LandscapeError(
                "the first batch has no target; expected (inputs, target), a mapping with 'labels', or a loss ls.BatchLoss(fn)"
            )
        outputs = objective.batch_outputs(objective._theta, few)
        if objective.task == "classes":
            _check_classes(outputs, few.target)
            check_labels(few, outputs.shape[1], objective.known.ignore_index)
        if objective.known.elementwise:
            _check_shapes(outputs, few.target)
    value = objective.batch_value(objective._theta, few)
    if not isinstance(value, Tensor) or value.numel() != 1:
        found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise LandscapeError(
            f"the loss of a batch is {found}, expected a scalar tensor; return the mean (or the sum) of its terms"
        )
    if objective.mode == "eval":
        _check_repeats(objective, few, value)
        rule_is_known = not own_loss and objective.known.count is not None and objective._count is None
        if not rule_is_known and few.size > 1:
            _check_parts(objective, few, value)
    return outputs


def _check_repeats(objective: Objective, few: Batch, value: Tensor) -> None:
    """Evaluate the loss again, with the random state where the first evaluation left it."""
    before = versions(few)
    again = objective.batch_value(objective._theta, few)
    if versions(few) != before:
        raise LandscapeError(
            "the network or the loss changes its data in place, so the next evaluation would see other data; change a copy "
            "there: x = x.clone()"
        )
    difference = float((again - value).abs())
    # scatter operations on CUDA add in any order
    if difference > 1e3 * torch.finfo(objective.dtype).eps * max(1.0, float(value.abs())):
        raise NumericalError(
            f"the loss of the same {few.size} examples is {float(value):.6g} and then {float(again):.6g}: {culprit(objective)}"
        )


def culprit(objective: Objective) -> str:
    """Name the usual cause of a function that is not deterministic, and the remedy."""
    names = [name or type(m).__name__ for name, m in objective.model.named_modules() if isinstance(m, _DROPOUT)]
    if objective.mode == "train" and names:
        return f"dropout is active ({', '.join(names[:3])}); use mode='eval'"
    if objective.mode == "train":
        return "the network is in train mode, where layers may draw random numbers; use mode='eval'"
    return (
        "the forward pass or the loss draws random numbers (random augmentation, functional dropout without "
        "training=self.training, sampling); fix them, or move them into the data"
    )


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
    """Raise unless the loss of a batch is that of its parts, under the rule for the divisor that was assumed or given."""
    expected = _of_parts(objective, batch)
    if torch.isfinite(expected) and not _close(objective, value, expected):
        raise LandscapeError(
            f"the loss of {batch.size} examples is {float(value):.6g} but its parts give {float(expected):.6g}: it is not a "
            f"{objective.reduction} over what is counted; pass count= (the divisor of its mean), or reduction='sum'"
        )


def separable(objective: Objective, batch: Batch) -> bool:
    """Return whether the loss of a batch is that of its parts. Use inside the objective's guard."""
    with torch.no_grad():
        return _close(objective, objective.batch_value(objective._theta, batch), _of_parts(objective, batch))


def _close(objective: Objective, value: Tensor, expected: Tensor) -> bool:
    # float32 reaches about 1e-6, bfloat16 about 1e-2; a wrong divisor is off by tens of percent
    slack = 10 * torch.finfo(objective.dtype).eps ** 0.8
    return bool(abs(expected - value) <= slack * max(1.0, float(abs(value))))


def _of_parts(objective: Objective, batch: Batch) -> Tensor:
    """Return the loss of a batch put together from a third of it and the rest."""
    third = torch.arange(batch.size) % 3 == 0
    parts = [pick(batch, torch.nonzero(keep).flatten()) for keep in (third, ~third)]
    values = torch.stack([objective.batch_value(objective._theta, p).double().reshape(()) for p in parts])
    if objective.reduction == "sum":
        return values.sum()
    counts = torch.tensor([_divisor(objective, p) for p in parts], dtype=torch.float64, device=values.device)
    return (values * counts).sum() / counts.sum()
