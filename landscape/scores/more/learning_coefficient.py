"""The local learning coefficient, by stochastic gradient Langevin dynamics."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.scores.quantities import FORWARD
from landscape.scores.register import Measurement, score


@score(
    "llc",
    "local learning coefficient",
    family="information",
    formula="nβ (E[L(w)] − L(w*)), w ~ exp(−nβ L(w) − ½γ‖w − w*‖²)",
    source="Lau et al. 2023, arXiv 2308.12108, eq. 5",
    cost=800,
    invariant="T4 T5",
)
def llc(
    objective: Objective,
    *,
    chains: int = 4,
    draws: int = 200,
    burn_in: int = 100,
    step: float | None = None,
    nbeta: float | None = None,
    gamma: float = 100.0,
    subset: int | None = None,
    seed: int = 0,
) -> Measurement:
    r"""Estimate the local learning coefficient, an effective number of parameters over two.

    .. math:: \hat\lambda = n\beta\,\big(E_{w}[L(w)] - L(w^*)\big), \qquad
        w \leftarrow w - \tfrac{\epsilon}{2}\big[n\beta\,\nabla L(w) + \gamma (w - w^*)\big] + N(0, \epsilon)

    nβ = n / log n with n the number of examples, whatever the batches; L(w*) is on all data. The network stays in evaluation
    mode. Steps of size ε on a quadratic give

    .. math:: \tfrac12 \sum_i \frac{n\beta\lambda_i}{a_i (1 - \epsilon a_i / 4)}, \qquad a_i = n\beta\lambda_i + \gamma

    and diverge for ε a_i ≥ 4. A negative value says that the chain found a lower loss, so that w* is no minimum of what is
    sampled: it is marked invalid, not called flat. Publish a grid over (ε, γ) and use its plateau.

    Args:
        objective: a mean negative log-likelihood.
        chains: independent chains; the standard error is over them.
        draws: draws a chain.
        burn_in: steps before them.
        step: ε; `None`: 0.1 / (nβ λ + γ) with λ the gradient's Lipschitz constant along one gradient step.
        nbeta: nβ; `None`: n / log n.
        gamma: γ, the pull to w*.
        subset: examples a gradient, drawn without replacement; `None`: all of them.
        seed: of noise and minibatches.

    Raises:
        LandscapeError: fewer than two examples without ``nbeta``, or counts below one.

    Source: Lau et al. 2023 (arXiv 2308.12108), equations 5 and 10.
    """
    if min(chains, draws) < 1 or burn_in < 0:
        raise LandscapeError(f"chains={chains}, draws={draws}, burn_in={burn_in}; expected at least 1, 1 and 0")
    if nbeta is None and objective.n < 3:
        raise LandscapeError(f"n / log n of {objective.n} examples is not defined; pass nbeta=")
    temperature = objective.n / np.log(objective.n) if nbeta is None else float(nbeta)
    centre, base = objective.theta, objective.loss()
    epsilon = step if step is not None else 0.1 / (temperature * _roughness(objective) + gamma)
    whole = objective.rebatch(objective.n) if subset is None else None
    means = []
    with bar(total=chains * (burn_in + draws), desc="llc", unit="step") as progress:
        for chain in range(chains):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + chain)
            w, losses = centre.clone(), []
            for t in range(burn_in + draws):
                part = whole or _minibatch(objective, subset or objective.n, generator)
                value, gradient = part.value_and_gradient(w)
                if t >= burn_in:
                    losses.append(value)
                noise = torch.randn(objective.size, dtype=torch.float64, generator=generator).to(w)
                w = w - 0.5 * epsilon * (temperature * gradient + gamma * (w - centre)) + epsilon**0.5 * noise
                progress.update()
            means.append(temperature * (float(np.mean(losses)) - base))
    value = float(np.mean(means))
    error = float(np.std(means, ddof=1) / np.sqrt(chains)) if chains > 1 else float("nan")
    cost = chains * (burn_in + draws) * (1.0 if subset is None else subset / objective.n) + 2 + FORWARD
    settings = f"ε {epsilon:.2g}, nβ {temperature:.4g}, γ {gamma:g}"
    if not np.isfinite(value):
        return Measurement(
            value, error, None, cost, status="invalid", note=f"the chain diverged; smaller step= ({settings})"
        )
    if value < 0:
        note = f"the chain found a lower loss: the weights are no minimum of what is sampled ({settings})"
        return Measurement(value, error, None, cost, status="invalid", note=note)
    return Measurement(value, error, None, cost, note=settings)


def _minibatch(objective: Objective, size: int, generator: torch.Generator) -> Objective:
    chosen = torch.randperm(objective.n, generator=generator)[:size]
    return objective.subset(chosen).rebatch(size)


def _roughness(objective: Objective) -> float:
    """Return ‖∇L(w + s) − ∇L(w)‖ / ‖s‖ for a small step s in a random direction, doubled by the local gradient's own."""
    generator = torch.Generator().manual_seed(0)
    theta, gradient = objective.theta, objective.gradient()
    direction: Tensor = (
        gradient if float(gradient.norm()) > 0 else torch.randn(objective.size, generator=generator).to(theta)
    )
    s = 1e-3 * direction / direction.norm() * max(float(theta.norm()), 1.0)
    change = (objective.gradient(theta + s) - gradient).double().norm()
    return float(change / s.double().norm())
