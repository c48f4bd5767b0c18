"""The trace of an operator from random probes, with a standard error."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal, get_args

import numpy as np

from landscape.arguments import checked
from landscape.errors import LandscapeError
from landscape.results import Estimate
from landscape.spectra.hutchinson import hutchinson_samples
from landscape.spectra.hutchpp import hutchpp_samples
from landscape.spectra.protocol import Operator, Products
from landscape.spectra.sampling import check_budget, precise, shortfall, standard_error
from landscape.spectra.xnystrace import xnystrace_samples
from landscape.spectra.xtrace import xtrace_samples

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
    if matvecs >= products.size:
        return exact_estimate("trace", float(products.diagonal()[0].sum()), products, seed, started)
    if method == "hutchinson":
        samples = hutchinson_samples(products, matvecs, seed, tol=tol, of="trace")[:, 0]
        error = standard_error(samples)
    elif method == "hutch++":
        samples = hutchpp_samples(products, matvecs, seed, tol=tol)
        error = standard_error(samples)
    else:
        extrapolate = xtrace_samples if method == "xtrace" else xnystrace_samples
        samples, error = extrapolate(products, matvecs, seed, enough=_rule(tol))
    value = float(samples.mean())
    message = shortfall(value, error, tol, products.count)
    return Estimate(
        value=value,
        standard_error=error,
        samples=samples,
        matvecs=products.count,
        method=method,
        quantity="trace",
        operator=products.name,
        degrees=float(len(samples) - 1),
        error_kind={"xtrace": "calibrated", "xnystrace": "conservative"}.get(method, "standard"),
        converged=not message,
        message=message,
        seed=seed,
        provenance=products.provenance,
        seconds=time.perf_counter() - started,
    )


def exact_estimate(quantity: str, value: float, products: Products, seed: int, started: float) -> Estimate:
    """Return the estimate that is no estimate: every unit vector was multiplied."""
    return Estimate(
        value=value,
        standard_error=0.0,
        matvecs=products.count,
        method="exact",
        quantity=quantity,
        operator=products.name,
        error_kind="exact",
        seed=seed,
        provenance=products.provenance,
        seconds=time.perf_counter() - started,
    )


def _rule(tol: float | None) -> Callable[[np.ndarray, float], bool] | None:
    if tol is None:
        return None
    return lambda estimates, error: precise(float(estimates.mean()), error, tol)
