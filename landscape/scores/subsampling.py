"""From a sample to the data set: what n of N examples say about eigenvalues and trace, with direction and size of the error."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.operators import Hessian, Operator
from landscape.results import Eigenpairs, SamplingError
from landscape.spectra import top_eigenpairs
from landscape.spectra.protocol import Probes

PARTS = (2, 4)
"""The sample is cut into so many disjoint subsets, to see how the largest eigenvalue grows as the sample shrinks."""


def sampling_error(
    objective: Objective,
    k: int = 3,
    *,
    pairs: Eigenpairs | None = None,
    operator: Callable[[Objective], Operator] = Hessian,
    population: int | None = None,
    tol: float = 0.05,
    groups: int = 20,
    probes: int = 8,
    draws: int = 1000,
    seed: int = 0,
) -> SamplingError:
    r"""Estimate the error of eigenvalues and trace that comes from using n examples instead of N, and say whether n is enough.

    The examples are shuffled into groups, and VᵀA_gV is kept for each group's own curvature A_g and the converged eigenvectors
    V. Resampling the groups gives the spread of the eigenvalues of Σ w_g VᵀA_gV without further products.

    The largest eigenvalue of a sample is biased upward, since λ₁(A_S) = max_v vᵀA_Sv ≥ v₁ᵀA_Sv₁, whose mean is λ₁ when v₁
    does not depend on S. The difference d(m) = λ₁(A_S) − v₁ᵀA_Sv₁ on subsets of m examples follows c (1/m − 1/n) to second
    order in the perturbation; c is fitted to halves and quarters, and the bias of the whole sample is c (1/n − 1/N).

    Args:
        objective: the loss, a mean over the n examples of the sample.
        k: eigenvalues, the most positive first.
        pairs: converged eigenpairs of the same objective and operator (``which="LA"``), if there are some already.
        operator: the curvature matrix of an objective.
        population: N, the examples in the data set that the sample was drawn from; None for a distribution.
        tol: relative error that is good enough.
        groups: groups of examples, at least 8.
        probes: random probes of the trace.
        draws: bootstrap draws.
        seed: seed of everything random.

    Returns:
        `SamplingError`; its verdict says in words whether more data is needed, and how much.

    Raises:
        LandscapeError: the loss is a sum, the pairs belong to another objective, or an option does not fit the data.

    Source: second-order perturbation of a sample's eigenvalues: Anderson 1963, Ann. Math. Statist. 34.

    >>> import torch, landscape as ls
    >>> X = torch.randn(400, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    >>> net = torch.nn.Linear(3, 1, bias=False, dtype=torch.float64)
    >>> ls.scores.sampling_error(ls.Objective(net, (X, X[:, :1]), "mse_loss"), k=1, tol=0.5).enough
    True
    """
    started = time.perf_counter()
    n = objective.n
    _check(objective, k, population, tol, groups, probes, draws)
    if pairs is None:
        pairs = top_eigenpairs(operator(objective), k, tol=1e-3, seed=seed)
    if pairs.which != "LA" or not pairs.converged or pairs.vectors is None or len(pairs.values) < k:
        raise LandscapeError(f"pairs must hold k={k} converged eigenpairs with vectors of which='LA': compute them so")
    vectors = torch.as_tensor(pairs.vectors[:k]).to(objective.device, objective.dtype)
    order = torch.as_tensor(np.random.default_rng(seed).permutation(n))
    size = math.ceil(n / groups)
    shares = np.array([batch.scale for batch in objective.subset(order).rebatch(size).batches.stored])

    def curvature(chosen: Tensor) -> Operator:
        return operator(objective.subset(chosen))

    signs = Probes(objective.size, seed, "rademacher", objective.device, objective.dtype).rows(0, probes)
    forms, traces = _kept(curvature, order.split(size), vectors, signs)
    _check_pairs(pairs, np.tensordot(shares, forms, 1), k)
    count = len(shares)
    drawn = np.random.default_rng([seed, 1]).multinomial(count, np.full(count, 1 / count), size=draws) * shares
    drawn /= drawn.sum(1, keepdims=True)
    resampled = np.linalg.eigvalsh(np.tensordot(drawn, forms, 1))[:, ::-1]
    left = n / population if population else 0.0
    # a bootstrap of count groups spreads too little by (count − 1)/count, and a part n/N of the data is known already
    widen = (count / (count - 1) * (1 - left)) ** 0.5
    by_probe = shares @ traces
    sizes, means, bias, bias_error = _bias(curvature, order, vectors[0], left, seed)
    estimates: dict[str, Any] = {
        "values": np.asarray(pairs.values[:k], dtype=np.float64),
        "standard_errors": widen * resampled.std(0, ddof=1),
        "trace": float(by_probe.mean()),
        "trace_error": float(widen * (drawn @ traces.mean(1)).std(ddof=1)),
        "bias": bias,
    }
    return SamplingError(
        **estimates,
        **_judged(**estimates, n=n, population=population or 0, tol=tol),
        bootstrap=np.ascontiguousarray(resampled),
        trace_probe_error=float(by_probe.std(ddof=1) / probes**0.5),
        subset_sizes=np.array([*sizes, n]),
        subset_means=np.array([*means, float(pairs.values[0])]),
        bias_error=bias_error,
        n=n,
        population=population or 0,
        groups=count,
        tol=tol,
        operator=pairs.operator,
        seed=seed,
        provenance=objective.provenance(),
        seconds=time.perf_counter() - started,
    )


def _kept(
    curvature: Callable[[Tensor], Operator], groups: Sequence[Tensor], vectors: Tensor, signs: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """Return VᵀA_gV (groups, k, k) and zᵀA_gz (groups, probes): one pass over the data."""
    rows, forms, traces = torch.cat([vectors, signs]), [], []
    for group in bar(groups, desc="products of every group", unit="group"):
        applied = (curvature(group) @ rows.T).double()
        form = vectors.double() @ applied[:, : len(vectors)]
        forms.append(((form + form.T) / 2).cpu().numpy())
        traces.append((signs.double() * applied[:, len(vectors) :].T).sum(1).cpu().numpy())
    return np.stack(forms), np.stack(traces)


def _bias(
    curvature: Callable[[Tensor], Operator], order: Tensor, vector: Tensor, left: float, seed: int
) -> tuple[list[int], list[float], float, float]:
    """Return subset sizes, mean λ₁ of each, and the bias of the whole sample with its error."""
    n = len(order)
    sizes, means, slopes = [], [], []
    for parts in bar(PARTS, desc="largest eigenvalue of subsets", unit="size"):
        found = []
        for subset in order.tensor_split(parts):
            A = curvature(subset)
            below = float(vector.double() @ (A @ vector).double())
            largest = float(top_eigenpairs(A, 1, tol=1e-3, start=vector, vectors=False, seed=seed).values[0])
            found.append(largest)
            slopes.append((largest - below) / (1 / len(subset) - 1 / n))
        sizes.append(n // parts)
        means.append(float(np.mean(found)))
    unknown = (1 - left) / n
    error = np.std(slopes, ddof=1) / len(slopes) ** 0.5
    return sizes, means, float(np.mean(slopes)) * unknown, float(error) * unknown


def _judged(
    values: np.ndarray,
    standard_errors: np.ndarray,
    trace: float,
    trace_error: float,
    bias: float,
    *,
    n: int,
    population: int,
    tol: float,
) -> dict[str, Any]:
    """Say whether the sample is large enough: errors fall as 1/√n, the bias as 1/n."""
    scale = abs(float(values[0])) or 1.0
    spread, upward, total = float(standard_errors[0]) / scale, max(bias, 0.0) / scale, trace_error / (abs(trace) or 1.0)
    enough = max(spread, upward, total) <= tol
    needed = math.ceil(n * max((max(spread, total) / tol) ** 2, upward / tol, 1.0))
    needed = min(needed, population) if population else needed
    if n == population:
        told = "the sample is the whole data set"
    else:
        told = f"enough data for {tol:.0%}" if enough else f"more data is needed for {tol:.0%}, about {needed} examples"
    verdict = (
        f"λmax = {scale if values[0] >= 0 else -scale:.4g} ± {spread:.1%} from {n} examples, biased upward by about "
        f"{upward:.1%}; trace ± {total:.1%}: {told}"
    )
    return {"enough": enough, "needed": needed, "verdict": verdict}


def _check(
    objective: Objective, k: int, population: int | None, tol: float, groups: int, probes: int, draws: int
) -> None:
    n = objective.n
    if objective.reduction != "mean":
        raise LandscapeError("the loss is a sum over examples, which grows with the sample: use reduction='mean'")
    if not 8 <= groups <= n:
        raise LandscapeError(
            f"groups={groups} of {n} examples: use at least 8 and at most {n}, with 8 examples or more"
        )
    if not 1 <= k <= objective.size:
        raise LandscapeError(f"k={k} eigenvalues of P={objective.size} parameters: use 1 ≤ k ≤ P")
    if population is not None and population < n:
        raise LandscapeError(f"population={population} is smaller than the sample of {n}: use at least {n}, or None")
    if not 0 < tol < 1 or probes < 2 or draws < 2:
        raise LandscapeError(
            f"tol={tol}, probes={probes}, draws={draws}: use 0 < tol < 1 and at least 2 of both others"
        )


def _check_pairs(pairs: Eigenpairs, form: np.ndarray, k: int) -> None:
    """Raise unless the groups' products add up to the eigenvalues."""
    off = np.abs(form - np.diag(pairs.values[:k])).max()
    if off > 10 * pairs.residuals[:k].max() + 1e-3 * np.abs(pairs.values[:k]).max():
        raise LandscapeError(
            f"the eigenpairs do not belong to this objective and operator (VᵀAV is off by {off:.1e}): compute them anew"
        )
