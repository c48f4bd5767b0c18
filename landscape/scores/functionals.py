"""Functionals: what is made of a quantity under a perturbation, the largest, the mean, the first, ….

A functional takes a `Case` and the radii, and returns one `Measurement` per radius.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.function.stack import Stack
from landscape.operators import Hessian
from landscape.scores.ascent import Evaluate, box_maximum, maximize
from landscape.scores.network import kink_note
from landscape.scores.perturbations import Ball, Noise, number
from landscape.scores.quantities import FORWARD, PRODUCT, Meter, Quantity, Values, loss
from landscape.scores.register import Measurement

SUBSET = 128
"""Examples per maximisation: m-sharpness with m = 128, whatever the objective's own batches."""


@dataclass(frozen=True)
class Case:
    """What a functional reads.

    Attributes:
        objective: the network in its gauge.
        perturbation: bound to its weights, such as a `Box`.
        quantity: what is read at the moved weights.
        slug: the score, for messages and progress bars.
    """

    objective: Objective
    perturbation: Any
    quantity: Quantity = loss
    slug: str = "score"

    def displaced(self, steps: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield the weights moved by displacements (P,)."""
        theta = self.objective.theta
        return (theta + step.to(theta) for step in steps)

    def parts(self, size: int | None) -> Objective:
        """Return the objective in sub-batches, or in its own where their norm statistics are part of the function."""
        at = self.objective
        return at if at.norm == "batch" else at.rebatch(size or at.n)


@dataclass(frozen=True)
class Functional:
    """A functional, and what can be said of every score that uses it; ``@partial(Functional, …)`` makes one of a function.

    Attributes:
        measure: ``(case, radii, **options) -> measurements``, or without radii for scores that have none.
        cost: ``(number of radii, **options) -> gradients``; `None`: not known beforehand.
        unit: of the result; `None`: that of the quantity.
        over: what it asks of the perturbation: to be ``a set``, ``noise`` or ``directions``; empty: its units alone.
        sums: as in `Definition`: it reads sums over batches, never a single example or a sub-batch.
        shards: as in `Definition`.
        of_loss: it follows derivatives of the loss, whatever else it reads.
        climbs: it follows the gradient, which normalised logits of two classes do not have.
        guesses: it starts from the size of the weights, which a shift of the logits changes.
        stacks: it measures the networks of a `Stack` at once; its ``seed`` is then one of each, and values are arrays.
    """

    measure: Callable[..., Iterable[Measurement]]
    cost: Callable[..., float] | None = None
    unit: str | None = None
    over: str = ""
    sums: bool = False
    shards: bool = False
    of_loss: bool = False
    climbs: bool = False
    guesses: bool = False
    stacks: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "__doc__", self.measure.__doc__)

    def __call__(self, *args: Any, **options: Any) -> list[Measurement]:
        """Measure a case."""
        return list(self.measure(*args, **options))

    def with_(self, **defaults: Any) -> Functional:
        """Return the same functional with other defaults of its options."""
        return replace(self, measure=partial(self.measure, **defaults))


@partial(
    Functional,
    cost=lambda radii, *, iterations, **_: radii * (iterations + 1),
    of_loss=True,
    climbs=True,
    over="a set",
    shards=True,
)
def largest_rise(
    case: Case, radii: Sequence[float], *, subset: int = SUBSET, iterations: int = 20
) -> Iterator[Measurement]:
    r"""Mean over sub-batches of :math:`\max_{\delta} L_B(w + \delta) - L_B(w)` in a box or ball, by APGD from δ = 0.

    Sub-batches are disjoint, of fixed size, and cut by index, so that the value does not depend on the objective's batches. It is
    deterministic, and a lower bound of the true maximum. At small radii it is the slope of the loss, whose share is noted:
    :math:`\rho \lVert c \circ g \rVert_1` of a box over the score. The first step is twice as long as the set is wide.
    """
    parts, moved = case.parts(subset), case.perturbation
    for radius in bar(radii, desc=case.slug):
        meter, project, aside = Meter(), moved.projection(radius), moved.aside(radius)
        total, slope = torch.zeros((2,), dtype=torch.float64, device=parts.device)
        with parts.guard(), torch.no_grad():
            for batch in parts.batches:
                rise = moved.rise(parts, batch)
                climb = partial(maximize, rise, moved.ascent, project, step=2 * radius, iterations=iterations)
                top = climb(start=torch.zeros_like(aside))
                best, spent = top.best, 1
                if not best > top.initial:
                    best, spent = torch.maximum(best, climb(start=aside).best), 2
                total += (best - top.initial) * batch.scale
                slope += radius * parts.world.dot(moved.ascent(top.gradient), top.gradient) * batch.scale
                meter.gradient(spent * (iterations + 1) * batch.size / parts.n)
        value = float(total)
        note = f"the slope at the weights alone gives {float(slope) / value:.0%} of it" if value > 0 else ""
        yield Measurement(value, None, radius, meter.gradients, note=note)


@partial(
    Functional,
    cost=lambda radii, *, iterations, **_: radii * 2 * (iterations + 1) + FORWARD,
    of_loss=True,
    climbs=True,
    stacks=True,
    shards=True,
)
def largest_mean_rise(
    case: Case, radii: Sequence[float], *, subset: int = SUBSET, iterations: int = 10, seed: int = 0
) -> Iterator[Measurement]:
    r"""Mean over sub-batches of :math:`\max_{\delta} \tfrac12[L_B(w + \delta) + L_B(w - \delta)] - L_B(w)` in a box or ball.

    The slope of the loss cancels, so that no critical point is asked for; a smooth loss gives half the largest curvature times
    the square of the radius. APGD starts from a random point on the edge of the set, since at δ = 0 there is no way up. Every
    step costs two gradients.
    """
    parts, moved = case.parts(subset), case.perturbation
    with parts.guard(), torch.no_grad():
        shape = parts.theta.shape[:-1]
        bases = [parts.batch_value(parts.theta, batch).double().reshape(shape) for batch in parts.batches]
    for radius in bar(radii, desc=case.slug):
        total = torch.zeros(shape, dtype=torch.float64, device=parts.device)
        project, start = moved.projection(radius), moved.corner(radius, seed)
        with parts.guard(), torch.no_grad():
            for batch, base in zip(parts.batches, bases, strict=True):
                both = _both_ways(moved.rise(parts, batch), at_once=isinstance(parts, Stack))
                best = maximize(both, moved.ascent, project, start, 2 * radius, iterations=iterations).best
                total += (best - base) * batch.scale
        yield Measurement(number(total), None, radius, 2 * (iterations + 1) + FORWARD / len(radii))


def _both_ways(evaluate: Evaluate, *, at_once: bool) -> Evaluate:
    """Return ``x -> (mean of the values at x and -x, its gradient)``; of a stack, both are evaluated at once."""

    def mean(x: Tensor) -> tuple[Tensor, Tensor]:
        if at_once:
            (value, other), (gradient, behind) = evaluate(torch.stack([x, -x]))
        else:
            (value, gradient), (other, behind) = evaluate(x), evaluate(-x)
        return (value + other) / 2, (gradient - behind) / 2

    return mean


@partial(
    Functional, cost=lambda radii, **_: radii * (1 + FORWARD), of_loss=True, climbs=True, over="a set", shards=True
)
def one_step_rise(case: Case, radii: Sequence[float], *, subset: int | None = SUBSET) -> Iterator[Measurement]:
    """Mean over sub-batches of the rise after one step that is steepest within the box or ball."""
    parts, moved = case.parts(subset), case.perturbation
    theta = parts.theta
    for radius in radii:
        total = torch.zeros((), dtype=torch.float64, device=parts.device)
        with parts.guard(), torch.no_grad():
            for batch in parts.batches:
                before, gradient = moved.rise(parts, batch)(torch.zeros_like(theta))
                step = moved.displacement(moved.ascent(gradient))
                after = parts.batch_value(theta + radius * step, batch).double().reshape(())
                total += (after - before) * batch.scale
        yield Measurement(float(total), None, radius, 1 + FORWARD)


@partial(Functional, unit="%", of_loss=True, climbs=True, over="a set", sums=True)
def relative_rise(case: Case, radii: Sequence[float], *, iterations: int = 10, seed: int = 0) -> Iterator[Measurement]:
    r"""Largest rise of the loss in a box by L-BFGS-B, :math:`100\,(\max L - L(w)) / (1 + L(w))`: a lower bound."""
    objective, moved = case.objective, case.perturbation
    theta, base = objective.theta, objective.loss()
    if 1 + base <= 0:
        raise LandscapeError(f"the loss is {base:.4g}; Keskar's sharpness divides by 1 + loss, which must be positive")
    for radius in bar(radii, desc=case.slug):
        meter = Meter()

        def function(y: np.ndarray, meter: Meter = meter) -> tuple[float, np.ndarray]:
            meter.gradient()
            step = moved.displacement(torch.from_numpy(y))
            value, gradient = objective.value_and_gradient(theta + step.to(theta))
            return value, moved.pulled(gradient.double()).cpu().numpy()

        best = box_maximum(function, radius * moved.half(), iterations=iterations, seed=seed)
        meter.forward()
        yield Measurement(100 * (max(best, base) - base) / (1 + base), None, radius, meter.gradients)


def _either_side(case: Case, values: Values, steps: Iterable[Tensor], radii: Sequence[float]) -> np.ndarray:
    """Return the quantity at w + ρd and w − ρd for every step d and radius, (steps, radii, 2, …)."""
    lengths, theta = [sign * radius for radius in radii for sign in (1, -1)], case.objective.theta
    found = values(case.displaced(length * d for d in (step.to(theta) for step in steps) for length in lengths))
    return found.reshape(-1, len(radii), 2, *found.shape[1:])


@partial(
    Functional,
    cost=lambda radii, *, pairs, **_: FORWARD * (1 + 2 * pairs * radii),
    over="noise",
    sums=True,
    stacks=True,
    shards=True,
)
def mean_rise(case: Case, radii: Sequence[float], *, pairs: int = 8, seed: int = 0) -> list[Measurement]:
    r"""Mean rise :math:`E_z[Q(w + \rho\,c \odot z)] - Q(w)` under noise.

    Every draw is used with both signs (the odd part of the quantity cancels within a pair) and at every radius; the standard
    error is that of the mean over pairs.
    """
    meter = Meter()
    base, values = case.quantity.begin(case.objective, meter)
    rises = _either_side(case, values, case.perturbation.steps(pairs, seed), radii).mean(2) - base
    return _by_radius(rises, radii, meter)


@partial(
    Functional,
    cost=lambda radii, *, directions, **_: FORWARD * (1 + 2 * directions * radii),
    over="directions",
    sums=True,
    shards=True,
)
def second_difference(case: Case, radii: Sequence[float], *, directions: int = 4, seed: int = 0) -> list[Measurement]:
    r"""Mean over directions of :math:`(Q(w + hd) + Q(w - hd) - 2Q(w)) / h^2`, which sees kinks, as the Hessian does not."""
    meter, drawn = Meter(), case.perturbation.directions(directions, seed)
    base, values = case.quantity.begin(case.objective, meter)
    return _by_radius((_either_side(case, values, drawn, radii).sum(2) - 2 * base) / np.square(radii), radii, meter)


def _by_radius(samples: np.ndarray, radii: Sequence[float], meter: Meter) -> list[Measurement]:
    """Return the mean over samples (K, radii, …) at each radius, which share the cost."""
    cost = meter.gradients / len(radii)
    return [Measurement(*mean, radius, cost) for radius, mean in zip(radii, over_samples(samples), strict=True)]


def over_samples(samples: np.ndarray) -> list[tuple[Any, Any]]:
    """Return the mean and its standard error of every column of samples (K, columns); NaN for a single sample.

    Of the networks of a stack, (K, columns, networks), both are arrays.
    """
    count = len(samples)
    errors = samples.std(0, ddof=1) / np.sqrt(count) if count > 1 else np.full(samples.shape[1:], np.nan)
    return [(mean[()], error[()]) for mean, error in zip(samples.mean(0), errors)]


@partial(
    Functional,
    cost=lambda radii, *, samples, **_: FORWARD * radii * (1 + samples),
    unit="nat",
    over="noise",
    sums=True,
    shards=True,
)
def log_mean_exp(
    case: Case, radii: Sequence[float], *, samples: int = 100, per_example: bool = False, seed: int = 0
) -> Iterator[Measurement]:
    r"""Negative log mean :math:`-\log E_z \exp(-m\,[Q(w + c \odot z/\sqrt\gamma) - Q(w)])` under noise of variance c²/γ.

    m is 1, or the number of examples with ``per_example=True``: the Bayesian reading of a mean negative log-likelihood. The mean
    is dominated by the best draws, a heavy bias in high dimensions; the standard error is that of the log of the mean (delta
    method).
    """
    weight = case.objective.n if per_example else 1
    for gamma in radii:
        meter = Meter()
        base, values = case.quantity.begin(case.objective, meter)
        steps = (step / np.sqrt(gamma) for step in case.perturbation.steps(samples, seed))
        exponents = -weight * (values(case.displaced(steps)) - base)
        log_mean = float(logsumexp(exponents) - np.log(samples))
        ratios = np.exp(exponents - log_mean)
        yield Measurement(-log_mean, float(ratios.std(ddof=1) / np.sqrt(samples)), gamma, meter.gradients)


@partial(
    Functional,
    cost=lambda radii, *, directions, **_: PRODUCT * directions,
    of_loss=True,
    over="directions",
    sums=True,
    shards=True,
)
def curvature(case: Case, *, directions: int = 20, seed: int = 0) -> Iterator[Measurement]:
    r"""Mean over directions of the second derivative :math:`d^T H d`."""
    V = torch.stack(case.perturbation.directions(directions, seed)).to(case.objective.theta)
    products = (Hessian(case.objective) @ V.T).T
    (mean,) = over_samples(case.objective.world.dot(V, products)[:, None].cpu().numpy())
    yield Measurement(*mean, gradients=PRODUCT * len(V), note=kink_note(case.objective))


@partial(
    Functional,
    cost=lambda radii, *, pairs, **_: radii * (21 + FORWARD * (1 + 2 * pairs)),
    unit="1",
    of_loss=True,
    climbs=True,
    shards=True,
)
def worst_over_mean(case: Case, radii: Sequence[float], *, pairs: int = 8, seed: int = 0) -> Iterator[Measurement]:
    r"""Worst case over average case at equal expected length, :math:`S_{max}(\rho\sqrt{P'}) / S_{avg}(\rho)`.

    P′ is the number of weights that are not zero. A flat but spiky minimum has a small average and a large worst case.
    """
    at, scale = case.objective, case.perturbation.scale
    ball, noise = replace(case, perturbation=Ball(at, scale)), replace(case, perturbation=Noise(at, scale))
    length = float(at.world.over_parts((ball.perturbation.c > 0).sum())) ** 0.5
    for radius in radii:
        (worst,) = largest_rise(ball, [radius * length], subset=at.n)
        (mean,) = mean_rise(noise, [radius], pairs=pairs, seed=seed)
        ratio = worst.value / mean.value
        assert mean.standard_error is not None
        error = abs(ratio * mean.standard_error / mean.value)
        yield Measurement(ratio, error, radius, worst.gradients + mean.gradients)
