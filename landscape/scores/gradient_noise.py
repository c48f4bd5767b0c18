"""The noise of single examples' gradients: covariance, noise scale, signal-to-noise ratio of every layer."""

from __future__ import annotations

import numpy as np

from landscape.function.objective import Objective
from landscape.scores.example_gradients import Moments, gradient_moments
from landscape.scores.register import Definition, Measurement, score


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
        family="noise",
        formula="Tr C, C = (1/n) Σ (g_i − g)(g_i − g)ᵀ",
        source="Jiang et al. 2020, arXiv 1912.02178, final gradient noise",
        cost=2,
        invariant="T4 T5",
        unit="loss squared per parameter squared",
    ),
    Definition(
        "noise-scale",
        "gradient noise scale",
        family="noise",
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
        family="noise",
        formula="exp mean_l log(‖g_l‖₂² / Tr C_l)",
        source="Shwartz-Ziv and Tishby 2017, arXiv 1703.00810, section 3.3",
        orientation="control",
        cost=0,
        invariant="T1 T4 T5",
    ),
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
