"""Functionals: what is made of a quantity under a perturbation, the largest, the mean, the first, ….

A functional takes a `Case` and the radii, and returns one `Measurement` per radius.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from scipy.special import logsumexp
from torch import Tensor

from landscape.arguments import keyword_options
from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.function.batches import Batch
from landscape.function.objective import Objective
from landscape.function.stack import Stack
from landscape.operators import Hessian
from landscape.scores.apgd import Evaluate, maximize
from landscape.scores.gauges import Gauge, Gauged, none
from landscape.scores.kinks import kink_note
from landscape.scores.lbfgs import box_maximum
from landscape.scores.perturbations import Ball, Box, Noise, Perturbation, number
from landscape.scores.quantities import FORWARD, PRODUCT, Meter, Quantity, loss
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


@dataclass(frozen=True)
class Functional:
    """A functional, and what can be said of every score that uses it.

    Attributes:
        measure: ``(case, radii, **options) -> measurements``, or without radii for scores that have none.
        cost: ``(number of radii, **options) -> gradients``; `None`: not known beforehand.
        unit: of the result; `None`: that of the quantity.
        over: what it asks of the perturbation: to be ``a set``, ``noise`` or ``directions``; empty: its units alone.
        of_loss: it follows derivatives of the loss, whatever else it reads.
        climbs: it follows the gradient, which normalised logits of two classes do not have.
        guesses: it starts from the size of the weights, which a shift of the logits changes.
        stacks: it measures the networks of a `Stack` at once; its ``seed`` is then one of each, and values are arrays.
    """

    measure: Callable[..., Iterable[Measurement]]
    cost: Callable[..., float] | None = None
    unit: str | None = None
    over: str = ""
    of_loss: bool = False
    climbs: bool = False
    guesses: bool = False
    stacks: bool = False

    def __call__(self, *args: Any, **options: Any) -> list[Measurement]:
        """Measure a case."""
        return list(self.measure(*args, **options))

    def with_(self, **defaults: Any) -> Functional:
        """Return the same functional with other defaults of its options."""
        return replace(self, measure=partial(self.measure, **defaults))


@dataclass(frozen=True)
class Composition:
    """A functional of a quantity under a perturbation, in a gauge.

    Attributes:
        slug: what it is called in messages.
        quantity: what is read at the moved weights.
        perturbation: how they are moved.
        functional: what is made of it.
        gauge: what is taken out of the network first.
        radii: the grid that is measured unless another is given.
    """

    slug: str
    quantity: Quantity
    perturbation: Perturbation
    functional: Functional
    gauge: Gauge = none
    radii: tuple[float, ...] = ()

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The keyword-only options of all parts, by name."""
        option = partial(inspect.Parameter, kind=inspect.Parameter.KEYWORD_ONLY)
        radii = {"radii": option("radii", default=None, annotation="Sequence[float] | None")} if self._has_radii else {}
        gauge = {"gauge": option("gauge", default=True, annotation="bool")} if self.gauge.shift_removed else {}
        return radii | self.perturbation.options | keyword_options(self.functional.measure) | gauge

    @property
    def _has_radii(self) -> bool:
        return "radii" in inspect.signature(self.functional.measure).parameters

    def measure(self, network: Gauged, **given: Any) -> list[Measurement]:
        """Measure a network; an option that two parts have goes to both."""
        measured = self._measured(network.at(self.gauge, fix=given.get("gauge", True)), **given)
        left = network.left(self.gauge) if given.get("gauge", True) else ""
        return [_noted(row, left) for row in measured] if left else measured

    def together(self, networks: Sequence[Gauged], seeds: Sequence[int], **given: Any) -> list[list[Measurement]]:
        """Measure networks that can be stacked, each with a seed of its own: the measurements of every one."""
        fix = given.get("gauge", True)
        stack = Stack([network.at(self.gauge, fix=fix) for network in networks])
        measured = self._measured(stack, **given, seed=tuple(seeds))
        left = [network.left(self.gauge) if fix else "" for network in networks]
        return [[_noted(_of(row, k), left[k]) for row in measured] for k in range(len(networks))]

    def _measured(self, at: Any, **given: Any) -> list[Measurement]:
        moved, own = self.perturbation.options, keyword_options(self.functional.measure)
        bound = self.perturbation.about(at, **{name: given[name] for name in moved if name in given})
        grid = given.get("radii")
        grids = [tuple(self.radii if grid is None else grid)] if self._has_radii else []
        case = Case(at, bound, self.quantity, self.slug)
        return self.functional(case, *grids, **{name: given[name] for name in own if name in given})


