"""Gradients of single examples, a chunk at a time, their first two moments, and the scores of their noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import grad, vmap

from landscape.errors import NotDefinedError
from landscape.function.batches import Batch
from landscape.function.objective import Objective
from landscape.scores.register import Definition, Measurement, score

CHUNK_BYTES = 16 * 2**20
"""Memory that the gradients of the examples treated at once may take: what fits the cache is fastest."""

Quantity = Callable[[Tensor, Batch], Tensor]


def lifted(inputs: Any) -> Any:
    """Give one example its batch dimension back."""
    if isinstance(inputs, Tensor):
        return inputs[None]
    if isinstance(inputs, tuple):
        return tuple(lifted(item) for item in inputs)
    if isinstance(inputs, dict):
        return {key: lifted(item) for key, item in inputs.items()}
    return inputs


def gradient_rows(objective: Objective, quantity: Quantity | None = None) -> Iterator[Tensor]:
    """Yield gradients in theta of a scalar of each example, as rows (chunk, P).

    Args:
        objective: the function.
        quantity: ``(theta, batch of one example) -> scalar``; `None`: the loss of the example.

    Raises:
        NotDefinedError: the loss is a `BatchLoss`, or the network cannot be mapped over examples.
    """
    if not objective.has_criterion:
        raise NotDefinedError("gradients of single examples are not defined here: a BatchLoss reads whole batches")
    theta = objective.theta
    scalar = quantity or (lambda at, one: objective.batch_value(at, one).reshape(()))

    def row(inputs: Any, target: Tensor) -> Tensor:
        return grad(lambda at: scalar(at, Batch(lifted(inputs), target[None], (inputs, target), 1)))(theta)

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


@dataclass(frozen=True)
class Moments:
    """First two moments of the gradients of n single examples.

    Attributes:
        mean: g, (P,), in float64.
        square: mean of the squared entries, (P,), in float64: the diagonal of the uncentred covariance.
        n: number of examples.
    """

    mean: Tensor
    square: Tensor
    n: int

    @property
    def variance(self) -> Tensor:
        """Diagonal of C = (1/n) Σ (g_i − g)(g_i − g)ᵀ, (P,)."""
        return (self.square - self.mean.square()).clamp_min(0)


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
    return Moments(mean, square, objective.n)


def layer_snr(objective: Objective, moments: Moments | None = None) -> dict[str, float]:
    r"""Return the gradient's signal-to-noise ratio of every parameter tensor.

    .. math:: \mathrm{SNR}_l = \lVert g_l\rVert_2^2\,/\,\mathrm{Tr}\,C_l

    with each tensor's own mean gradient and covariance, both quadratic.

    Args:
        objective: the function.
        moments: moments that are known already.

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
    finite = [ratio for ratio in ratios.values() if 0 < ratio < np.inf]
    snr = Measurement(
        np.nan, status="not defined", note="no tensor has both a mean gradient and noise", name="gradient-snr"
    )
    listed = ", ".join(f"{name} {ratio:.2g}" for name, ratio in list(ratios.items())[:8])
    if finite:
        snr = Measurement(float(np.exp(np.mean(np.log(finite)))), note=listed, name="gradient-snr")
    return [
        Measurement(noise, gradients=2, name="gradient-covariance"),
        Measurement(noise / signal if signal > 0 else np.inf, name="noise-scale"),
        snr,
    ]
