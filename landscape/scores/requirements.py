"""What a score needs of an objective, and the one-line reason when it is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch

from landscape.errors import NotDefinedError
from landscape.function.objective import Objective


def class_count(objective: Objective) -> int:
    """Return C, the number of outputs of a classifier."""
    batch = objective.batches[0]
    with objective.guard(), torch.no_grad():
        return int(objective.batch_outputs(objective.theta, batch).shape[1])


def _classes(objective: Objective) -> str:
    if objective.task != "classes":
        return f"needs logits (N, C) and class labels, but the loss is {objective.loss_name}"
    if any(batch.target is not None and batch.target.is_floating_point() for batch in objective.batches.stored):
        return "needs class indices as targets, but the targets are probabilities"
    return ""


def _errors(objective: Objective) -> str:
    if objective.task == "other":
        return f"0–1 error needs a classifier, but the loss is {objective.loss_name}"
    return "" if objective.task == "binary" else _classes(objective)


def _three_classes(objective: Objective) -> str:
    if not (reason := _classes(objective)) and class_count(objective) < 3:
        return "normalised logits of two classes keep only the decision, so the loss has no gradient; use a 0–1 score"
    return reason


def _likelihood(objective: Objective) -> str:
    if objective.likelihood is None:
        return f"needs a loss that is a negative log-likelihood, but the loss is {objective.loss_name}"
    return ""


def _tensor_inputs(objective: Objective) -> str:
    inputs = objective.batches[0].inputs
    whole = isinstance(inputs, torch.Tensor) and inputs.is_floating_point()
    return "" if whole else "the inputs are not one floating-point tensor"


class Need(NamedTuple):
    """What a score may need: why an objective does not have it (empty where it does), and what it then lacks, for docs."""

    reason: Callable[[Objective], str]
    lack: str


NEEDS = {
    "classes": Need(_classes, "no class logits"),
    "three classes": Need(_three_classes, "no logits of three or more classes"),
    "errors": Need(_errors, "no 0–1 error"),
    "likelihood": Need(_likelihood, "the loss is no negative log-likelihood"),
    "tensor inputs": Need(_tensor_inputs, "the inputs are not one floating-point tensor"),
}


def require(objective: Objective, needs: Iterable[str], slug: str) -> None:
    """Raise unless the objective has everything a score needs.

    Args:
        objective: the function to be scored.
        needs: names among ``classes`` (logits and class indices), ``three classes`` (C ≥ 3), ``errors`` (a classifier,
            one logit included), ``likelihood`` and ``tensor inputs`` (one floating-point tensor).
        slug: the score, for the message.

    Raises:
        NotDefinedError: something is missing; the message says what.
    """
    for need in needs:
        if reason := NEEDS[need].reason(objective):
            raise NotDefinedError(f"{slug} is not defined here: {reason}")
