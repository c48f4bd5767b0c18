"""Ends and sum of the Hessian's spectrum."""

from __future__ import annotations

import numpy as np

from landscape.function.objective import Objective
from landscape.operators import Hessian
from landscape.scores.evaluation import PRODUCT
from landscape.scores.exact import spectrum
from landscape.scores.kinks import kink_note
from landscape.scores.network import with_enough_precision
from landscape.scores.register import Definition, Measurement, score
from landscape.spectra import top_eigenpairs, trace_and_frobenius

PRODUCTS = 40
PROBES = 30


@score(
    Definition(
        "lambda-max",
        "largest eigenvalue of the Hessian",
        family="curvature",
        formula="λmax(∇²L(w))",
        source="Keskar et al. 2017, arXiv 1609.04836; ½ρ²λmax is the worst rise within ‖δ‖₂ ≤ ρ at a minimum",
        cost=70,
        invariant="T4 T5",
        unit="loss per parameter squared",
        panel=True,
    ),
    Definition(
        "lambda-min",
        "smallest eigenvalue of the Hessian",
        family="curvature",
        formula="λmin(∇²L(w))",
        source="",
        orientation="control",
        cost=0,
        invariant="T4 T5",
        unit="loss per parameter squared",
        panel=True,
    ),
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
        objective: the function.
        tol: residual asked for, relative to the largest magnitude.
        max_matvecs: products with the Hessian to spend at most; from P on all eigenvalues are computed.
        seed: of the start vector.

    Source: Parlett 1998, theorem 4.5.1, for the residual bound.

    >>> import torch, landscape as ls
    >>> X = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
    >>> net = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    >>> objective = ls.Objective(net, (X, torch.zeros(2, 1, dtype=torch.float64)), "mse_loss")
    >>> [round(row.value, 6) for row in extreme_eigenvalues(objective)]  # ∇²L = XᵀX
    [4.0, 1.0]
    """
    return with_enough_precision(lambda o: _extremes(o, tol=tol, max_matvecs=max_matvecs, seed=seed), objective)


def _extremes(objective: Objective, *, tol: float, max_matvecs: int, seed: int) -> list[Measurement]:
    H, kinks = Hessian(objective), kink_note(objective)
    if max_matvecs >= objective.size:
        values = spectrum(H)
        cost = PRODUCT * objective.size / 2
        return [
            Measurement(float(values[-1]), gradients=cost, note=kinks, name="lambda-max"),
            Measurement(float(values[0]), gradients=cost, note=kinks, name="lambda-min"),
        ]
    pairs = top_eigenpairs(H, k=2, which="BE", tol=tol, max_matvecs=max_matvecs, seed=seed, vectors=False)
    largest = float(np.abs(pairs.values).max())
    found = []
    ends = (
        ("lambda-max", "λmax is at least", int(np.argmax(pairs.values))),
        ("lambda-min", "λmin is at most", int(np.argmin(pairs.values))),
    )
    for name, bound, end in ends:
        residual = float(pairs.residuals[end])
        converged = residual <= tol * largest
        found.append(
            Measurement(
                float(pairs.values[end]),
                gradients=PRODUCT * pairs.matvecs / 2,
                status="ok" if converged else "not converged",
                note=kinks if converged else f"{bound} this, and an eigenvalue lies within {residual:.2g} of it",
                name=name,
            )
        )
    return found


@score(
    Definition(
        "trace",
        "trace of the Hessian",
        family="curvature",
        formula="Tr ∇²L(w)",
        source="Hutchinson 1990; ½s²Tr H is the mean rise under noise N(0, s²I)",
        stochastic=True,
        cost=60,
        invariant="T4 T5",
        unit="loss per parameter squared",
        panel=True,
    ),
    Definition(
        "frobenius",
        "Frobenius norm of the Hessian",
        family="curvature",
        formula="‖∇²L(w)‖_F",
        source="E‖Hz‖² = ‖H‖_F² from the products of the trace",
        stochastic=True,
        cost=0,
        invariant="T4 T5",
        unit="loss per parameter squared",
        panel=True,
    ),
)
def trace_and_norm(objective: Objective, *, matvecs: int = PROBES, seed: int = 0) -> list[Measurement]:
    """Estimate the trace and the Frobenius norm of the Hessian from the same products with random signs.

    Args:
        objective: the function.
        matvecs: products with the Hessian; from P on both are exact.
        seed: of the probes.

    Source: Hutchinson 1990.

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
