"""What a `Tracker` can measure at a step of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf, isfinite, nan
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.objective import Objective
from landscape.operators import Hessian, scaled
from landscape.scores import REGISTRY, sharpness
from landscape.scores.stability import minibatch_quotients
from landscape.spectra import trace
from landscape.spectra.lanczos import Lanczos
from landscape.spectra.protocol import Products
from landscape.training.optimiser_state import StepRule

Values = dict[str, float]

TOLERANCE = 1 / 16
"""Relative width of the bracket at which the search stops, as in the published method's 2⁻⁴."""
FORWARDS = 24
"""Forward passes at most; a search that needs more has met a loss that is no parabola at any scale."""

FARTHEST = 16.0
"""Factor by which a search goes out at most, from one forward pass to the next."""
SMALLEST = 1e-4
"""Share of the guess below which a step counts as one that raises the loss at once."""
FEWEST = 3
"""Products of a warm start at least: two show no gap that could be trusted."""
MOST = 12
"""Products of a warm start at most: an eigenvalue that another overtakes is found anew by then."""
FIRST = 40
"""Products of the first measurement at most, which starts from the gradient; it takes 4 to 15."""
CLOSE = 0.005
"""Relative error of an eigenvalue, estimated by residual²/gap, below which it is taken."""
MINIBATCHES = 8
"""Minibatches of a batch sharpness, which has their standard error beside it."""
PROBES = 8
"""Products of a trace."""


@dataclass
class Moment:
    """The state of training at a measured step, and what measures keep from one to the next.

    Attributes:
        objective: the loss on the tracked data, centred at the weights after the step.
        before: the weights (P,) before the step; `None` where they are not known.
        rule: how the optimiser steps.
        batch_size: examples per step of the training; `None` where it was not said.
        other: the loss on other data, for relative critical sharpness.
        k: eigenvalues per measurement.
        seed: of random draws.
        kept: start vectors and guesses, by measure.
    """

    objective: Objective
    before: Tensor | None
    rule: StepRule
    batch_size: int | None
    other: Objective | None
    k: int
    seed: int
    kept: dict[str, Any] = field(default_factory=dict)

    @property
    def update(self) -> Tensor:
        """θ_after − θ_before, (P,).

        Raises:
            NotDefinedError: the weights before the step are not known.
        """
        if self.before is None:
            raise NotDefinedError("the weights before the step are not known: use the tracker as a context")
        return self.objective.theta - self.before


Measure = Callable[[Moment], Values]


def _extreme(moment: Moment, name: str, *, sign: float = 1.0, scale: Tensor | None = None) -> Values:
    """The largest eigenvalues of D H D, or of −H as the smallest one; warm-started from the vectors of the last step."""
    op: Any = Hessian(moment.objective, program="kept", products=FEWEST)
    op = sign * op if scale is None else scaled(op, scale)
    start = moment.kept.get(name)
    first = start is None
    if start is None:  # much of the gradient lies along the leading eigenvectors, though not of all
        gradient = moment.objective.gradient()
        start = (gradient if scale is None else gradient * scale)[None]
    k = moment.k if sign > 0 else 1
    values, residuals, moment.kept[name], products = warm_eigenpairs(op, start, k, first=first, seed=moment.seed)
    found = {name if i == 0 else f"{name}_{i + 1}": sign * float(value) for i, value in enumerate(values)}
    return found | {f"residual/{name}": float(residuals[0]), f"products/{name}": float(products)}


def preconditioned(moment: Moment) -> Values:
    """λmax of P^{-1/2} H P^{-1/2}, P the optimiser's preconditioner: what its threshold bounds."""
    diagonal, objective = moment.rule.preconditioner, moment.objective
    scale = None if diagonal is None else diagonal.rsqrt().to(objective.device, objective.dtype)
    return _extreme(moment, "preconditioned", scale=scale)


