"""A symmetric linear operator on parameter vectors, and its arithmetic: sums, multiples, scalings, principal sub-matrices."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from landscape.arguments import settled
from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.world import ALONE, World
from landscape.operators.vectors import HALF, received

DENSE_LIMIT = 20_000
"""Largest P that `Operator.dense` forms: 3.2 GB in float64."""


class Operator(ABC):
    """A real symmetric matrix (P, P) that is known by its products.

    ``op @ v`` takes a vector (P,) or columns (P, K), numpy or torch, and returns the same kind.

    Attributes:
        size: P.
        dtype: Floating-point type of the vectors.
        device: Where they live.
        name: What it is, in words.
        world: How inner products of its vectors are taken.
        positive_semidefinite: Whether it is known to have no negative eigenvalue.
    """

    size: int
    dtype: torch.dtype
    device: torch.device
    name: str = "operator"
    world: World = ALONE
    positive_semidefinite: bool = False
    __array_ufunc__ = None  # numpy hands ``array * op`` to this class instead of looping over elements

    @abstractmethod
    def multiply(self, V: Tensor) -> Tensor:
        """Return the product with checked columns (P, K), in any floating-point type at least as wide as theirs."""

    def block(self, patterns: str | Iterable[str]) -> Operator:
        """Return the principal sub-matrix of the parameters whose names match any glob pattern.

        Raises:
            LandscapeError: A pattern matches nothing, or the operator has no parameter names.
        """
        raise LandscapeError(f"the {self.name} has no parameter names, so it has no blocks by name")

    @property
    def shape(self) -> tuple[int, int]:
        """(P, P)."""
        return self.size, self.size

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What identifies the operator, as stored with results."""
        return {"operator": self.name}

    @settled()
    def __matmul__(self, V: Any) -> Any:
        columns, hand_back = received(V, self.world.length(self.size), self.dtype, self.device, self.name)
        return hand_back(self.multiply(columns))

    def __add__(self, other: Any) -> Operator:
        return Sum([(1.0, self), (1.0, other)]) if isinstance(other, Operator) else NotImplemented

    def __sub__(self, other: Any) -> Operator:
        return Sum([(1.0, self), (-1.0, other)]) if isinstance(other, Operator) else NotImplemented

    def __mul__(self, factor: Any) -> Operator:
        return Sum([(float(factor), self)]) if isinstance(factor, int | float | np.number) else NotImplemented

    __rmul__ = __mul__

    def __neg__(self) -> Operator:
        return self * -1.0

    @settled()
    def dense(self, *, chunk: int = 64) -> Tensor:
        """Return the matrix (P, P), column by column, for small P.

        Raises:
            LandscapeError: P is above 20,000.
        """
        if self.world.sharded:
            raise NotDefinedError(f"the {self.name} of a sharded model has its rows in several processes: use products")
        if self.size > DENSE_LIMIT:
            raise LandscapeError(
                f"the {self.name} has P = {self.size:,}; dense() forms at most {DENSE_LIMIT:,}: use op.block(…).dense() or "
                "products"
            )
        out = torch.empty(self.size, self.size, dtype=self.dtype, device=self.device)
        for start in range(0, self.size, chunk):
            unit = torch.zeros(self.size, min(chunk, self.size - start), dtype=self.dtype, device=self.device)
            unit[torch.arange(start, start + unit.shape[1]), torch.arange(unit.shape[1])] = 1
            out[:, start : start + unit.shape[1]] = self @ unit
        return out

    def to_scipy(self) -> LinearOperator:
        """Return a `scipy.sparse.linalg.LinearOperator` with the same products."""
        dtype = np.dtype(str(torch.float32 if self.dtype in HALF else self.dtype).removeprefix("torch."))

        def product(V: np.ndarray) -> np.ndarray:
            return np.asarray(self @ np.asarray(V, dtype=dtype))

        def vector_product(v: np.ndarray) -> np.ndarray:
            return product(np.ravel(v))

        return LinearOperator(
            self.shape, matvec=vector_product, rmatvec=vector_product, matmat=product, rmatmat=product, dtype=dtype
        )

    def __repr__(self) -> str:
        return f"{self.name} {self.shape}, {str(self.dtype).removeprefix('torch.')} on {self.device}"


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
        self.size, self.dtype, self.device, self.world = first.size, first.dtype, first.device, first.world
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
        self.op, self.size, self.dtype, self.device, self.world = op, op.size, op.dtype, op.device, op.world
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
        self.size, self.dtype, self.device, self.world = len(index), op.dtype, op.device, op.world
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
