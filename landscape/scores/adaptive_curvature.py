"""Curvature in units of each weight: the spectrum of D H D with D = diag(|w|)."""

from __future__ import annotations

from landscape.function.objective import Objective
from landscape.operators import Hessian, scaled
from landscape.scores.evaluation import PRODUCT
from landscape.scores.exact import spectrum
from landscape.scores.kinks import kink_note
from landscape.scores.network import with_enough_precision
from landscape.scores.register import Definition, Measurement, score
from landscape.spectra import top_eigenpairs, trace_and_frobenius
from landscape.transforms.head import gauge_fixed


@score(
    Definition(
        "adaptive-trace",
        "trace of the Hessian in units of the weights",
        family="curvature",
        formula="Σ_i w_i² H_ii",
        source="Kwon et al. 2021, arXiv 2102.11600, for the scaling; ½ρ² times it is the mean rise under noise ρ|w|z",
        stochastic=True,
        cost=60,
        invariant="T1 T2 T4 T5",
        unit="loss",
    )
)
def adaptive_trace(
    objective: Objective, *, matvecs: int = 30, eta: float = 0.0, gauge: bool = True, seed: int = 0
) -> Measurement:
    """Estimate the trace of D H D with D = diag(|w| + η).

    Args:
        objective: the function.
        matvecs: products with the Hessian; from P on the trace is exact.
        eta: added to every |w|; the 0.01 of published code breaks the invariance.
        gauge: first remove the shift of all logits that softmax does not see, so that the score does not depend on it.
        seed: of the probes.

    Source: Kwon et al. 2021 (arXiv 2102.11600), equation 3.

    >>> import torch, landscape as ls
    >>> X = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
    >>> net = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    >>> objective = ls.Objective(net, (X, torch.zeros(2, 1, dtype=torch.float64)), "mse_loss")
    >>> at = objective.at(torch.tensor([3.0, -1.0]))  # H = diag(4, 1)
    >>> round(adaptive_trace(at)[0].value, 6)
    37.0
    """
    objective = gauge_fixed(objective) if gauge else objective
    op = scaled(Hessian(objective), objective.theta.abs() + eta)
    found, _ = trace_and_frobenius(op, matvecs=matvecs, seed=seed)
    return Measurement(found.value, found.standard_error, gradients=PRODUCT * found.matvecs, note=kink_note(objective))


@score(
    Definition(
        "adaptive-lambda-max",
        "largest eigenvalue of the Hessian in units of the weights",
        family="curvature",
        formula="λmax(D H D), D = diag(|w|)",
        source="Kwon et al. 2021, arXiv 2102.11600; ½ρ² times it is the worst rise within ‖δ/w‖₂ ≤ ρ at a minimum",
        cost=40,
        invariant="T1 T2 T4 T5",
        unit="loss",
    )
)
def adaptive_lambda_max(
    objective: Objective,
    *,
    tol: float = 1e-3,
    max_matvecs: int = 60,
    eta: float = 0.0,
    gauge: bool = True,
    seed: int = 0,
) -> Measurement:
    """Compute the largest eigenvalue of D H D with D = diag(|w| + η).

    Args:
        objective: the function.
        tol: relative residual asked for.
        max_matvecs: products with the Hessian to spend at most; from P on all eigenvalues are computed.
        eta: added to every |w|; the 0.01 of published code breaks the invariance.
        gauge: first remove the shift of all logits that softmax does not see, so that the score does not depend on it.
        seed: of the start vector.

    Source: Kwon et al. 2021 (arXiv 2102.11600), equation 3.
    """
    objective = gauge_fixed(objective) if gauge else objective
    return with_enough_precision(
        lambda o: _scaled_extreme(o, eta=eta, tol=tol, max_matvecs=max_matvecs, seed=seed), objective
    )


def _scaled_extreme(objective: Objective, *, eta: float, tol: float, max_matvecs: int, seed: int) -> Measurement:
    op = scaled(Hessian(objective), objective.theta.abs() + eta)
    if max_matvecs >= objective.size:
        return Measurement(float(spectrum(op)[-1]), gradients=PRODUCT * objective.size, note=kink_note(objective))
    pairs = top_eigenpairs(op, k=1, which="LA", tol=tol, max_matvecs=max_matvecs, seed=seed, vectors=False)
    converged = pairs.converged
    return Measurement(
        float(pairs.values[0]),
        gradients=PRODUCT * pairs.matvecs,
        status="ok" if converged else "not converged",
        note=kink_note(objective) if converged else f"an eigenvalue lies within {pairs.residuals[0]:.2g} of it",
    )
