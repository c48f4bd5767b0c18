"""PAC-Bayes bounds from the tolerated noise: the measures of the large comparative studies."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from landscape.function.objective import Objective
from landscape.scores.catalogue import inverse_sigma, inverse_sigma_mag
from landscape.scores.fit import initial_weights
from landscape.scores.register import Definition, Measurement, UndefinedError, score

EPSILON = 1e-3
_SOURCE = "Jiang et al. 2020, arXiv 1912.02178, and Dziugaite et al. 2020, arXiv 2010.11924, appendix C of both"


def bound(square: float, sigma: float, examples: int) -> float:
    r"""Return :math:`\sqrt{(\lVert\cdot\rVert^2 / (4\sigma^2) + \log(m/\sigma) + 10) / m}`, with σ a standard deviation.

    >>> round(bound(4.0, 0.5, 100), 6)
    0.439299
    """
    return float(np.sqrt((square / (4 * sigma**2) + np.log(examples / sigma) + 10) / examples))


def magnitude_bound(theta: Tensor, start: Tensor, centre: Tensor, sigma: float, examples: int) -> float:
    r"""Return the magnitude-aware bound.

    .. math:: \sqrt{\frac1m\Big[\frac14 \sum_i \log\frac{\epsilon^2 + (\sigma'^2 + 1)\lVert w - c\rVert^2/\omega}
        {\epsilon^2 + \sigma'^2 (w_i - w_{0,i})^2} + \log\frac{m}{\sigma'} + 10\Big]}

    Args:
        theta: w, (P,).
        start: w₀, (P,).
        centre: c: the initial weights, or zero.
        sigma: σ′, a standard deviation relative to each weight.
        examples: m.
    """
    w, w0 = theta.double(), start.double()
    mean = float((w - centre.double()).square().mean())
    terms = np.log(EPSILON**2 + (sigma**2 + 1) * mean) - (EPSILON**2 + sigma**2 * (w - w0).square()).log()
    return float(np.sqrt((0.25 * float(terms.sum()) + np.log(examples / sigma) + 10) / examples))


def _definition(slug: str, title: str, formula: str) -> Definition:
    return Definition(slug, title, "error based", formula, _SOURCE, cost=45, needs=("errors",))


@score(
    _definition(
        "pac-bayes-init", "PAC-Bayes bound about the initial weights", "√((‖w − w₀‖²/(4σ²) + log(m/σ) + 10)/m)"
    ),
    _definition("pac-bayes-orig", "PAC-Bayes bound about the origin", "√((‖w‖²/(4σ²) + log(m/σ) + 10)/m)"),
    _definition(
        "pac-bayes-mag-init",
        "magnitude-aware PAC-Bayes bound about the initial weights",
        "√((¼Σ log((ε² + (σ′²+1)‖w − w₀‖²/ω)/(ε² + σ′²(w_i − w₀_i)²)) + log(m/σ′) + 10)/m)",
    ),
    _definition(
        "pac-bayes-mag-orig",
        "magnitude-aware PAC-Bayes bound about the origin",
        "√((¼Σ log((ε² + (σ′²+1)‖w‖²/ω)/(ε² + σ′²(w_i − w₀_i)²)) + log(m/σ′) + 10)/m)",
    ),
)
def pac_bayes(objective: Objective, *, checkpoint: Any = None, samples: int = 16, seed: int = 0) -> list[Measurement]:
    """Return the four PAC-Bayes measures, which join tolerated noise with the distance from where training started.

    Variances and standard deviations are kept apart throughout; published code passes one for the other. The number of examples
    is that of the objective.

    Args:
        objective: a classifier on its training data.

    Raises:
        NotDefinedError: no 0–1 error, the initial weights are not known, or no noise level raises the error.
    """
    start = initial_weights(objective, checkpoint).theta
    theta, m = objective.theta, objective.n
    plain = inverse_sigma(objective, samples=samples, seed=seed)[0]
    relative = inverse_sigma_mag(objective, samples=samples, epsilon=EPSILON, gauge=False, seed=seed)[0]
    if not (plain.value > 0 and relative.value > 0):
        raise UndefinedError("no finite noise level raises the error")
    sigma, sigma_mag = plain.value**-0.5, relative.value**-0.5
    zero = theta * 0
    moved, size = (float((theta.double() - c.double()).square().sum()) for c in (start, zero))
    half = plain.gradients / 2, relative.gradients / 2
    found = [
        ("pac-bayes-init", bound(moved, sigma, m), half[0]),
        ("pac-bayes-orig", bound(size, sigma, m), half[0]),
        ("pac-bayes-mag-init", magnitude_bound(theta, start, start, sigma_mag, m), half[1]),
        ("pac-bayes-mag-orig", magnitude_bound(theta, start, zero, sigma_mag, m), half[1]),
    ]
    return [Measurement(value, gradients=cost, name=name) for name, value, cost in found]
