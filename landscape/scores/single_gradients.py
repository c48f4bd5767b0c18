"""Gradients of single examples, a chunk at a time: their moments and noise, and the Fisher matrix of a classifier."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, jvp, vmap
from torch.utils._pytree import tree_map

from landscape.errors import NotDefinedError
from landscape.function.batches import Batch
from landscape.function.gradients import CHUNK_BYTES
from landscape.function.objective import Objective
from landscape.operators import Fisher
from landscape.operators.fisher import FisherRule
from landscape.scores.register import Definition, Measurement, score
from landscape.scores.requirements import class_count

Quantity = Callable[[Tensor, Batch], Tensor]


def gradient_rows(objective: Objective, quantity: Quantity | None = None) -> Iterator[Tensor]:
    """Yield gradients in theta of a quantity of each example, by default its loss, as rows (chunk, P).

    Raises:
        NotDefinedError: the loss is a `BatchLoss`, or the network cannot be mapped over examples.
    """
    if not objective.has_criterion:
        raise NotDefinedError("gradients of single examples are not defined here: a BatchLoss reads whole batches")
    theta = objective.theta
    scalar = quantity or (lambda at, one: objective.batch_value(at, one).reshape(()))

    def row(inputs: Any, target: Tensor) -> Tensor:
        one = tree_map(lambda item: item[None] if isinstance(item, Tensor) else item, inputs)
        return grad(lambda at: scalar(at, Batch(one, target[None], (inputs, target), 1)))(theta)

    chunks = objective.rebatch(max(1, CHUNK_BYTES // (objective.size * theta.element_size())))
    with objective.guard(second=True):
        for batch in chunks.batches:
            try:
                assert batch.target is not None
                yield vmap(row, randomness="same")(batch.inputs, batch.target).detach()
            except RuntimeError as error:
                raise NotDefinedError(
                    "gradients of single examples are not defined here: the network cannot be mapped over examples "
                    f"({str(error).splitlines()[0]})"
                ) from error


class Moments(NamedTuple):
    """Mean g (P,) of the gradients of single examples, and diagonal (P,) of C = (1/n) Σ (g_i − g)(g_i − g)ᵀ, in float64."""

    mean: Tensor
    variance: Tensor


def gradient_moments(objective: Objective) -> Moments:
    """Return the moments of the gradients of all examples, with equal weights.

    Raises:
        NotDefinedError: examples do not have equal weights in the loss, or see `gradient_rows`.
    """
    total = torch.zeros(objective.size, dtype=torch.float64, device=objective.device)
    squares = torch.zeros_like(total)
    for rows in gradient_rows(objective):
        total += rows.double().sum(0)
        squares += rows.double().square().sum(0)
    mean, square = total / objective.n, squares / objective.n
    expected = objective.gradient().double() / (objective.n if objective.reduction == "sum" else 1)
    slack = 1e3 * torch.finfo(objective.dtype).eps * float(square.sum().sqrt())
    if float((mean - expected).norm()) > slack:
        raise NotDefinedError(
            "the covariance of gradients is not defined here: examples have unequal weights in the loss (ignored "
            "targets or class weights), so that it is not the mean over examples"
        )
    return Moments(mean, (square - mean.square()).clamp_min(0))


def layer_snr(objective: Objective, moments: Moments | None = None) -> dict[str, float]:
    r"""Return the gradient's signal-to-noise ratio of every parameter tensor.

    .. math:: \mathrm{SNR}_l = \lVert g_l\rVert_2^2\,/\,\mathrm{Tr}\,C_l

    with each tensor's own mean gradient and covariance, both quadratic.

    Source: Shwartz-Ziv and Tishby 2017 (arXiv 1703.00810), section 3.3, for drift and diffusion.
    """
    m = moments or gradient_moments(objective)
    ratios = {}
    for name, where in objective.space.slices.items():
        noise = float(m.variance[where].sum())
        ratios[name] = float(m.mean[where].square().sum()) / noise if noise > 0 else np.inf
    return ratios


@score(
    Definition(
        "gradient-covariance",
        "trace of the covariance of single gradients",
        formula="Tr C, C = (1/n) Σ (g_i − g)(g_i − g)ᵀ",
        source="Jiang et al. 2020, arXiv 1912.02178, final gradient noise",
        cost=2,
        invariant="T4 T5",
        unit="loss squared per parameter squared",
    ),
    Definition(
        "noise-scale",
        "gradient noise scale",
        formula="Tr C / ‖g‖₂²",
        source="McCandlish et al. 2018, arXiv 1812.06162, eq. 2.9",
        orientation="control",
        cost=0,
        invariant="T4 T5",
        unit="examples",
    ),
    Definition(
        "gradient-snr",
        "signal-to-noise ratio of the gradient, geometric mean over tensors",
        formula="exp mean_l log(‖g_l‖₂² / Tr C_l)",
        source="Shwartz-Ziv and Tishby 2017, arXiv 1703.00810, section 3.3",
        orientation="control",
        cost=0,
        invariant="T1 T4 T5",
    ),
    family="noise",
)
def gradient_noise(objective: Objective) -> list[Measurement]:
    """Measure how much the gradients of single examples scatter; exact, from one pass over single gradients.

    Raises:
        NotDefinedError: single gradients are not defined, or examples have unequal weights.

    >>> import torch, landscape as ls
    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> objective = ls.Objective(net, (torch.ones(2, 1), torch.tensor([[0.0], [2.0]])), "mse_loss")
    >>> gradient_noise(objective.at(torch.tensor([1.0])))[0].value  # gradients 2 and −2
    4.0
    """
    moments = gradient_moments(objective)
    noise, signal = float(moments.variance.sum()), float(moments.mean.square().sum())
    ratios = layer_snr(objective, moments)
    if finite := [ratio for ratio in ratios.values() if 0 < ratio < np.inf]:
        listed = ", ".join(f"{name} {ratio:.2g}" for name, ratio in list(ratios.items())[:8])
        snr = Measurement(float(np.exp(np.mean(np.log(finite)))), note=listed, name="gradient-snr")
    else:
        why = "no tensor has both a mean gradient and noise"
        snr = Measurement(np.nan, status="not defined", note=why, name="gradient-snr")
    return [
        Measurement(noise, gradients=2, name="gradient-covariance"),
        Measurement(noise / signal if signal > 0 else np.inf, name="noise-scale"),
        snr,
    ]


def score_rows(objective: Objective) -> Iterator[Tensor]:
    r"""Yield :math:`\sqrt{p_k(x)}\,\nabla_w \log p_k(x)` of all examples and classes, as rows (chunk, P) with RᵀR = n F.

    Raises:
        NotDefinedError: the loss is not a plain cross-entropy, or see `gradient_rows`.
    """
    if objective.task != "classes" or objective.likelihood != "categorical":
        raise NotDefinedError(
            "the scores of single classes are not defined here: the loss is not a plain cross-entropy"
        )
    for k in range(class_count(objective)):

        def root(at: Tensor, one: Batch, k: int = k) -> Tensor:
            logp = objective.batch_outputs(at, one).log_softmax(1)[0, k]
            return logp * (0.5 * logp.detach()).exp()

        yield from gradient_rows(objective, root)


def fisher_diagonal(objective: Objective) -> tuple[Tensor, float]:
    r"""Return the diagonal of the model's Fisher matrix, (P,) in float64, and its cost in gradients.

    .. math:: F_{ii} = \frac1n \sum_{x} \sum_k p_k(x) \Big(\frac{\partial \log p_k(x)}{\partial w_i}\Big)^2

    exact over classes, from one gradient for every example and class.

    Raises:
        NotDefinedError: the loss is not a plain cross-entropy, or see `gradient_rows`.
    """
    total = torch.zeros(objective.size, dtype=torch.float64, device=objective.device)
    for rows in score_rows(objective):
        total += rows.double().square().sum(0)
    return total / objective.n, float(class_count(objective))


def fisher_quadratic(objective: Objective, v: Tensor) -> float:
    """Return vᵀFv for the model's Fisher matrix F, from one forward-mode product per batch.

    Networks without forward-mode rules are multiplied by F instead.
    """
    rule, theta = FisherRule(objective), objective.theta

    def along(batch: Batch) -> Tensor:
        output, tangent = jvp(lambda at: rule.values(at, batch), (theta,), (v,))[:2]
        return (tangent.double() * rule.middle(output.detach(), batch)(tangent).double()).sum()

    try:
        with objective.guard(second=True):
            return float(sum(along(batch) for batch in objective.batches))
    except (RuntimeError, NotImplementedError):
        return float(v.double() @ (Fisher(objective) @ v).double())


@score(
    "fisher-rao",
    "Fisher–Rao norm, squared",
    family="function distribution",
    formula="wᵀFw",
    source="Liang et al. 2017, arXiv 1711.01530, definition 2",
    cost=0.67,
    invariant="T1 T2 T4 T5",
    needs=("likelihood",),
)
def fisher_rao(objective: Objective) -> Measurement:
    r"""Return the squared Fisher–Rao norm of the weights, with the model's own labels.

    .. math:: \lVert w\rVert_{fr}^2 = w^T F w = E_x\,(Jw)^T\,\mathrm{Cov}_{y \sim p}(\nabla_f \log p)\,(Jw)

    by one forward-mode product. Biases are included, so the closed form of homogeneous networks does not apply.

    >>> import torch, landscape as ls
    >>> net = torch.nn.Linear(1, 2, bias=False)
    >>> objective = ls.Objective(net, (torch.ones(1, 1), torch.tensor([0])), "cross_entropy")
    >>> fisher_rao(objective.at(torch.tensor([1.0, 1.0])))[0].value  # equal logits: a shift has no information
    0.0
    """
    return Measurement(fisher_quadratic(objective, objective.theta), gradients=2 / 3)