def _noted(row: Measurement, left: str) -> Measurement:
    return replace(row, note="; ".join(filter(None, (row.note, left))))


def _of(row: Measurement, k: int) -> Measurement:
    """Return what was measured of network k of a stack."""
    own = {name: value.tolist()[k] for name, value in vars(row).items() if isinstance(value, np.ndarray)}
    return replace(row, **own)


def _mean_of_largest(parts: Objective, moved: Box, radius: float, iterations: int, meter: Meter) -> tuple[float, float]:
    """Return the mean over batches of the largest rise that APGD finds, and of what the gradient at the weights foretells.

    The first step is twice as long as the set is wide.
    """
    total, slope = torch.zeros((2,), dtype=torch.float64, device=parts.device)
    project, aside = moved.projection(radius), moved.aside(radius)

    def climb(batch: Batch, start: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        rise = moved.rise(parts, batch)
        slopes: list[Tensor] = []

        def ascent(gradient: Tensor) -> Tensor:
            step = moved.ascent(gradient)
            if not slopes:
                slopes.append(step.double() @ gradient.double())
            return step

        initial, best, _ = maximize(rise, ascent, project, start, 2 * radius, iterations=iterations)
        meter.gradient((iterations + 1) * batch.size / parts.n)
        return initial, best, slopes[0]

    with parts.guard(), torch.no_grad():
        for batch in parts.batches:
            initial, best, first = climb(batch, torch.zeros_like(aside))
            if not best > initial:
                best = torch.maximum(best, climb(batch, aside)[1])
            total += (best - initial) * batch.scale
            slope += radius * first * batch.scale
    return float(total), float(slope)


def _in_parts(objective: Objective, size: int) -> Objective:
    """Return the objective in sub-batches of a size, or in its own where their norm statistics are part of the function."""
    return objective if objective.norm == "batch" else objective.rebatch(size)


def _largest_rise(
    case: Case, radii: Sequence[float], *, subset: int = SUBSET, iterations: int = 20
) -> Iterator[Measurement]:
    parts = _in_parts(case.objective, subset)
    for radius in bar(radii, desc=case.slug):
        meter = Meter()
        value, slope = _mean_of_largest(parts, case.perturbation, radius, iterations, meter)
        note = f"the slope at the weights alone gives {slope / value:.0%} of it" if value > 0 else ""
        yield Measurement(value, None, radius, meter.gradients, note=note)


largest_rise = Functional(
    _largest_rise, lambda radii, *, iterations, **_: radii * (iterations + 1), of_loss=True, climbs=True, over="a set"
)
r"""Mean over sub-batches of :math:`\max_{\delta} L_B(w + \delta) - L_B(w)` in a box or ball, by APGD from δ = 0.

Sub-batches are disjoint, of fixed size, and cut by index, so that the value does not depend on the objective's batches. It is
deterministic, and a lower bound of the true maximum. At small radii it is the slope of the loss, whose share is noted:
:math:`\rho \lVert c \circ g \rVert_1` of a box over the score.
"""


def _largest_mean_rise(
    case: Case, radii: Sequence[float], *, subset: int = SUBSET, iterations: int = 10, seed: int = 0
) -> Iterator[Measurement]:
    parts, moved = _in_parts(case.objective, subset), case.perturbation
    with parts.guard(), torch.no_grad():
        shape = parts.theta.shape[:-1]
        bases = [parts.batch_value(parts.theta, batch).double().reshape(shape) for batch in parts.batches]
    for radius in bar(radii, desc=case.slug):
        total = torch.zeros(shape, dtype=torch.float64, device=parts.device)
        project, start = moved.projection(radius), moved.corner(radius, seed)
        with parts.guard(), torch.no_grad():
            for batch, base in zip(parts.batches, bases, strict=True):
                both = _both_ways(moved.rise(parts, batch), at_once=isinstance(parts, Stack))
                _, best, _ = maximize(both, moved.ascent, project, start, 2 * radius, iterations=iterations)
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


largest_mean_rise = Functional(
    _largest_mean_rise,
    lambda radii, *, iterations, **_: radii * 2 * (iterations + 1) + FORWARD,
    of_loss=True,
    climbs=True,
    stacks=True,
)
r"""Mean over sub-batches of :math:`\max_{\delta} \tfrac12[L_B(w + \delta) + L_B(w - \delta)] - L_B(w)` in a box or ball.

The slope of the loss cancels, so that no critical point is asked for; a smooth loss gives half the largest curvature times the
square of the radius. APGD starts from a random point on the edge of the set, since at δ = 0 there is no way up. Every step costs
two gradients.
"""


def _one_step_rise(case: Case, radii: Sequence[float], *, subset: int | None = SUBSET) -> Iterator[Measurement]:
    parts, moved = _in_parts(case.objective, subset or case.objective.n), case.perturbation
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


one_step_rise = Functional(
    _one_step_rise, lambda radii, **_: radii * (1 + FORWARD), of_loss=True, climbs=True, over="a set"
)
"""Mean over sub-batches of the rise after one step that is steepest within the box or ball."""


def _relative_rise(case: Case, radii: Sequence[float], *, iterations: int = 10, seed: int = 0) -> Iterator[Measurement]:
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


relative_rise = Functional(_relative_rise, unit="%", of_loss=True, climbs=True, over="a set")
r"""Largest rise of the loss in a box by L-BFGS-B, :math:`100\,(\max L - L(w)) / (1 + L(w))`: a lower bound."""


def _mean_rise(case: Case, radii: Sequence[float], *, pairs: int = 8, seed: int = 0) -> list[Measurement]:
    moved, meter = case.perturbation, Meter()
    theta = case.objective.theta
    base, values = case.quantity.begin(case.objective, meter)

    def points() -> Iterator[Tensor]:
        for step in moved.steps(pairs, seed):
            for radius in radii:
                yield theta + radius * step
                yield theta - radius * step

    found = values(points())
    increases = found.reshape(pairs, len(radii), 2, *found.shape[1:]).mean(2) - base
    cost = meter.gradients / len(radii)
    return [Measurement(value, error, radius, cost) for radius, (value, error) in zip(radii, over_samples(increases))]


mean_rise = Functional(
    _mean_rise, lambda radii, *, pairs, **_: FORWARD * (1 + 2 * pairs * radii), over="noise", stacks=True
)
r"""Mean rise :math:`E_z[Q(w + \rho\,c \odot z)] - Q(w)` under noise.

Every draw is used with both signs (the odd part of the quantity cancels within a pair) and at every radius; the standard error
is that of the mean over pairs.
"""


def over_samples(samples: np.ndarray) -> list[tuple[Any, Any]]:
    """Return the mean and its standard error of every column of samples (K, columns); NaN for a single sample.

    Of the networks of a stack, (K, columns, networks), both are arrays.
    """
    count = len(samples)
    errors = samples.std(0, ddof=1) / np.sqrt(count) if count > 1 else np.full(samples.shape[1:], np.nan)
    return [(mean[()], error[()]) for mean, error in zip(samples.mean(0), errors)]


def _log_mean_exp(
    case: Case, radii: Sequence[float], *, samples: int = 100, per_example: bool = False, seed: int = 0
) -> Iterator[Measurement]:
    weight = case.objective.n if per_example else 1
    for gamma in radii:
        meter = Meter()
        base, values = case.quantity.begin(case.objective, meter)
        steps = (step / np.sqrt(gamma) for step in case.perturbation.steps(samples, seed))
        exponents = -weight * (values(case.displaced(steps)) - base)
        log_mean = float(logsumexp(exponents) - np.log(samples))
        ratios = np.exp(exponents - log_mean)
        yield Measurement(-log_mean, float(ratios.std(ddof=1) / np.sqrt(samples)), gamma, meter.gradients)


log_mean_exp = Functional(
    _log_mean_exp, lambda radii, *, samples, **_: FORWARD * radii * (1 + samples), unit="nat", over="noise"
)
r"""Negative log mean :math:`-\log E_z \exp(-m\,[Q(w + c \odot z/\sqrt\gamma) - Q(w)])` under noise of variance c²/γ.

m is 1, or the number of examples with ``per_example=True``: the Bayesian reading of a mean negative log-likelihood. The mean is
dominated by the best draws, a heavy bias in high dimensions; the standard error is that of the log of the mean (delta method).
"""


def _second_difference(case: Case, radii: Sequence[float], *, directions: int = 4, seed: int = 0) -> list[Measurement]:
    meter = Meter()
    drawn = case.perturbation.directions(directions, seed)
    theta = case.objective.theta
    base, values = case.quantity.begin(case.objective, meter)

    def points() -> Iterator[Tensor]:
        for vector in drawn:
            d = vector.to(theta)
            for h in radii:
                yield theta + h * d
                yield theta - h * d

    second = (values(points()).reshape(len(drawn), len(radii), 2).sum(2) - 2 * base) / np.square(radii)
    cost = meter.gradients / len(radii)
    return [Measurement(value, error, h, cost) for h, (value, error) in zip(radii, over_samples(second))]


second_difference = Functional(
    _second_difference, lambda radii, *, directions, **_: FORWARD * (1 + 2 * directions * radii), over="directions"
)
r"""Mean over directions of :math:`(Q(w + hd) + Q(w - hd) - 2Q(w)) / h^2`, which sees kinks that second derivatives leave out."""


def _curvature(case: Case, *, directions: int = 20, seed: int = 0) -> Iterator[Measurement]:
    V = torch.stack(case.perturbation.directions(directions, seed)).to(case.objective.theta)
    products = (Hessian(case.objective) @ V.T).T
    ((value, error),) = over_samples((V.double() * products.double()).sum(1, keepdim=True).cpu().numpy())
    yield Measurement(value, error, gradients=PRODUCT * len(V), note=kink_note(case.objective))


curvature = Functional(
    _curvature, lambda radii, *, directions, **_: PRODUCT * directions, of_loss=True, over="directions"
)
r"""Mean over directions of the second derivative :math:`d^T H d`."""


def _worst_over_mean(case: Case, radii: Sequence[float], *, pairs: int = 8, seed: int = 0) -> Iterator[Measurement]:
    at, scale = case.objective, case.perturbation.scale
    ball, noise = replace(case, perturbation=Ball(at, scale)), replace(case, perturbation=Noise(at, scale))
    length = float((ball.perturbation.c > 0).sum()) ** 0.5
    for radius in radii:
        (worst,) = largest_rise(ball, [radius * length], subset=at.n)
        (mean,) = mean_rise(noise, [radius], pairs=pairs, seed=seed)
        ratio = worst.value / mean.value
        assert mean.standard_error is not None
        error = abs(ratio * mean.standard_error / mean.value)
        yield Measurement(ratio, error, radius, worst.gradients + mean.gradients)


worst_over_mean = Functional(
    _worst_over_mean,
    lambda radii, *, pairs, **_: radii * (21 + FORWARD * (1 + 2 * pairs)),
    unit="1",
    of_loss=True,
    climbs=True,
)
r"""Worst case over average case at equal expected length, :math:`S_{max}(\rho\sqrt{P'}) / S_{avg}(\rho)`.

P′ is the number of weights that are not zero. A flat but spiky minimum has a small average and a large worst case.
"""
