"""The local learning coefficient, by stochastic gradient Langevin dynamics."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch

from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.scores.quantities import FORWARD
from landscape.scores.register import Measurement, score
from landscape.statistics.chains import drift, effective_draws, mean_error, split_rhat

RELAXATIONS = 3.0
"""How often the slowest direction must have forgotten where it started; the bias of no direction is then above 2 %."""
LONGEST = 500
"""Steps of burn-in that are taken unasked."""
RHAT, DRIFT, EFFECTIVE = 1.1, 3.0, 40
"""Largest R-hat, largest drift in standard errors, and fewest effective draws of a value that is given."""


@score(
    "llc",
    "local learning coefficient",
    family="information",
    formula="nβ (E[L(w)] − L(w*)), w ~ exp(−nβ L(w) − ½γ‖w − w*‖²)",
    source="Lau et al. 2023, arXiv 2308.12108, eq. 5",
    cost=1600,
    invariant="T4 T5",
)
def llc(
    objective: Objective,
    *,
    chains: int = 4,
    draws: int | None = None,
    burn_in: int | None = None,
    step: float | None = None,
    nbeta: float | None = None,
    gamma: float = 100.0,
    subset: int | None = None,
    seed: int = 0,
) -> Measurement:
    r"""Estimate the local learning coefficient, an effective number of parameters over two.

    .. math:: \hat\lambda = n\beta\,\big(E_{w}[L(w)] - L(w^*)\big), \qquad
        w \leftarrow w - \tfrac{\epsilon}{2}\big[n\beta\,\nabla L(w) + \gamma (w - w^*)\big]
        + \tfrac{\sqrt\epsilon}{2}(z + z')

    nβ = n / log n with n the number of examples, whatever the batches; L(w*) is on all data. The network stays in evaluation
    mode. The noise of a step is the mean of a new draw and the last one, which takes the bias of the step out of a quadratic:

    .. math:: \hat\lambda \to \tfrac12 \sum_i \frac{n\beta\lambda_i}{a_i}, \qquad a_i = n\beta\lambda_i + \gamma

    while chains diverge for ε a_i ≥ 4. A direction forgets where it started within some 2/(ε a_i) steps, the slowest, which only
    γ pulls, within 2/(εγ): ε is bound by the largest λ, so that burn-in grows with the condition number.

    A value is given only where chains have arrived: burn-in is 3/(εγ) steps or more, or nothing is sampled; R-hat is at
    most 1.1, the halves of the chains are within three standard errors, and all draws are worth 40 independent ones. Else
    it is NaN, *not converged*, and the note says what is missing. A negative value says that the chain found a lower loss,
    so that w* is no minimum of what is sampled: it is marked invalid, not called flat. Publish a grid over (ε, γ) and use
    its plateau.

    Args:
        objective: a mean negative log-likelihood.
        chains: independent chains.
        draws: draws per chain; `None`: as many as steps of burn-in, at least 200.
        burn_in: steps before them; `None`: 3/(εγ), but no more than 500.
        step: ε; `None`: 0.5 / (nβ λ + γ) with λ the largest curvature that ten steps of power iteration find.
        nbeta: nβ; `None`: n / log n.
        gamma: γ, the pull to w*; at 0 burn-in is not checked.
        subset: examples per gradient, drawn without replacement; `None`: all of them.
        seed: of noise and minibatches.

    Raises:
        LandscapeError: fewer than two examples without ``nbeta``, or counts below one.

    Source: Lau et al. 2023 (arXiv 2308.12108), equations 5 and 10; the noise by B. Leimkuhler and C. Matthews 2013, *Rational
    construction of stochastic numerical methods for molecular sampling*, section 4.
    """
    if min(chains, 1 if draws is None else draws) < 1 or (burn_in or 0) < 0:
        raise LandscapeError(f"chains={chains}, draws={draws}, burn_in={burn_in}; expected at least 1, 1 and 0")
    if nbeta is None and objective.n < 3:
        raise LandscapeError(f"n / log n of {objective.n} examples is not defined; pass nbeta=")
    temperature = objective.n / np.log(objective.n) if nbeta is None else float(nbeta)
    epsilon = step if step is not None else 0.5 / (temperature * _largest_curvature(objective) + gamma)
    needed = math.ceil(round(RELAXATIONS / (epsilon * gamma), 6)) if gamma > 0 else LONGEST
    steps = min(needed, LONGEST) if burn_in is None else burn_in
    count = max(200, steps) if draws is None else draws
    settings = f"ε {epsilon:.2g}, nβ {temperature:.4g}, γ {gamma:g}"
    looked = FORWARD + (0 if step is not None else POWER_STEPS + 1)
    if steps < needed:
        why = f"flat directions need {needed:,} steps of burn-in, not {steps:,}: larger burn_in= or gamma= ({settings})"
        return Measurement(math.nan, None, None, looked, status="not converged", note=why)
    losses = sample_losses(
        objective, chains=chains, draws=count, burn_in=steps, step=epsilon, nbeta=temperature, gamma=gamma, subset=subset,
        seed=seed,
    )  # fmt: skip
    share = 1.0 if subset is None else subset / objective.n
    with np.errstate(over="ignore"):
        values = temperature * (losses - objective.loss())
    return _judged(values, looked + chains * (steps + count) * share, settings)


def _judged(values: np.ndarray, cost: float, settings: str) -> Measurement:
    """Return the mean of chains (chain, draw) if they have arrived, or why it is not given."""
    value = float(values.mean())
    refused = partial(Measurement, gradients=cost, standard_error=None)
    if not np.isfinite(value):
        return refused(math.nan, status="invalid", note=f"the chain diverged; smaller step= ({settings})")
    if value < 0:
        note = f"the chain found a lower loss: the weights are no minimum of what is sampled ({settings})"
        return refused(value, status="invalid", note=note)
    if reason := _not_arrived(values):
        note = f"{reason}; larger draws= (the chains are at {value:.3g}, {settings})"
        return refused(math.nan, status="not converged", note=note)
    known = f"R-hat {split_rhat(values):.3f}, {effective_draws(values):.0f} effective draws"
    return Measurement(value, mean_error(values), None, cost, note=f"{known}, {settings}")


def _not_arrived(values: np.ndarray) -> str:
    """Say why chains do not stand for their distribution; empty where nothing speaks against it."""
    if values.shape[1] < 8:
        return f"{values.shape[1]} draws per chain are too few to tell"
    rhat, moved, worth = split_rhat(values), drift(values), effective_draws(values)
    found = [
        f"R-hat {rhat:.2f}, above {RHAT}" if not rhat <= RHAT else "",
        f"a drift of {moved:.1f} standard errors" if not abs(moved) <= DRIFT else "",
        f"{worth:.0f} effective draws of {EFFECTIVE}" if not worth >= EFFECTIVE else "",
    ]
    return ", ".join(filter(None, found))


def sample_losses(
    objective: Objective,
    *,
    chains: int,
    draws: int,
    burn_in: int,
    step: float,
    nbeta: float,
    gamma: float,
    subset: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Return the losses that Langevin chains meet after burn-in, (chain, draw); the options are those of `llc`."""
    centre, losses = objective.theta, np.empty((chains, draws))
    whole = objective.rebatch(objective.n) if subset is None else None
    with bar(total=chains * (burn_in + draws), desc="llc", unit="step") as progress:
        for chain in range(chains):
            generator = torch.Generator().manual_seed(seed * 1_000_003 + chain)
            w, last = centre.clone(), torch.zeros_like(centre)
            for t in range(burn_in + draws):
                part = whole or _minibatch(objective, subset or objective.n, generator)
                value, gradient = part.value_and_gradient(w)
                if t >= burn_in:
                    losses[chain, t - burn_in] = value
                noise = torch.randn(objective.size, dtype=torch.float64, generator=generator).to(w)
                pull = nbeta * gradient + gamma * (w - centre)
                w, last = w - 0.5 * step * pull + 0.5 * step**0.5 * (noise + last), noise
                progress.update()
    return losses


def _minibatch(objective: Objective, size: int, generator: torch.Generator) -> Objective:
    chosen = torch.randperm(objective.n, generator=generator)[:size]
    return objective.subset(chosen).rebatch(size)


POWER_STEPS = 10


def _largest_curvature(objective: Objective) -> float:
    """Return ‖∇L(w + s) − ∇L(w)‖ / ‖s‖ for a small step s along which power iteration has made it large."""
    theta, gradient = objective.theta, objective.gradient()
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(objective.size, dtype=torch.float64, generator=generator)
    length, found = 1e-3 * max(float(theta.norm()), 1.0), 0.0
    for _ in range(POWER_STEPS):
        s = length * direction / direction.norm()
        direction = (objective.gradient(theta + s.to(theta)) - gradient).double().cpu()
        found = float(direction.norm()) / length
        if found == 0:
            break
    return found