def warm_eigenpairs(
    op: Any, start: Tensor, k: int, *, first: bool = False, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, Tensor, int]:
    """Return the k largest eigenvalues, their residuals, vectors (k + 1, P) and the products spent, from nearby vectors.

    Lanczos from the sum of the start vectors and of a random one; it stops once residual²/gap, the error of a Ritz
    value, is small. The last vector is the runner-up's: a start that holds it sees an eigenvalue that overtakes.

    Args:
        op: a symmetric operator (P, P).
        start: rows (s, P), such as the eigenvectors at the last step.
        k: pairs.
        first: whether the start is a mere guess: the random vector is as long, and the error has to be five times smaller.
        seed: of the random vector.
    """
    products = Products(op)
    rows = start.to(products.device, products.dtype)
    rows = rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min(1e-300)
    noise = torch.randn(products.size, generator=torch.Generator().manual_seed(seed)).to(rows)
    begin = rows[:k].sum(0) + 0.3 * rows[k:].sum(0) + (1.0 if first else 0.05) * noise / noise.norm()
    run = Lanczos(products, begin[None], capacity=min(FIRST if first else MOST, products.size), seed=seed)
    before, last = np.zeros(k), np.zeros(k)
    close = CLOSE / 5 if first else CLOSE
    while True:
        run.step()
        values, coefficients, residuals = run.ritz()
        order = np.argsort(values)[::-1]
        top = order[:k]
        if run.exhausted or run.full:
            break
        if products.count < FEWEST + 2 * (k - 1) or len(values) <= k:
            continue
        before, last = last, values[top]
        gap = max(float(values[top[-1]] - values[order[k]] - residuals[order[k]]), 1e-300)
        left = residuals[top]
        # an eigenvalue that the start hardly knows shows as a value that still grows, before its residual does
        error = np.maximum(np.minimum(left, left**2 / gap), np.abs(last - before))
        if float(error.max()) <= close * float(np.abs(last).max()):
            break
    return values[top], residuals[top], run.vectors(coefficients[:, order[: k + 1]]), products.count


@dataclass(frozen=True)
class CriticalStep:
    """Where the loss first rises along a step.

    Attributes:
        factor: the multiple of the step at which the loss comes back to where it began; NaN where it rises at once, ∞
            where it never does.
        width: relative width of the bracket the factor is the middle of.
        forwards: evaluations of the loss that were spent.
    """

    factor: float
    width: float
    forwards: int


def critical_step(rise: Callable[[float], float], *, guess: float = 1.0, tolerance: float = TOLERANCE) -> CriticalStep:
    r"""Return the smallest multiple c of a step with L(θ + c u) > L(θ).

    The rise divided by c is linear in c on a parabola, so its root is found by the secant between the ends of a bracket,
    and the bracket is closed around it: three evaluations on a parabola, where bisection takes as many as it has digits.

    Args:
        rise: c ↦ L(θ + c u) − L(θ), one forward pass each.
        guess: where to begin, such as the factor found at the last step.
        tolerance: relative width of the final bracket.

    Source: Kalra et al. 2026 (arXiv 2601.16979), which brackets by doubling and bisects.

    >>> round(critical_step(lambda c: -1.0 * c + 0.25 * c * c).factor, 1)  # rises beyond 4
    4.0
    """
    low, high = (0.0, nan), (inf, nan)  # (c, rise / c): not rising, rising
    tried: list[tuple[float, float]] = []
    c = first = guess if isfinite(guess) and guess > 0 else 1.0
    while len(tried) < FORWARDS and SMALLEST * first < c < first / SMALLEST**1.5:
        value = rise(c)
        tried.append((c, value / c))
        if value > 0 or not isfinite(value):
            high = tried[-1]
        else:
            low = tried[-1]
        if low[0] > 0 and high[0] < inf and high[0] - low[0] <= tolerance * (high[0] + low[0]) / 2:
            break
        c = _next(low, high, tried, tolerance)
    if low[0] == 0:
        return CriticalStep(nan, inf, len(tried))
    if high[0] == inf:
        return CriticalStep(inf, inf, len(tried))
    return CriticalStep((low[0] + high[0]) / 2, 2 * (high[0] - low[0]) / (high[0] + low[0]), len(tried))


def _next(
    low: tuple[float, float], high: tuple[float, float], tried: list[tuple[float, float]], tolerance: float
) -> float:
    """Return where to look next: beyond the secant's root until it is bracketed, then beside it, on the side still open."""
    root = _root(tried)
    beside = 0.4 * tolerance * root
    if high[0] == inf:
        most = (2 if len(tried) < 2 else FARTHEST) * low[0]
        return min(root + beside, most) if root > low[0] else most
    if low[0] == 0:
        least = high[0] / (2 if len(tried) < 2 else FARTHEST)
        return max(root - beside, least) if root < high[0] else least
    if not low[0] < root < high[0]:
        return (low[0] * high[0]) ** 0.5
    # the nearer end of the bracket is the one to replace last: aim a little beyond the root, towards the farther end
    aimed = root + beside if high[0] - root > root - low[0] else root - beside
    return aimed if low[0] < aimed < high[0] else (low[0] * high[0]) ** 0.5


def _root(tried: list[tuple[float, float]]) -> float:
    """Return where the secant through the two smallest rises / c is zero; NaN where there is none."""
    nearest = sorted((point for point in tried if isfinite(point[1])), key=lambda point: abs(point[1]))[:2]
    if len(nearest) < 2 or nearest[0][1] == nearest[1][1]:
        return nan
    (a, p), (b, q) = nearest
    return a - p * (b - a) / (q - p)


