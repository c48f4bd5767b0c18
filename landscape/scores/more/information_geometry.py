"""Change of the loss per unit change of the predicted distribution."""

from __future__ import annotations

import torch

from landscape.function.objective import Objective
from landscape.operators import Fisher
from landscape.scores.quantities import PRODUCT
from landscape.scores.register import Measurement, score
from landscape.scores.requirements import class_count

ITERATIONS = 50


@score(
    "igs",
    "information-geometric sharpness, first order",
    family="fit",
    orientation="control",
    formula="√(gᵀF⁺g)",
    source="after Jang et al. 2022, openreview AVh_HTC76u; first-order form",
    cost=70,
    invariant="T1 T2 T4 T5",
    needs=("likelihood",),
    unit="loss per √nat",
)
def igs(objective: Objective, *, iterations: int = ITERATIONS, tol: float = 1e-6) -> Measurement:
    r"""Return the steepest first-order change of the loss per unit of KL radius.

    .. math:: \max_{v^T F v \le 1} g^T v = \sqrt{g^T F^+ g}

    by conjugate gradients on F x = g, which needs no damping because g lies in the range of F. Invariant to every
    reparametrisation, because it knows nothing of one: a classifier of n examples and C classes with at least n(C − 1) parameters
    moves the logits of every example by itself, unless they are dependent, and then

    .. math:: \sqrt{g^T F^+ g} = \sqrt{\frac1n \sum_i \Big(\frac1{p_{y_i}(x_i)} - 1\Big)}

    whatever the network: a measure of fit, which is what it counts as. The note of such a row says so.

    Args:
        objective: a negative log-likelihood.
        iterations: products with the Fisher matrix at most.
        tol: relative residual at which to stop.
    """
    F, g = Fisher(objective), objective.gradient()
    b = g.double()
    x, r = torch.zeros_like(b), b.clone()
    p, rho, size = r.clone(), float(r @ r), float(b @ b)
    spent = 0
    while spent < iterations and rho > tol**2 * size:
        q = (F @ p.to(g)).double()
        spent += 1
        curvature = float(p @ q)
        if curvature <= 0:
            break
        alpha = rho / curvature
        x, r = x + alpha * p, r - alpha * q
        p, rho = r + (float(r @ r) / rho) * p, float(r @ r)
    converged = rho <= tol**2 * size
    return Measurement(
        max(float(b @ x), 0.0) ** 0.5,
        gradients=1 + PRODUCT * spent,
        status="ok" if converged else "not converged",
        note=_fit(objective)
        if converged
        else f"relative residual {(rho / size) ** 0.5:.1e} after {spent} products: a lower bound",
    )


def _fit(objective: Objective) -> str:
    """Say that the value is one of fit, where there are parameters enough for that."""
    if objective.task != "classes" or objective.size < objective.n * (class_count(objective) - 1):
        return ""
    return "with at least n(C − 1) parameters √mean(1/p − 1) of the right classes: a measure of fit"
