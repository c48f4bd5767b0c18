"""Averages of the loss over isotropic noise: low-pass-filter flatness and local entropy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.special import logsumexp
from torch import Tensor

from landscape.errors import NotDefinedError
from landscape.function.objective import Objective
from landscape.operators import Hessian
from landscape.scores.adaptive_average import average_increase
from landscape.scores.evaluation import PRODUCT, Meter, draws, error_share, loss_share, values_at
from landscape.scores.exact import spectrum
from landscape.scores.register import Definition, Measurement, score
from landscape.spectra import spectral_density
from landscape.spectra.functionals import spectral_sum
from landscape.transforms.head import gauge_fixed

SIGMA = 0.01
GAMMA = 1e4
EXACT = 300


@score(
    Definition(
        "lpf",
        "low-pass-filter flatness: mean rise under isotropic noise",
        family="average case",
        formula="E[L(w + σz)] − L(w), z ~ N(0, I)",
        source="Bisla et al. 2022, arXiv 2201.08025, eq. 4",
        stochastic=True,
        cost=34,
        invariant="T4 T5",
        unit="loss",
        radii=(SIGMA,),
        reference=SIGMA,
    )
)
def lpf(
    objective: Objective, *, radii: Sequence[float] | None = None, pairs: int = 50, seed: int = 0
) -> list[Measurement]:
    r"""Measure the mean rise of the loss under isotropic Gaussian noise.

    .. math:: E_{z \sim N(0, I)}\,[L(w + \sigma z)] - L(w) \approx \tfrac12 \sigma^2\,\mathrm{Tr} H

    The loss itself is subtracted, which the published score contains.

    Args:
        objective: the function.
        radii: standard deviations σ of the noise.
        pairs: antithetic pairs of draws.
        seed: of the draws.

    Source: Bisla et al. 2022 (arXiv 2201.08025), equation 4.
    """
    unit = objective.theta.new_ones(objective.size)
    return average_increase(objective, unit, tuple(radii or (SIGMA,)), pairs=pairs, seed=seed)


@score(
    Definition(
        "adaptive-average-error",
        "adaptive average rise of the 0–1 error",
        family="error based",
        formula="E[err(w + ρ|w|z)] − err(w), z ~ N(0, I)",
        source="Andriushchenko et al. 2023, arXiv 2302.07011, S_avg of the error",
        stochastic=True,
        cost=22,
        invariant="T1 T2 T4 T5 T7",
        needs=("errors",),
        radii=(0.1, 0.2, 0.4, 0.8),
        reference=0.4,
    )
)
def adaptive_average_error(
    objective: Objective,
    *,
    radii: Sequence[float] | None = None,
    pairs: int = 8,
    gauge: bool = True,
    seed: int = 0,
) -> list[Measurement]:
    """Measure how much noise proportional to the weights raises the 0–1 error.

    Args:
        objective: a classifier.
        radii: relative noise levels ρ.
        pairs: pairs of draws with opposite signs.
        gauge: first remove the shift of all logits that softmax does not see, so that the score does not depend on it.
        seed: of the draws.

    Raises:
        NotDefinedError: no 0–1 error.

    Source: Andriushchenko et al. 2023 (arXiv 2302.07011), S_avg with c = |w|.
    """
    objective = gauge_fixed(objective) if gauge else objective
    grid = tuple(radii or (0.1, 0.2, 0.4, 0.8))
    return average_increase(objective, objective.theta.abs(), grid, pairs=pairs, seed=seed, share=error_share)


@score(
    Definition(
        "local-entropy",
        "negative local entropy, Monte Carlo",
        family="volume",
        formula="−log E exp(−n (L(w + z/√γ) − L(w)))",
        source="Chaudhari et al. 2017, arXiv 1611.01838, eq. 3",
        stochastic=True,
        cost=34,
        invariant="T4 T5",
        unit="nat",
        radii=(GAMMA,),
        reference=GAMMA,
        compared="difference",
    )
)
def local_entropy(
    objective: Objective,
    *,
    radii: Sequence[float] | None = None,
    samples: int = 100,
    per_example: bool = False,
    seed: int = 0,
) -> list[Measurement]:
    r"""Estimate the negative local entropy by a log-mean-exp over noise of variance 1/γ.

    .. math:: -\log E_{z \sim N(0, I)} \exp\big(-m\,[L(w + z/\sqrt\gamma) - L(w)]\big)

    with m = 1. The mean is dominated by the best draws, a heavy bias in high dimensions: ``local-entropy-quadratic`` is
    the closed form beside it. The standard error is that of the log of the mean (delta method).

    Args:
        objective: the function.
        radii: values of γ; the noise has standard deviation γ^-½.
        samples: number of draws.
        per_example: m = n examples, for a Bayesian reading of a mean negative log-likelihood.
        seed: of the draws.

    Source: Chaudhari et al. 2017 (arXiv 1611.01838), equation 3.
    """
    theta, found = objective.theta, []
    weight = objective.n if per_example else 1
    for gamma in tuple(radii or (GAMMA,)):
        meter = Meter()

        def points(gamma: float = gamma) -> Iterator[Tensor]:
            yield theta
            for z in draws(objective.size, samples, seed):
                yield theta + z.to(theta) / np.sqrt(gamma)

        values = values_at(objective, points(), loss_share, meter)
        exponents = -weight * (values[1:] - values[0])
        log_mean = float(logsumexp(exponents) - np.log(samples))
        ratios = np.exp(exponents - log_mean)
        error = float(ratios.std(ddof=1) / np.sqrt(samples))
        found.append(Measurement(-log_mean, error, gamma, meter.gradients))
    return found


@score(
    Definition(
        "local-entropy-quadratic",
        "negative local entropy of the quadratic model",
        family="volume",
        formula="½ log det(I + H₊/γ)",
        source="Chaudhari et al. 2017, arXiv 1611.01838, appendix",
        stochastic=True,
        cost=240,
        invariant="T4 T5",
        unit="nat",
        radii=(GAMMA,),
        reference=GAMMA,
        compared="difference",
    )
)
def local_entropy_quadratic(
    objective: Objective,
    *,
    radii: Sequence[float] | None = None,
    probes: int = 4,
    steps: int = 30,
    seed: int = 0,
) -> list[Measurement]:
    r"""Return the negative local entropy of the quadratic model at the weights.

    .. math:: \tfrac12 \log\det(I + H/\gamma)

    exact for up to 300 parameters, else by stochastic Lanczos quadrature.

    Args:
        objective: the function.
        radii: values of γ; each must exceed every negative eigenvalue's size.
        probes: of the quadrature.
        steps: Lanczos steps a probe.
        seed: of the probes.

    Raises:
        NotDefinedError: an eigenvalue is −γ or below, where the integral diverges.
    """
    H, grid = Hessian(objective), tuple(radii or (GAMMA,))
    if objective.size <= EXACT:
        values = spectrum(H)
        if values[0] <= -min(grid):
            raise NotDefinedError(
                f"local-entropy-quadratic is not defined here: the eigenvalue {values[0]:.3g} is below −γ; use a larger γ"
            )
        cost = PRODUCT * objective.size / len(grid)
        return [Measurement(0.5 * float(np.log1p(values / gamma).sum()), 0.0, gamma, cost) for gamma in grid]
    density = spectral_density(H, probes=probes, steps=steps, seed=seed)
    cost, found = PRODUCT * density.matvecs / len(grid), []
    for gamma in grid:

        def term(values: np.ndarray, gamma: float = gamma) -> np.ndarray:
            terms: np.ndarray = np.log1p(values / gamma)
            return terms

        estimate = spectral_sum(density, term, "log-determinant")
        found.append(Measurement(0.5 * estimate.value, 0.5 * estimate.standard_error, gamma, cost))
    return found
