"""Gradient and gradient noise in units of the Fisher matrix: information-geometric sharpness, Takeuchi's criterion."""

from __future__ import annotations

import torch

from landscape.function.objective import Objective
from landscape.operators import Fisher, GradientCovariance
from landscape.scores.quantities import PRODUCT
from landscape.scores.register import Measurement, UndefinedError, score
from landscape.scores.requirements import class_count
from landscape.scores.single_gradients import fisher_diagonal, gradient_moments, score_rows
from landscape.spectra import trace

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


ROUNDING = 0.05
"""Singular values below this many roots of the rounding error count as zero: axes of smaller ones are mostly rounding."""
DENSE = 3000
"""Largest P for which the Fisher matrix is formed and inverted."""
_SOURCE = "Thomas et al. 2020, arXiv 1906.07774"


@score(
    "tic",
    "Takeuchi's information criterion, full form",
    family="noise",
    formula="Tr(F⁺C), C = Cov g centred",
    source=f"{_SOURCE}, eq. 5",
    cost=0,
    invariant="T1 T2 T4 T5",
    needs=("likelihood",),
)
def tic(objective: Objective, *, rtol: float | None = None) -> Measurement:
    r"""Return the effective number of parameters Tr(F⁺C), which over n estimates the generalisation gap.

    The pseudo-inverse keeps the invariance to every reparametrisation, because the range of C lies in that of F; damping
    would break it. With more parameters than n(C−1) the value no longer depends on the network's geometry. C is centred:
    the covariance of the gradients of single examples about their mean g. The raw second moment, which the criterion of a
    misspecified model has too, adds gᵀF⁺g, the square of ``igs``, which is nothing at a critical point.

    Args:
        objective: a negative log-likelihood with at most 3,000 parameters (choose some with ``parameters=``).
        rtol: singular values of the scores (of a classifier; else eigenvalues of F) below ``rtol`` times the largest count
            as zero; `None`: what rounding leaves certain, about 1e-9 for classifiers in float64.

    Raises:
        NotDefinedError: no likelihood, or too many parameters to form F.
    """
    if objective.size > DENSE:
        raise UndefinedError(
            f"{objective.size} parameters are too many to invert F; use tic-diagonal, or "
            f"select at most {DENSE} with parameters="
        )
    value, rank = _of_classifier(objective, rtol) if objective.likelihood == "categorical" else _dense(objective, rtol)
    return Measurement(value, gradients=2 * PRODUCT * objective.size, note=f"rank of F {rank}")


def _of_classifier(objective: Objective, rtol: float | None) -> tuple[float, int]:
    """Return Tr(F⁺C) and the rank of F from the scores of all classes, without dividing by small eigenvalues.

    With R = UΣVᵀ the scores by rows, F = RᵀR/n, and the gradient of an example is the row of its class over −√p: in
    units of F^½ it is that row of U, times √(n/p).
    """
    rows = torch.cat([part.double() for part in score_rows(objective)])
    left, singular, _ = torch.linalg.svd(rows, full_matrices=False)
    cut = ROUNDING * torch.finfo(objective.dtype).eps ** 0.5 if rtol is None else rtol
    kept = left[:, singular > cut * singular[0]]
    target, n = objective.targets, objective.n
    log_p = objective.outputs().double().log_softmax(1).gather(1, target[:, None])[:, 0]
    whitened = kept[target * n + torch.arange(n, device=target.device)] * (n**0.5 * (-0.5 * log_p).exp())[:, None]
    return float((whitened - whitened.mean(0)).square().sum() / n), kept.shape[1]


def _dense(objective: Objective, rtol: float | None) -> tuple[float, int]:
    """Return Tr(F⁺C) and the rank of F from both matrices in full."""
    F = Fisher(objective).dense().double()
    C = GradientCovariance(objective).dense().double()
    values, axes = torch.linalg.eigh((F + F.T) / 2)
    kept = values > (objective.size * torch.finfo(objective.dtype).eps if rtol is None else rtol) * values[-1]
    along = axes[:, kept]
    return float(((along.T @ C @ along).diagonal() / values[kept]).sum()), int(kept.sum())


@score(
    "tic-diagonal",
    "Takeuchi's information criterion, diagonal form",
    family="noise",
    formula="Σ_i C_ii / (F_ii + 1e-7 max F_ii)",
    source=f"{_SOURCE}, section 3; the small term is relative here",
    cost=12,
    invariant="T4 T5",
    needs=("likelihood", "classes"),
)
def tic_diagonal(objective: Objective, *, epsilon: float = 1e-7) -> Measurement:
    """Return Σ C_ii / (F_ii + ε max F), with the centred covariance and the exact diagonal of the Fisher matrix.

    Args:
        epsilon: relative size of what is added to the diagonal; weights without any information count nothing.

    Raises:
        NotDefinedError: no class likelihood, or single gradients are not defined.
    """
    diagonal, cost = fisher_diagonal(objective)
    variance = gradient_moments(objective).variance
    value = (variance / (diagonal + epsilon * diagonal.max()).clamp_min(torch.finfo(torch.float64).tiny)).sum()
    return Measurement(float(value), gradients=cost + 2)


@score(
    "tic-trace",
    "Takeuchi's information criterion, ratio of traces",
    family="noise",
    formula="Tr C / Tr F",
    source=f"{_SOURCE}, section 3",
    cost=62,
    invariant="T4 T5",
    needs=("likelihood",),
)
def tic_trace(objective: Objective, *, matvecs: int = 30, seed: int = 0) -> Measurement:
    """Return Tr C / Tr F, with the centred covariance C, as in the other forms; rescaling moves it.

    Raises:
        NotDefinedError: no likelihood, or single gradients are not defined.
    """
    noise = float(gradient_moments(objective).variance.sum())
    found = trace(Fisher(objective), matvecs=matvecs, method="hutchinson", seed=seed)
    value = noise / found.value
    return Measurement(value, value * found.standard_error / found.value, gradients=2 + PRODUCT * found.matvecs)
