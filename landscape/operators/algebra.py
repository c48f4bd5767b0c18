"""New operators out of old ones: sums, differences, multiples, scalings on both sides, principal sub-matrices."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.operators.base import Operator


class Sum(Operator):
    """The linear combination Σ_i c_i A_i of operators of one size, dtype and device.

    Args:
        terms: Pairs (c_i, A_i).

    Raises:
        LandscapeError: The operators differ in size, dtype or device.
    """

    def __init__(self, terms: Sequence[tuple[float, Operator]]):
        self.terms = list(terms)
        first = self.terms[0][1]
        for _, op in self.terms[1:]:
            if (op.size, op.dtype, op.device) != (first.size, first.dtype, first.device):
                raise LandscapeError(f"a sum of {first!r} and {op!r}; expected equal size, dtype and device")
        self.size, self.dtype, self.device = first.size, first.dtype, first.device
        self.name = " + ".join(op.name if c == 1 else f"{c:g}·{op.name}" for c, op in self.terms).replace("+ -", "− ")
        self.positive_semidefinite = all(c >= 0 and op.positive_semidefinite for c, op in self.terms)

    def multiply(self, V: Tensor) -> Tensor:
        """Return Σ_i c_i A_i V."""
        total = torch.zeros(V.shape, dtype=torch.float64, device=V.device)
        for c, op in self.terms:
            total += c * op.multiply(V)
        return total

    def block(self, patterns: str | Iterable[str]) -> Operator:
        """Return the sum of the operators' blocks."""
        return Sum([(c, op.block(patterns)) for c, op in self.terms])

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What identifies the operator, as stored with results."""
        return {**self.terms[0][1].provenance, "operator": self.name}


class Scaled(Operator):
    """The operator D A D with D = diag(d).

    Args:
        op: A.
        d: The diagonal (P,), finite.

    Raises:
        LandscapeError: ``d`` has another size, or is not finite.
    """

    def __init__(self, op: Operator, d: Any):
        self.op, self.size, self.dtype, self.device = op, op.size, op.dtype, op.device
        self.d = torch.as_tensor(d).detach().to(op.device, torch.float64)
        if self.d.shape != (op.size,):
            raise LandscapeError(f"the scaling has shape {tuple(self.d.shape)}, expected ({op.size},)")
        if not torch.isfinite(self.d).all():
            raise LandscapeError("the scaling holds NaN or infinity; expected finite numbers")
        self.name, self.positive_semidefinite = f"scaled {op.name}", op.positive_semidefinite

    def multiply(self, V: Tensor) -> Tensor:
        """Return D A D V."""
        return self.d[:, None] * self.op.multiply((self.d[:, None] * V).to(V.dtype))

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What identifies the operator, as stored with results."""
        return {**self.op.provenance, "operator": self.name}


class Block(Operator):
    """The principal sub-matrix of an operator on some of its coordinates: products with zeros elsewhere.

    Args:
        op: The whole operator (P, P).
        index: The coordinates kept, in order.
        name: What the block is called.
    """

    def __init__(self, op: Operator, index: Tensor, name: str):
        self.op, self.index, self.name = op, index.to(op.device), name
        self.size, self.dtype, self.device = len(index), op.dtype, op.device
        self.positive_semidefinite = op.positive_semidefinite

    def multiply(self, V: Tensor) -> Tensor:
        """Return the block's product: lift, multiply, restrict."""
        whole = torch.zeros(self.op.size, V.shape[1], dtype=V.dtype, device=V.device)
        whole[self.index] = V
        return self.op.multiply(whole)[self.index]

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What identifies the operator, as stored with results."""
        return {**self.op.provenance, "operator": self.name}


def scaled(op: Operator, d: Tensor | np.ndarray) -> Operator:
    """Return diag(d) · op · diag(d), the curvature in coordinates θ = d ∘ φ.

    With d = |θ| it is the curvature per relative change of each parameter (Kwon et al. 2021, adaptive sharpness).

    Args:
        op: A symmetric operator (P, P).
        d: The diagonal (P,).

    Raises:
        LandscapeError: ``d`` has another size, or is not finite.

    >>> import torch, landscape as ls
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> H = ls.Hessian(ls.Objective(model, (torch.eye(2), torch.zeros(2, 1)), "mse_loss"))
    >>> ls.scaled(H, torch.tensor([1.0, 2.0])).dense()
    tensor([[1., 0.],
            [0., 4.]])
    """
    return Scaled(op, d)
