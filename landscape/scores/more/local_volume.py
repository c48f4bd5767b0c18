"""The volume of weights that predict alike, in the measure of a Gaussian prior, with preconditioned directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.operators import GaussNewton
from landscape.scores import quantities
from landscape.scores.crossings import ball_log_volume, crossings
from landscape.scores.functionals import Case
from landscape.scores.perturbations import draws
from landscape.scores.quantities import PRODUCT, Meter
from landscape.scores.register import Measurement, score
from landscape.spectra import diagonal

Preconditioner = Literal["none", "curvature"]
_POINTS = 4001
_WIDTHS = 60.0


def log_radial_integral(r: float, along: float, dimension: int, s: float) -> float:
    r"""Return :math:`\log \int_0^r x^{D-1} \exp(-x^2/(2s^2) - x\,b/s^2)\,dx`, by Simpson's rule about the largest integrand.

    Args:
        r: upper limit.
        along: b, the component of the weights along the direction.
        dimension: D.
        s: standard deviation of the prior.
    """
    peak = (-along + np.sqrt(along**2 + 4 * (dimension - 1) * s**2)) / 2
    top = min(peak, r)
    slope = abs((dimension - 1) / top - (top + along) / s**2) if top < peak else 0.0
    width = 1 / max(slope, np.sqrt((dimension - 1) / top**2 + 1 / s**2))
    x = np.linspace(max(top - _WIDTHS * width, top * 1e-9), min(r, top + _WIDTHS * width), _POINTS)
    logs = (dimension - 1) * np.log(x) - x**2 / (2 * s**2) - x * along / s**2
    weights = np.full(_POINTS, 2.0)
    weights[1::2] = 4.0
    weights[[0, -1]] = 1.0
    return float(logsumexp(logs, b=(x[1] - x[0]) / 3 * weights))


def preconditioner(objective: Objective, kind: Preconditioner, *, epsilon: float, probes: int, seed: int) -> Tensor:
    """Return the diagonal of P, (P,) in float64, of determinant one: longer steps where the curvature is small.

    Raises:
        LandscapeError: an unknown kind.
    """
    if kind == "none":
        return torch.ones(objective.size, dtype=torch.float64)
    if kind != "curvature":
        raise LandscapeError(f"a preconditioner of {kind!r}; expected 'none' or 'curvature'")
    entries = torch.as_tensor(diagonal(GaussNewton(objective), matvecs=probes, seed=seed).values).double().cpu()
    scale = 1 / (entries.abs().sqrt() + epsilon)
    return scale / scale.log().mean().exp()


@score(
    "local-volume",
    "negative log of the prior's mass of weights that predict alike",
    family="volume",
    formula="−log P_{w′ ~ N(0, s²)}(mean KL(p_w ‖ p_{w′}) < 0.01, star-shaped about w)",
    source="Scherlis and Belrose 2025, arXiv 2501.18812, section 3",
    cost=600,
    invariant="T4",
    needs=("classes",),
    unit="nat",
    radii=(1e-2,),
    compared="difference",
    remark="a lower bound of the volume dominated by the best direction; preconditioning moves it by thousands of nats",
)
def local_volume(
    objective: Objective,
    *,
    radii: Sequence[float],
    directions: int = 50,
    prior: float | None = None,
    precondition: Preconditioner = "curvature",
    epsilon: float = 0.01,
    probes: int = 100,
    seed: int = 0,
) -> list[Measurement]:
    r"""Estimate how much of a Gaussian prior predicts like this network.

    .. math:: \log P = \log\operatorname{mean}_u \frac{D\,\omega_D}{(2\pi s^2)^{D/2}}
        \int_0^{r(u)} x^{D-1} e^{-\lVert w + x\hat u\rVert^2/(2s^2)}\,dx \;\Vert Pu\Vert^{-D}, \qquad \hat u = Pu/\lVert Pu\rVert

    Directions are drawn uniformly and stretched by a diagonal P of determinant one, :math:`p_i \propto 1/(\sqrt{|h_i|} +
    \epsilon)` with h the diagonal of the Gauss–Newton matrix. The mean over directions is dominated by the largest: the
    result is a lower bound, and comparable only between checkpoints of one architecture, prior and preconditioner.

    Args:
        radii: KL levels in nats.
        prior: s; `None`: the root mean square of the weights.
        precondition: ``curvature`` or ``none``.
        epsilon: ε of the preconditioner.
        probes: products spent on the diagonal.

    Raises:
        NotDefinedError: no class probabilities.
        LandscapeError: an unknown preconditioner.
    """
    w, size = objective.theta.double().cpu(), objective.size
    s = float(w.square().mean().sqrt()) if prior is None else float(prior)
    scale = preconditioner(objective, precondition, epsilon=epsilon, probes=probes, seed=seed)
    units, penalties = [], []
    for z in draws(size, directions, seed):
        stretched = scale * z / z.norm()
        penalties.append(size * float(stretched.norm().log()))
        units.append(stretched / stretched.norm())
    case = Case(objective, None, quantities.divergence)
    found = []
    for level in radii:
        meter = Meter(0.0 if precondition == "none" else PRODUCT * probes)
        crossed = crossings(case, level, units, meter, guess=s / 64)
        constant = ball_log_volume(size) + np.log(size) - size / 2 * np.log(2 * np.pi * s**2)
        constant -= float(w.square().sum()) / (2 * s**2)
        logs = [
            constant + log_radial_integral(min(r, 100 * s * size**0.5), float(u @ w), size, s) - penalty
            for r, u, penalty in zip(crossed, units, penalties, strict=True)
        ]
        value = float(logsumexp(logs) - np.log(directions))
        share = np.exp(np.array(logs) - value)
        found.append(Measurement(-value, float(share.std(ddof=1) / directions**0.5), level, meter.gradients))
    return found