def hessian_trace(moment: Moment) -> Values:
    """The trace of the Hessian, from few products, with its standard error."""
    estimate = trace(Hessian(moment.objective, program="kept", products=PROBES), matvecs=PROBES, seed=moment.seed)
    return {"trace": float(estimate.value), "error/trace": float(estimate.standard_error)}


def batch_sharpness(moment: Moment) -> Values:
    """E_B[gᵀH_B g/‖g‖²] over disjoint minibatches of the tracked data, of the training's batch size."""
    if moment.batch_size is None:
        raise NotDefinedError("batch sharpness needs the batch size of the training: pass batch_size=")
    if moment.batch_size > moment.objective.n:
        raise NotDefinedError(
            f"batch_size={moment.batch_size} is more than the {moment.objective.n} examples; track more of them"
        )
    quotients = minibatch_quotients(moment.objective, moment.batch_size, moment.seed, most=MINIBATCHES)
    if len(quotients) == 0:
        raise NotDefinedError("the gradient of every minibatch is zero")
    error = float(quotients.std() / len(quotients) ** 0.5) if len(quotients) > 1 else float("nan")
    return {"batch_sharpness": float(quotients.mean()), "error/batch_sharpness": error}


def relative_critical_sharpness(moment: Moment) -> Values:
    """2/η_c for the loss on other data, along the step taken on the training data."""
    if moment.other is None:
        raise NotDefinedError("relative critical sharpness needs other data: pass relative=")
    return _critical(moment, "relative_critical_sharpness", moment.other)


def _critical(moment: Moment, name: str, objective: Objective) -> Values:
    """2/η_c, η_c the learning rate at which the step just taken first raises the loss; forward passes only."""
    update = moment.update
    before = moment.objective.theta - update
    base = objective.loss(before)
    found = critical_step(lambda c: objective.loss(before + c * update) - base, guess=moment.kept.get(name, 1.0))
    if np.isfinite(found.factor):
        moment.kept[name] = found.factor
    value = 2 / (found.factor * moment.rule.lr) if moment.rule.lr > 0 else float("nan")
    return {name: value, f"error/{name}": abs(value) * found.width / 2, f"forwards/{name}": float(found.forwards + 1)}


def cosine(moment: Moment) -> Values:
    """|cos| of the update with the top eigenvector, which ``lambda_max`` must have measured before."""
    vectors = moment.kept.get("lambda_max")
    if vectors is None:
        raise NotDefinedError("the cosine needs the top eigenvector: measure lambda_max before it")
    update = moment.update.double()
    return {"cosine": float((vectors[0].double() @ update).abs() / update.norm())}


MEASURES: Mapping[str, Measure] = {
    "lambda_max": lambda moment: _extreme(moment, "lambda_max"),
    "lambda_min": lambda moment: _extreme(moment, "lambda_min", sign=-1.0),
    "preconditioned": preconditioned,
    "trace": hessian_trace,
    "batch_sharpness": batch_sharpness,
    "critical_sharpness": lambda moment: _critical(moment, "critical_sharpness", moment.objective),
    "relative_critical_sharpness": relative_critical_sharpness,
    "loss": lambda moment: {"loss": moment.objective.loss()},
    "weight_norm": lambda moment: {"weight_norm": float(moment.objective.theta.double().norm())},
    "update_norm": lambda moment: {"update_norm": float(moment.update.double().norm())},
    "cosine": cosine,
}
"""By the name they are asked for with; besides them, any score's slug and any function of the objective."""


def measure_named(wanted: str | Callable[[Objective], Any]) -> tuple[str, Measure]:
    """Return the name of a measure and what measures it.

    Raises:
        LandscapeError: it is neither a measure of the tracker's, nor a score, nor a function.
    """
    if callable(wanted):
        name = getattr(wanted, "__name__", type(wanted).__name__)
        return name, lambda moment: {name: float(wanted(moment.objective))}
    if wanted in MEASURES:
        return wanted, MEASURES[wanted]
    if wanted in REGISTRY:
        return wanted, lambda moment: _scored(moment, wanted)
    raise LandscapeError(
        f"measure={wanted!r} is unknown; expected one of {', '.join(MEASURES)}, a score such as 'adaptive-worst-linf', or "
        "a function of the objective"
    )


def _scored(moment: Moment, slug: str) -> Values:
    found: Values = {}
    rows = sharpness(moment.objective, [slug], seed=moment.seed).all(slug)
    for row in rows:
        name = f"{slug} {row.radius:g}" if len(rows) > 1 and row.radius is not None else slug
        found[name] = float(row.value)
        if row.standard_error is not None:
            found[f"error/{name}"] = float(row.standard_error)
    return found
