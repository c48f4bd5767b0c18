"""The loss on normalised logits, which no temperature can lower."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from landscape.function.objective import Objective
from landscape.scores.requirements import require
from landscape.transforms.logits import normalize_logits


def logit_normalized(objective: Objective) -> Objective:
    r"""Return the objective whose loss reads normalised logits: its band is fixed, and temperature has no effect.

    The cross-entropy of unit logits lies between :math:`\log(1 + (C-1)e^{-\sqrt{C/(C-1)}})`, which is 1.41987 for C = 10, and
    a few units above log C.

    Raises:
        NotDefinedError: the objective has no class logits.
    """
    require(objective, ("classes",), "logit normalisation")
    known = objective.known

    def prepared(output: Tensor) -> Tensor:
        # in float64, because scores are differences of nearly equal losses; log-softmax leaves cross_entropy unchanged
        # and gives nll_loss the log-probabilities it expects
        return F.log_softmax(normalize_logits(output.double()), 1)

    terms = known.per_example
    return objective.with_loss(
        replace(
            known,
            fn=lambda output, target: known.fn(prepared(output), target),
            per_example=None if terms is None else lambda output, target: terms(prepared(output), target),
            description=f"{known.description} on normalised logits",
            likelihood=None,
        )
    )


def cross_entropy_floor(classes: int) -> float:
    """Return the smallest cross-entropy of unit-length centred logits of C classes.

    >>> round(cross_entropy_floor(10), 5)
    1.41987
    """
    c = torch.tensor(float(classes), dtype=torch.float64)
    return float(torch.log1p((c - 1) * torch.exp(-torch.sqrt(c / (c - 1)))))
