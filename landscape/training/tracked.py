"""What a `Tracker` can measure at a step of training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
from landscape.training.critical import critical_step
from landscape.training.optimiser_state import StepRule

Values = dict[str, float]

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


def lambda_max(moment: Moment) -> Values:
    """The largest eigenvalues of the Hessian, warm-started from the last step's vectors."""
    return _extreme(moment, "lambda_max", Hessian(moment.objective, program="kept", products=FEWEST), 1.0)


def lambda_min(moment: Moment) -> Values:
    """The smallest eigenvalue of the Hessian."""
    negative = -1.0 * Hessian(moment.objective, program="kept", products=FEWEST)
    return _extreme(moment, "lambda_min", negative, -1.0)


def preconditioned(moment: Moment) -> Values:
    """λmax of P^{-1/2} H P^{-1/2}, P the optimiser's preconditioner: what its threshold bounds."""
    diagonal = moment.rule.preconditioner
    H = Hessian(moment.objective, program="kept", products=FEWEST)
    if diagonal is None:
        return _extreme(moment, "preconditioned", H, 1.0)
    root = diagonal.rsqrt().to(moment.objective.device, moment.objective.dtype)
    return _extreme(moment, "preconditioned", scaled(H, root), 1.0, root)


def _extreme(moment: Moment, name: str, op: Any, sign: float, root: Tensor | None = None) -> Values:
    k = 1 if name == "lambda_min" else moment.k
    start = moment.kept.get(name)
    first = start is None
    if start is None:  # much of the gradient lies along the leading eigenvectors, though not of all
        gradient = moment.objective.gradient()
        start = (gradient if root is None else gradient * root)[None]
    values, residuals, moment.kept[name], products = warm_eigenpairs(op, start, k, first=first, seed=moment.seed)
    found = {
        name: sign * float(values[0]),
        f"residual/{name}": float(residuals[0]),
        f"products/{name}": float(products),
    }
    return found | {f"{name}_{i + 1}": sign * float(values[i]) for i in range(1, len(values))}


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


def critical_sharpness(moment: Moment) -> Values:
    """2/η_c, η_c the learning rate at which the step just taken first raises the loss; forward passes only."""
    return _critical(moment, "critical_sharpness", moment.objective)


def relative_critical_sharpness(moment: Moment) -> Values:
    """2/η_c for the loss on other data, along the step taken on the training data."""
    if moment.other is None:
        raise NotDefinedError("relative critical sharpness needs other data: pass relative=")
    return _critical(moment, "relative_critical_sharpness", moment.other)


def _critical(moment: Moment, name: str, objective: Objective) -> Values:
    update = moment.update
    before = moment.objective.theta - update
    base = objective.loss(before)
    found = critical_step(lambda c: objective.loss(before + c * update) - base, guess=moment.kept.get(name, 1.0))
    if np.isfinite(found.factor):
        moment.kept[name] = found.factor
    value = 2 / (found.factor * moment.rule.lr) if moment.rule.lr > 0 else float("nan")
    return {name: value, f"error/{name}": abs(value) * found.width / 2, f"forwards/{name}": float(found.forwards + 1)}


def loss(moment: Moment) -> Values:
    """L on the tracked data."""
    return {"loss": moment.objective.loss()}


def weight_norm(moment: Moment) -> Values:
    """‖θ‖₂."""
    return {"weight_norm": float(moment.objective.theta.double().norm())}


def update_norm(moment: Moment) -> Values:
    """‖θ_after − θ_before‖₂."""
    return {"update_norm": float(moment.update.double().norm())}


def cosine(moment: Moment) -> Values:
    """|cos| of the update with the top eigenvector, which ``lambda_max`` must have measured before."""
    vectors = moment.kept.get("lambda_max")
    if vectors is None:
        raise NotDefinedError("the cosine needs the top eigenvector: measure lambda_max before it")
    update = moment.update.double()
    return {"cosine": float((vectors[0].double() @ update).abs() / update.norm())}


MEASURES: Mapping[str, Measure] = {
    "lambda_max": lambda_max,
    "lambda_min": lambda_min,
    "preconditioned": preconditioned,
    "trace": hessian_trace,
    "batch_sharpness": batch_sharpness,
    "critical_sharpness": critical_sharpness,
    "relative_critical_sharpness": relative_critical_sharpness,
    "loss": loss,
    "weight_norm": weight_norm,
    "update_norm": update_norm,
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
    rows = sharpness(moment.objective, [slug], seed=moment.seed).rows
    several = sum(row.name == slug for row in rows) > 1
    for row in rows:
        if row.name == slug:
            name = f"{slug} {row.radius:g}" if several and row.radius is not None else slug
            found[name] = float(row.value)
            if row.standard_error is not None:
                found[f"error/{name}"] = float(row.standard_error)
    return found
