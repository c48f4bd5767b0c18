"""The Fisher–Rao norm: squared length of the weights in the metric of the predicted distribution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.func import jvp

from landscape.function.batches import Batch
from landscape.function.objective import Objective
from landscape.operators import Fisher, Hessian, scaled
from landscape.operators.fisher import FisherRule
from landscape.scores.evaluation import PRODUCT
from landscape.scores.exact import spectrum
from landscape.scores.fisher_diagonal import fisher_diagonal
from landscape.scores.network import in_double
from landscape.scores.register import Definition, Measurement, score
from landscape.spectra import top_eigenpairs


def fisher_quadratic(objective: Objective, v: Tensor) -> float:
    """Return vᵀFv for the model's Fisher matrix F, from one forward-mode product a batch.

    Networks without forward-mode rules are multiplied by F instead.
    """
    rule = FisherRule(objective)
    total = torch.zeros((), dtype=torch.float64, device=objective.device)
    theta = objective.theta

    def along(batch: Batch) -> Tensor:
        output, tangent = jvp(lambda at: rule.values(at, batch), (theta,), (v,))[:2]
        return (tangent.double() * rule.middle(output.detach(), batch)(tangent).double()).sum()

    try:
        with objective.guard(second=True):
            for batch in objective.batches:
                total += along(batch)
        return float(total)
    except (RuntimeError, NotImplementedError):
        return float(v.double() @ (Fisher(objective) @ v).double())


@score(
    Definition(
        "fisher-rao",
        "Fisher–Rao norm, squared",
        family="function distribution",
        formula="wᵀFw",
        source="Liang et al. 2017, arXiv 1711.01530, definition 2",
        cost=0.67,
        invariant="T1 T2 T4 T5",
        needs=("likelihood",),
    )
)
def fisher_rao(objective: Objective) -> Measurement:
    r"""Return the squared Fisher–Rao norm of the weights, with the model's own labels.

    .. math:: \lVert w\rVert_{fr}^2 = w^T F w = E_x\,(Jw)^T\,\mathrm{Cov}_{y \sim p}(\nabla_f \log p)\,(Jw)

    by one forward-mode product. Biases are included, so the closed form of homogeneous networks does not apply.

    Args:
        objective: a negative log-likelihood.

    Raises:
        NotDefinedError: no likelihood.

    Source: Liang et al. 2017 (arXiv 1711.01530), definition 2.

    >>> import torch, landscape as ls
    >>> net = torch.nn.Linear(1, 2, bias=False)
    >>> objective = ls.Objective(net, (torch.ones(1, 1), torch.tensor([0])), "cross_entropy")
    >>> fisher_rao(objective.at(torch.tensor([1.0, 1.0])))[0].value  # equal logits: a shift has no information
    0.0
    """
    return Measurement(fisher_quadratic(objective, objective.theta), gradients=2 / 3)


@score(
    Definition(
        "fisher-lambda-max",
        "largest eigenvalue of the Hessian in units of the diagonal Fisher matrix",
        family="function distribution",
        formula="λmax(diag(F)^-½ H diag(F)^-½)",
        source="Jang et al. 2022, AVh_HTC76u, for curvature in units of information",
        cost=50,
        invariant="T1 T2 T4 T5",
        needs=("likelihood", "classes"),
    )
)
def fisher_lambda_max(objective: Objective, *, tol: float = 1e-3, max_matvecs: int = 60, seed: int = 0) -> Measurement:
    """Compute the largest eigenvalue of the Hessian in coordinates where the Fisher matrix has a unit diagonal, in float64.

    Args:
        objective: a classifier with cross-entropy.
        tol: relative residual asked for.
        max_matvecs: products with the Hessian to spend at most; from P on all eigenvalues are computed.
        seed: of the start vector.

    Raises:
        NotDefinedError: no class likelihood, or single gradients are not defined.
    """
    # the units span many orders of magnitude, so that products rounded to float32 would no longer be symmetric
    objective = objective if objective.dtype == torch.float64 else in_double(objective)
    diagonal, cost = fisher_diagonal(objective)
    # weights without any information have no unit; they have no curvature either
    d = torch.where(diagonal > 1e-14 * diagonal.max(), diagonal.clamp_min(1e-300).rsqrt(), 0.0)
    op = scaled(Hessian(objective), d)
    if max_matvecs >= objective.size:
        return Measurement(float(spectrum(op)[-1]), gradients=cost + PRODUCT * objective.size)
    pairs = top_eigenpairs(op, k=1, which="LA", tol=tol, max_matvecs=max_matvecs, seed=seed, vectors=False)
    return Measurement(
        float(pairs.values[0]),
        gradients=cost + PRODUCT * pairs.matvecs,
        status="ok" if pairs.converged else "not converged",
        note="" if pairs.converged else f"an eigenvalue lies within {pairs.residuals[0]:.2g} of it",
    )
