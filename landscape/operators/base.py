"""A symmetric linear operator on parameter vectors: what every curvature matrix, block, sum and scaling has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator
from torch import Tensor

from landscape.errors import LandscapeError
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
        positive_semidefinite: Whether it is known to have no negative eigenvalue.
    """

    size: int
    dtype: torch.dtype
    device: torch.device
    name: str = "operator"
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

    def __matmul__(self, V: Any) -> Any:
        columns, hand_back = received(V, self.size, self.dtype, self.device, self.name)
        return hand_back(self.multiply(columns))

    def __add__(self, other: Any) -> Operator:
        from landscape.operators.algebra import Sum

        return Sum([(1.0, self), (1.0, other)]) if isinstance(other, Operator) else NotImplemented

    def __sub__(self, other: Any) -> Operator:
        from landscape.operators.algebra import Sum

        return Sum([(1.0, self), (-1.0, other)]) if isinstance(other, Operator) else NotImplemented

    def __mul__(self, factor: Any) -> Operator:
        from landscape.operators.algebra import Sum

        return Sum([(float(factor), self)]) if isinstance(factor, int | float | np.number) else NotImplemented

    __rmul__ = __mul__

    def __neg__(self) -> Operator:
        return self * -1.0

    def dense(self, *, chunk: int = 64) -> Tensor:
        """Return the matrix (P, P), column by column, for small P.

        Raises:
            LandscapeError: P is above 20,000.
        """
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
