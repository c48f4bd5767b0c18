"""Rayleigh quotients: confirm with an exact operator what was computed with a cheap one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.operators.base import Operator


@dataclass(frozen=True, eq=False)
class RayleighQuotients:
    """Rayleigh quotients of vectors.

    Attributes:
        values: vᵀAv / vᵀv, (k,), float64. For a symmetric A within ``residuals`` of an eigenvalue each.
        residuals: ‖Av − λv‖ / ‖v‖, (k,), float64.
    """

    values: Tensor
    residuals: Tensor


def rayleigh_quotients(op: Operator, vectors: Any) -> RayleighQuotients:
    r"""Return λ = vᵀAv / vᵀv and ‖Av − λv‖ / ‖v‖ for every vector, from one block product.

    The error of λ is quadratic in that of v, so eigenvectors found with a cheap product (bfloat16, TF32, finite differences, a
    subset of the data) give eigenvalues of the exact operator to twice their digits; an eigenvalue lies within the
    residual of λ (Parlett 1998, thm 4.5.1).

    Args:
        op: The exact operator (P, P).
        vectors: Rows (k, P), one vector (P,), or a result with ``.vectors``.

    Raises:
        LandscapeError: The vectors have another size, or one is zero.

    >>> import torch
    >>> from landscape.operators import Hessian
    >>> import landscape as ls
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> X = torch.diag(torch.tensor([1.0, 2.0]))
    >>> H = Hessian(ls.Objective(model, (X, torch.zeros(2, 1)), "mse_loss"))  # diag(1, 4)
    >>> rayleigh_quotients(H, torch.tensor([0.0, 3.0])).values
    tensor([4.], dtype=torch.float64)
    """
    rows = torch.atleast_2d(torch.as_tensor(getattr(vectors, "vectors", vectors))).to(op.device, torch.float64)
    if rows.ndim != 2 or rows.shape[1] != op.size:
        raise LandscapeError(f"the vectors have shape {tuple(rows.shape)}, expected rows (k, {op.size})")
    norms = rows.norm(dim=1, keepdim=True)
    if not bool((norms > 0).all()):
        raise LandscapeError("a vector is zero or NaN; expected vectors with a direction")
    unit = (rows / norms).to(op.dtype)
    product, unit = (op @ unit.T).T.double(), unit.double()
    values = (unit * product).sum(1) / unit.square().sum(1)
    return RayleighQuotients(values, (product - values[:, None] * unit).norm(dim=1))
