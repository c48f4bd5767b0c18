"""The trace and the Frobenius norm of an operator from random probes, with standard errors."""

from __future__ import annotations

import time
from typing import Any, Literal, get_args

import numpy as np
import torch

from landscape.arguments import checked
from landscape.errors import LandscapeError
from landscape.results import Estimate
from landscape.spectra.basis import host
from landscape.spectra.protocol import Operator, Products
from landscape.spectra.sampling import FEWEST, check_budget, precise, sample_until, shortfall, standard_error
from landscape.spectra.sketches import Range, sketched_samples

TraceMethod = Literal["hutchinson", "hutch++", "xtrace", "xnystrace"]
LEAST: dict[str, int] = {"hutchinson": 1, "hutch++": 3, "xtrace": 2, "xnystrace": 1}
"""The fewest products of each method; a standard error needs a few more."""


@checked
def trace(
    op: Operator,
    matvecs: int = 100,
    method: TraceMethod = "xtrace",
    seed: int = 0,
    tol: float | None = None,
) -> Estimate:
    """Estimate tr A from products with random probes.

    ==============  ==========================================================================================
    method          when to use it
    ==============  ==========================================================================================
    ``xtrace``      decaying spectra, such as a Hessian's: most exact; keeps matvecs/2 vectors of length P
    ``xnystrace``   positive semi-definite operators: twice the probes of XTrace; keeps 2·matvecs vectors
    ``hutch++``     as XTrace, less exact, with an error of simpler theory; keeps matvecs/3 vectors
    ``hutchinson``  flat spectra, or memory for only one vector; also the only one whose terms are independent
    ==============  ==========================================================================================

    Args:
        op: symmetric operator (P, P).
        matvecs: the most products to spend; from P on the trace is computed exactly.
        method: the estimator.
        seed: seed of the probes.
        tol: stop when the standard error is at most tol·|trace|; None spends the budget.

    Returns:
        `Estimate`. The standard error of ``xtrace`` is calibrated by measurement, as its theory knows none; that of
        ``xnystrace`` is a jackknife error, marked conservative.

    Raises:
        LandscapeError: unknown method, too small a budget, or ``xnystrace`` of an operator with negative eigenvalues.
        NumericalError: a product is not finite.

    Sources: Hutchinson 1990; Meyer, Musco, Musco and Woodruff 2021 (Hutch++); Epperly, Tropp and Webber 2024 (XTrace,
    XNysTrace).

    >>> import torch
    >>> trace(torch.diag(torch.tensor([1.0, 2.0, 3.0]))).value
    6.0
    """
    started = time.perf_counter()
    if method not in get_args(TraceMethod):
        raise LandscapeError(f"method={method!r} is unknown: use one of {', '.join(get_args(TraceMethod))}")
    check_budget(matvecs, tol, LEAST[method], method)
    products = Products(op)
    known: dict[str, Any] = {"quantity": "trace", "seed": seed, "started": started}
    if matvecs >= products.size:
        return _exact(products, float(products.diagonal()[0].sum()), **known)
    if method == "hutchinson":
        samples = _hutchinson(products, matvecs, seed, tol, "trace")[:, 0]
        error = standard_error(samples)
    elif method == "hutch++":
        samples = _hutchpp(products, matvecs, seed, tol)
        error = standard_error(samples)
    else:
        samples, error = sketched_samples(products, matvecs, seed, method, tol)
    kind = {"xtrace": "calibrated", "xnystrace": "conservative"}.get(method, "standard")
    return _sampled(products, float(samples.mean()), error, samples, tol, method=method, error_kind=kind, **known)


@checked
def frobenius_norm(op: Operator, matvecs: int = 100, seed: int = 0, tol: float | None = None) -> Estimate:
    """Estimate ‖A‖_F = √E‖Az‖² from products with random probes z.

    Args:
        op: symmetric operator (P, P).
        matvecs: the most products to spend; from P on the norm is computed exactly.
        seed: seed of the Rademacher probes, the same as those of ``trace(method="hutchinson")``.
        tol: stop when the standard error is at most tol·‖A‖_F; None spends the budget.

    Returns:
        `Estimate`; its standard error follows from that of ‖A‖²_F to first order.

    Raises:
        LandscapeError: too small a budget.
        NumericalError: a product is not finite.

    >>> import torch
    >>> frobenius_norm(torch.diag(torch.tensor([3.0, 4.0]))).value
    5.0
    """
    return trace_and_frobenius(op, matvecs, seed, tol, of="frobenius-norm")[1]


