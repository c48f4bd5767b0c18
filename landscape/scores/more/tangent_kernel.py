"""The neural tangent kernel: how far training moved it, and whether it is aligned with the labels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from landscape.function.batches import Batch
from landscape.function.objective import Objective
from landscape.scores.distance import initial_weights
from landscape.scores.gradient_noise import gradient_rows
from landscape.scores.register import Definition, Measurement, UndefinedError, score
from landscape.scores.requirements import class_count

EXAMPLES = 100


def tangent_kernel(objective: Objective, examples: int = EXAMPLES) -> Tensor:
    r"""Return the neural tangent kernel, averaged over outputs, on the first examples, (m, m) in float64.

    .. math:: \Theta_{ij} = \frac1C \sum_k \langle \nabla_w f_k(x_i), \nabla_w f_k(x_j) \rangle

    Args:
        objective: a classifier, or a network with outputs (N, C).
        examples: m; the first ones are used.

    Raises:
        NotDefinedError: the network cannot be mapped over examples.

    Source: Jacot et al. 2018 (arXiv 1806.07572).
    """
    part = objective.subset(range(min(examples, objective.n)))
    outputs = class_count(part)
    kernel = torch.zeros(part.n, part.n, dtype=torch.float64, device=part.device)
    for k in range(outputs):

        def output(at: Tensor, one: Batch, k: int = k) -> Tensor:
            return part.batch_outputs(at, one).flatten(1)[0, k]

        rows = torch.cat(list(gradient_rows(part, output))).double()
        kernel += rows @ rows.T
    return kernel / outputs


@score(
    "ntk-alignment",
    "alignment of the neural tangent kernel with the labels",
    family="function space",
    formula="⟨Θ, YYᵀ⟩ / (‖Θ‖_F ‖YYᵀ‖_F), Y centred one-hot labels",
    source="Cortes et al. 2012, JMLR 13; Arora et al. 2019, arXiv 1901.08584",
    orientation="control",
    cost=1,
    invariant="T4",
    needs=("classes",),
)
def ntk_alignment(objective: Objective, *, examples: int = EXAMPLES) -> Measurement:
    """Return the centred alignment of the tangent kernel with the labels; low for random labels, which are fitted slowly.

    Args:
        objective: a classifier.
        examples: the first ones are used.

    Raises:
        NotDefinedError: no class labels, or one class only.
    """
    kernel = tangent_kernel(objective, examples)
    labels = objective.subset(range(len(kernel))).targets.flatten()[: len(kernel)]
    one_hot = torch.nn.functional.one_hot(labels, class_count(objective)).double()
    one_hot = one_hot - one_hot.mean(0)
    centred = kernel - kernel.mean(0) - kernel.mean(1, keepdim=True) + kernel.mean()
    target = one_hot @ one_hot.T
    size = float(centred.norm() * target.norm())
    if size == 0:
        raise UndefinedError("all examples have the same label, or the kernel is zero")
    return Measurement(
        float((centred * target).sum()) / size, gradients=len(kernel) * class_count(objective) / objective.n
    )


@score(
    Definition(
        "ntk-movement",
        "relative change of the neural tangent kernel in training",
        formula="‖Θ − Θ₀‖_F / ‖Θ₀‖_F",
        source="Chizat et al. 2019, arXiv 1812.07956; Fort et al. 2020, arXiv 2010.15110",
        cost=2,
        invariant="",
    ),
    Definition(
        "ntk-distance",
        "kernel distance travelled in training",
        formula="1 − ⟨Θ, Θ₀⟩ / (‖Θ‖_F ‖Θ₀‖_F)",
        source="Fort et al. 2020, arXiv 2010.15110, eq. 2",
        cost=0,
        invariant="T4",
    ),
    family="function space",
    orientation="control",
)
def ntk_movement(objective: Objective, *, checkpoint: Any = None, examples: int = EXAMPLES) -> list[Measurement]:
    """Measure how far training moved the tangent kernel: near zero in the lazy, or kernel, regime.

    Args:
        objective: at the trained weights.
        examples: the first ones are used.

    Raises:
        NotDefinedError: the initial weights are not known.

    Source: Fort et al. 2020 (arXiv 2010.15110), equation 2.
    """
    before = tangent_kernel(initial_weights(objective, checkpoint), examples)
    after = tangent_kernel(objective, examples)
    cost = 2 * len(after) * class_count(objective) / objective.n
    cosine = float((before * after).sum() / (before.norm() * after.norm()))
    return [
        Measurement(float((after - before).norm() / before.norm()), gradients=cost, name="ntk-movement"),
        Measurement(1 - cosine, name="ntk-distance"),
    ]
