"""Margins: how far the right class is ahead, in raw and in normalised logits."""

from __future__ import annotations

import torch
from torch import Tensor

from landscape.function.objective import Objective
from landscape.scores.quantities import FORWARD
from landscape.scores.register import Definition, Measurement, score
from landscape.transforms.logits import normalize_logits

PERCENTILE = 0.1


def class_margins(output: Tensor, target: Tensor) -> Tensor:
    """Return the right class's logit minus the largest other one, (N, …).

    >>> class_margins(torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([0]))
    tensor([1.])
    """
    right = output.gather(1, target.unsqueeze(1)).squeeze(1)
    others = output.scatter(1, target.unsqueeze(1), float("-inf"))
    return right - others.amax(1)


@score(
    Definition(
        "margin",
        "margin, 10th percentile",
        family="function space",
        formula="10th percentile of f_y − max over k ≠ y of f_k",
        source="Dziugaite et al. 2020, arXiv 2010.11924, margin",
        orientation="control",
        cost=0.33,
        invariant="T1 T2 T3 T4 T5 T6",
        needs=("classes",),
        unit="logit",
        panel=True,
    ),
    Definition(
        "margin-normalized",
        "margin of normalised logits, 10th percentile",
        family="function space",
        formula="10th percentile of (f_y − max over k ≠ y of f_k) / ‖f − mean f‖₂",
        source="Dziugaite et al. 2020, arXiv 2010.11924; Andriushchenko et al. 2023, arXiv 2302.07011",
        orientation="control",
        cost=0.0,
        invariant="T1 T2 T3 T4 T5 T6 T7",
        needs=("classes",),
        panel=True,
    ),
)
def margins(objective: Objective, *, percentile: float = PERCENTILE) -> list[Measurement]:
    """Return a low percentile of the margins, raw and divided by each example's logit norm.

    Args:
        objective: a classifier.
        percentile: between 0 and 1.

    Raises:
        NotDefinedError: no class logits.

    Source: Jiang et al. 2020 (arXiv 1912.02178), who use the inverse square of the 10th percentile.

    >>> import torch, landscape as ls
    >>> net = torch.nn.Identity()
    >>> net.w = torch.nn.Parameter(torch.zeros(1))
    >>> logits, y = torch.tensor([[2.0, 0.0, 0.0], [0.0, 4.0, 0.0]]), torch.tensor([0, 1])
    >>> [round(row.value, 3) for row in margins(ls.Objective(net, (logits, y), "cross_entropy"), percentile=0.5)]
    [3.0, 1.225]
    """
    raw, normalized = [], []
    with objective.guard(), torch.no_grad():
        for batch in objective.batches:
            output = objective.batch_outputs(objective.theta, batch).double()
            target = batch.target
            assert target is not None
            counted = target != objective.known.ignore_index
            safe = torch.where(counted, target, 0)
            raw.append(class_margins(output, safe)[counted])
            normalized.append(class_margins(normalize_logits(output), safe)[counted])
    return [
        Measurement(float(torch.quantile(torch.cat(raw), percentile)), gradients=FORWARD, name="margin"),
        Measurement(float(torch.quantile(torch.cat(normalized), percentile)), name="margin-normalized"),
    ]
