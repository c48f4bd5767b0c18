"""The Frobenius norm, by itself or free with the trace."""

from __future__ import annotations

import time

import numpy as np

from landscape.arguments import checked
from landscape.results import Estimate
from landscape.spectra.hutchinson import hutchinson_samples
from landscape.spectra.protocol import Operator, Products
from landscape.spectra.sampling import check_budget, shortfall, standard_error
from landscape.spectra.trace import exact_estimate


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
    if matvecs >= products.size:
        entries, squares = products.diagonal()
        return (
            exact_estimate("trace", float(entries.sum()), products, seed, started),
            exact_estimate("frobenius-norm", squares**0.5, products, seed, started),
        )
    samples = hutchinson_samples(products, matvecs, seed, tol=tol, of=of)
    norm = float(samples[:, 1].mean() ** 0.5)
    spread = standard_error(samples[:, 1])
    found = {
        "trace": (float(samples[:, 0].mean()), standard_error(samples[:, 0]), samples[:, 0]),
        "frobenius-norm": (norm, spread / (2 * norm) if norm else 0.0, samples[:, 1]),
    }

    def estimate(quantity: str) -> Estimate:
        value, error, terms = found[quantity]
        message = shortfall(value, error, tol if quantity == of else None, products.count)
        return Estimate(
            value=value,
            standard_error=error,
            samples=np.ascontiguousarray(terms),
            matvecs=products.count,
            method="hutchinson",
            quantity=quantity,
            operator=products.name,
            degrees=float(len(terms) - 1),
            converged=not message,
            message=message,
            seed=seed,
            provenance=products.provenance,
            seconds=time.perf_counter() - started,
        )

    return estimate("trace"), estimate("frobenius-norm")
