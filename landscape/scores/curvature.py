"""Curvature: ends and sum of the Hessian's spectrum, and of the Hessian in units of each weight."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Literal

import numpy as np
import torch

from landscape.function.objective import Objective
from landscape.operators import Hessian, Operator, scaled
from landscape.scores.functionals import Case, Functional
from landscape.scores.network import kink_note, with_enough_precision
from landscape.scores.quantities import PRODUCT
from landscape.scores.register import Definition, Measurement, score
from landscape.spectra import top_eigenpairs, trace_and_frobenius

PRODUCTS = 40
PROBES = 30
_PER_SQUARE = "loss per parameter squared"


def spectrum(op: Operator) -> np.ndarray:
    """Return all eigenvalues of a small operator, (P,), ascending, from P products."""
    dense = op.dense().double()
    values: np.ndarray = torch.linalg.eigvalsh((dense + dense.T) / 2).cpu().numpy()
    return values


BOUNDS = {"lambda-max": "λmax is at least this, and ", "lambda-min": "λmin is at most this, and "}
"""What Lanczos knows of both ends of a spectrum before it has converged: bounds from inside."""


def ends(
    op: Operator, names: Mapping[str, str], *, tol: float, max_matvecs: int, seed: int, note: str
) -> list[Measurement]:
    """Return the largest eigenvalue, and the smallest for two names: of the whole spectrum where the products suffice.

    Each name comes with what is said of an end whose residual exceeds ``tol`` of the largest magnitude, ``note`` is said of
    others.
    """
    count, arrived = len(names), True
    if max_matvecs >= op.size:
        values, residuals, products = spectrum(op)[[-1, 0][:count]], np.zeros(count), op.size
    else:
        which: Literal["LA", "BE"] = "LA" if count == 1 else "BE"
        pairs = top_eigenpairs(op, count, which, tol=tol, max_matvecs=max_matvecs, seed=seed, vectors=False)
        order, arrived = np.argsort(-pairs.values), pairs.converged
        values, residuals, products = pairs.values[order], pairs.residuals[order], pairs.matvecs
    found = []
    for (name, bound), value, residual in zip(names.items(), values, residuals, strict=True):
        converged = arrived or residual <= tol * np.abs(values).max()
        told = note if converged else f"{bound}an eigenvalue lies within {residual:.2g} of it"
        cost, status = PRODUCT * products / count, "ok" if converged else "not converged"
        found.append(Measurement(float(value), gradients=cost, status=status, note=told, name=name))
    return found


@partial(Functional, of_loss=True, sums=True, shards=True)
def scaled_maximum(case: Case, *, tol: float = 1e-3, max_matvecs: int = 60, seed: int = 0) -> list[Measurement]:
    """Largest eigenvalue of D H D with D = diag(c): ½ρ² times it is the worst rise within ‖δ/c‖₂ ≤ ρ at a minimum."""

    def measure(objective: Objective) -> list[Measurement]:
        op = scaled(Hessian(objective), case.perturbation.at(objective.theta))
        return ends(op, {"": ""}, tol=tol, max_matvecs=max_matvecs, seed=seed, note=kink_note(objective))

    return with_enough_precision(measure, case.objective)


@partial(Functional, cost=lambda radii, *, matvecs, **_: PRODUCT * matvecs, of_loss=True, sums=True, shards=True)
def scaled_trace(case: Case, *, matvecs: int = PROBES, seed: int = 0) -> Iterator[Measurement]:
    """Trace of D H D with D = diag(c): ½ρ² times it is the mean rise under noise ρ c ∘ z."""
    op = scaled(Hessian(case.objective), case.perturbation.c)
    found, _ = trace_and_frobenius(op, matvecs=matvecs, seed=seed)
    note = kink_note(case.objective)
    yield Measurement(found.value, found.standard_error, gradients=PRODUCT * found.matvecs, note=note)


@score(
    Definition(
        "lambda-max",
        "largest eigenvalue of the Hessian",
        formula="λmax(∇²L(w))",
        source="Keskar et al. 2017, arXiv 1609.04836; ½ρ²λmax is the worst rise within ‖δ‖₂ ≤ ρ at a minimum",
        cost=70,
    ),
    Definition(
        "lambda-min",
        "smallest eigenvalue of the Hessian",
        formula="λmin(∇²L(w))",
        orientation="control",
        cost=0,
    ),
    family="curvature",
    stochastic=False,
    invariant="T4 T5",
    unit=_PER_SQUARE,
    sums=True,
    shards=True,
    panel=True,
)
def extreme_eigenvalues(
    objective: Objective, *, tol: float = 1e-3, max_matvecs: int = PRODUCTS, seed: int = 0
) -> list[Measurement]:
    """Compute both ends of the Hessian's spectrum in one Lanczos run.

    The values are bounds from inside the spectrum, λmax is at least and λmin at most what is given, and an eigenvalue lies
    within the residual of each. One whose residual exceeds ``tol`` of the largest magnitude is marked ``not converged``: λmin
    often is at the default, because it sits at the edge of a dense bulk near zero; the bound answers whether there is
    negative curvature. Where rounding to float32 breaks the symmetry of the products, at a tiny loss, float64 is used.

    Args:
        tol: residual asked for, relative to the largest magnitude.

    Source: Parlett 1998, theorem 4.5.1, for the residual bound.

    >>> import torch, landscape as ls
    >>> X = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
    >>> net = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    >>> objective = ls.Objective(net, (X, torch.zeros(2, 1, dtype=torch.float64)), "mse_loss")
    >>> [round(row.value, 6) for row in extreme_eigenvalues(objective)]  # ∇²L = XᵀX
    [4.0, 1.0]
    """

    def measure(at: Objective) -> list[Measurement]:
        return ends(Hessian(at), BOUNDS, tol=tol, max_matvecs=max_matvecs, seed=seed, note=kink_note(at))

    return with_enough_precision(measure, objective)


@score(
    Definition(
        "trace",
        "trace of the Hessian",
        formula="Tr ∇²L(w)",
        source="Hutchinson 1990; ½s²Tr H is the mean rise under noise N(0, s²I)",
        cost=60,
    ),
    Definition(
        "frobenius",
        "Frobenius norm of the Hessian",
        formula="‖∇²L(w)‖_F",
        source="E‖Hz‖² = ‖H‖_F² from the products of the trace",
        cost=0,
    ),
    family="curvature",
    invariant="T4 T5",
    unit=_PER_SQUARE,
    sums=True,
    shards=True,
    panel=True,
)
def trace_and_norm(objective: Objective, *, matvecs: int = PROBES, seed: int = 0) -> list[Measurement]:
    """Estimate the trace and the Frobenius norm of the Hessian from the same products with random signs.

    >>> import torch, landscape as ls
    >>> X = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
    >>> net = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    >>> objective = ls.Objective(net, (X, torch.zeros(2, 1, dtype=torch.float64)), "mse_loss")
    >>> [round(row.value, 6) for row in trace_and_norm(objective)]  # of diag(4, 1)
    [5.0, 4.123106]
    """
    total, norm = trace_and_frobenius(Hessian(objective), matvecs=matvecs, seed=seed)
    cost = PRODUCT * total.matvecs / 2
    return [
        Measurement(total.value, total.standard_error, gradients=cost, name="trace"),
        Measurement(norm.value, norm.standard_error, gradients=cost, name="frobenius"),
    ]


@score(
    "weight-curvature",
    "curvature along the weights",
    family="curvature",
    formula="wᵀHw",
    source="second derivative of t ↦ L(tw) at t = 1",
    cost=2,
    invariant="T1 T2 T4",
    unit="loss",
)
def weight_curvature(objective: Objective) -> Measurement:
    """Return the curvature along the weight vector, which may be negative.

    >>> import torch, landscape as ls
    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> objective = ls.Objective(net, (torch.ones(1, 1), torch.zeros(1, 1)), "mse_loss").at(torch.tensor([3.0]))
    >>> weight_curvature(objective)[0].value  # L = w²
    18.0
    """
    theta = objective.theta
    value = float(theta.double() @ (Hessian(objective) @ theta).double())
    return Measurement(value, gradients=PRODUCT, note=kink_note(objective))