def trace_and_frobenius(
    op: Operator, matvecs: int = 100, seed: int = 0, tol: float | None = None, *, of: str = "trace"
) -> tuple[Estimate, Estimate]:
    """Estimate tr A = E zᵀAz and ‖A‖_F = √E‖Az‖² from the same products.

    Args:
        op: symmetric operator (P, P).
        matvecs: the most products to spend; from P on both are computed exactly.
        seed: seed of the Rademacher probes.
        tol: relative standard error at which to stop; None spends the budget.
        of: the quantity whose error that is, ``trace`` or ``frobenius-norm``.

    Returns:
        The estimates of the trace and of the norm; the products were spent once.

    Raises:
        LandscapeError: too small a budget.
        NumericalError: a product is not finite.

    >>> import torch
    >>> [estimate.value for estimate in trace_and_frobenius(torch.diag(torch.tensor([3.0, 4.0])))]
    [7.0, 5.0]
    """
    started = time.perf_counter()
    check_budget(matvecs, tol, 1, "hutchinson")
    products = Products(op)
    common: dict[str, Any] = {"seed": seed, "started": started}
    if matvecs >= products.size:
        entries, total = products.diagonal()
        return (
            _exact(products, float(entries.sum()), quantity="trace", **common),
            _exact(products, total**0.5, quantity="frobenius-norm", **common),
        )
    forms, squares = np.ascontiguousarray(_hutchinson(products, matvecs, seed, tol, of).T)
    norm = float(squares.mean() ** 0.5)
    error = standard_error(squares) / (2 * norm) if norm else 0.0
    tols = {of: tol}
    common["method"] = "hutchinson"
    return (
        _sampled(
            products, float(forms.mean()), standard_error(forms), forms, tols.get("trace"), quantity="trace", **common
        ),
        _sampled(products, norm, error, squares, tols.get("frobenius-norm"), quantity="frobenius-norm", **common),
    )


def _hutchinson(products: Products, matvecs: int, seed: int, tol: float | None, of: str) -> np.ndarray:
    """Return samples (m, 2) of zᵀAz and ‖Az‖², whose means are unbiased for tr A and ‖A‖²_F; `tol` is that of one of them."""
    probes, dot = products.probes(seed, "rademacher"), products.world.dot
    column, times = (0, 1) if of == "trace" else (1, 2)  # a square has twice the relative error of its root

    def draw(start: int, stop: int) -> np.ndarray:
        rows = probes.rows(start, stop)
        applied = products.rows(rows)
        samples = host(torch.stack([dot(rows, applied), dot(applied, applied)], dim=1))
        products.require_finite(samples)
        return samples

    def enough(samples: np.ndarray) -> bool:
        return precise(times * samples[:, column].mean(), standard_error(samples[:, column]), tol)

    told = f"{of} of the {products.name}"
    return sample_until(enough, draw, budget=matvecs, block=products.block_size, description=told)


def _hutchpp(products: Products, matvecs: int, seed: int, tol: float | None) -> np.ndarray:
    """Return samples of tr(QᵀAQ) + gᵀ(I − QQᵀ)A(I − QQᵀ)g, where Q spans A applied to a third of the budget.

    Given Q, the first term is exact and the samples are independent and unbiased, so that their spread is the whole
    error (Meyer, Musco, Musco and Woodruff 2021, algorithm 1).
    """
    sketch = max(1, min(matvecs // 3, (matvecs - FEWEST) // 2))
    probes, dot = products.probes(seed, "rademacher"), products.world.dot
    space = Range(products, probes)
    space.grow(sketch)
    basis, captured = space.basis, 0.0
    for _, chunk in basis.filled():
        for rows in chunk.split(products.block_size):
            captured = sum(host(dot(rows, products.rows(rows))).tolist(), captured)
            products.require_finite(captured)

    def draw(start: int, stop: int) -> np.ndarray:
        rows = probes.rows(sketch + start, sketch + stop)
        rows = basis.subtract(rows, basis.project(rows))
        samples = host(dot(rows, products.rows(rows)))
        products.require_finite(samples)
        return captured + samples

    def enough(samples: np.ndarray) -> bool:
        return precise(samples.mean(), standard_error(samples), tol)

    budget, told = matvecs - 2 * sketch, f"trace of the {products.name}"
    return sample_until(enough, draw, budget=budget, block=products.block_size, description=told)


def _sampled(
    products: Products, value: float, error: float, samples: np.ndarray, tol: float | None, **fields: Any
) -> Estimate:
    """Return an estimate from samples, which says where its standard error missed the tolerance."""
    message = shortfall(value, error, tol, products.count)
    fields |= {"samples": samples, "degrees": float(len(samples) - 1), "converged": not message, "message": message}
    return _estimate(products, value=value, standard_error=error, **fields)


def _exact(products: Products, value: float, **fields: Any) -> Estimate:
    """Return the estimate that is no estimate: every unit vector was multiplied."""
    return _estimate(products, value=value, standard_error=0.0, method="exact", error_kind="exact", **fields)


def _estimate(products: Products, *, started: float, **fields: Any) -> Estimate:
    return Estimate(
        matvecs=products.count,
        operator=products.name,
        provenance=products.provenance,
        seconds=time.perf_counter() - started,
        **fields,
    )
