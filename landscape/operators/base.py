"""A symmetric linear operator on parameter vectors, and its arithmetic: sums, multiples, scalings, diagonal blocks."""

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

HALF = (torch.float16, torch.bfloat16)

DENSE_LIMIT = 20_000
"""Largest P that `Operator.dense` forms: 3.2 GB in float64."""

LIFTED_BYTES = 2**30
"""Memory that the vectors lifted for a block diagonal may take at a time."""


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
        columns = self._columns(V)
        product = self.multiply(columns[:, None])[:, 0] if columns.ndim == 1 else self.multiply(columns)
        if isinstance(V, np.ndarray):
            return product.cpu().double().numpy().astype(V.dtype, copy=False)
        return product.to(V.dtype)

    def _columns(self, V: Any) -> Tensor:
        """Check a vector (P,) or columns (P, K), and bring them to the operator; half precision also takes wider ones.

        Raises:
            LandscapeError: The type, shape, dtype or device is wrong.
        """
        what, size = f"the vectors for the {self.name}", self.world.length(self.size)
        if isinstance(V, np.ndarray):
            if not np.issubdtype(V.dtype, np.floating):
                raise LandscapeError(f"{what} are {V.dtype}, expected real floating point")
            columns = torch.as_tensor(V, device=self.device).to(self.dtype)
        elif isinstance(V, Tensor):
            wider = (torch.float32, torch.float64) if self.dtype in HALF else ()
            if V.dtype not in (self.dtype, *wider):
                raise LandscapeError(f"{what} are {V.dtype}, expected {self.dtype}; use V.to(operator.dtype)")
            if V.device != self.device:
                raise LandscapeError(f"{what} are on {V.device}, expected {self.device}; use V.to('{self.device}')")
            columns = V.detach()
        else:
            raise LandscapeError(f"the {self.name} multiplies torch tensors and numpy arrays, not {type(V).__name__}")
        if columns.ndim not in (1, 2) or len(columns) != size:
            raise LandscapeError(f"{what} have shape {tuple(V.shape)}, expected ({size},) or ({size}, K)")
        return columns

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
        matrix = torch.eye(self.size, dtype=self.dtype, device=self.device)
        for columns in matrix.split(chunk, dim=1):
            columns.copy_(self @ columns)
        return matrix

    def to_scipy(self) -> LinearOperator:
        """Return a `scipy.sparse.linalg.LinearOperator` with the same products."""
        dtype = np.dtype(str(torch.float32 if self.dtype in HALF else self.dtype).removeprefix("torch."))

        def product(V: np.ndarray) -> np.ndarray:
            return np.asarray(self @ np.asarray(V, dtype=dtype))

        return LinearOperator(self.shape, matvec=product, rmatvec=product, matmat=product, rmatmat=product, dtype=dtype)

    def __repr__(self) -> str:
        return f"{self.name} {self.shape}, {str(self.dtype).removeprefix('torch.')} on {self.device}"


class Derived(Operator):
    """An operator made from another one, which it takes its place and its provenance from."""

    def __init__(self, op: Operator, name: str):
        self.op, self.name = op, name
        self.size, self.dtype, self.device, self.world = op.size, op.dtype, op.device, op.world
        self.positive_semidefinite = op.positive_semidefinite

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What identifies the operator, as stored with results."""
        return {**self.op.provenance, "operator": self.name}


class Sum(Derived):
    """The linear combination Σ_i c_i A_i of operators of one size, dtype and device, given as pairs (c_i, A_i)."""

    def __init__(self, terms: Sequence[tuple[float, Operator]]):
        self.terms = list(terms)
        first = self.terms[0][1]
        for _, op in self.terms[1:]:
            if (op.size, op.dtype, op.device) != (first.size, first.dtype, first.device):
                raise LandscapeError(f"a sum of {first!r} and {op!r}; expected equal size, dtype and device")
        names = " + ".join(op.name if c == 1 else f"{c:g}·{op.name}" for c, op in self.terms)
        super().__init__(first, names.replace("+ -", "− "))
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


class Scaled(Derived):
    """The operator D A D with D = diag(d); see `scaled`."""

    def __init__(self, op: Operator, d: Any):
        super().__init__(op, f"scaled {op.name}")
        self.d = torch.as_tensor(d).detach().to(op.device, torch.float64)
        if self.d.shape != (size := op.world.length(op.size),):
            raise LandscapeError(f"the scaling has shape {tuple(self.d.shape)}, expected ({size},)")
        if not torch.isfinite(self.d).all():
            raise LandscapeError("the scaling holds NaN or infinity; expected finite numbers")

    def multiply(self, V: Tensor) -> Tensor:
        """Return D A D V."""
        return self.d[:, None] * self.op.multiply((self.d[:, None] * V).to(V.dtype))


class Block(Derived):
    """The principal sub-matrix of an operator on some of its coordinates, in order: products with zeros elsewhere."""

    def __init__(self, op: Operator, index: Tensor, name: str):
        super().__init__(op, name)
        self.size, self.index = len(index), index.to(op.device)

    def multiply(self, V: Tensor) -> Tensor:
        """Return the block's product: lift, multiply, restrict."""
        whole = torch.zeros(self.op.size, V.shape[1], dtype=V.dtype, device=V.device)
        whole[self.index] = V
        return self.op.multiply(whole)[self.index]


class BlockDiagonal(Derived):
    """The operator with everything outside its diagonal blocks, which together cover 0 … P, set to zero.

    All blocks are multiplied in one block of vectors, so that they share the forward and the first backward pass.
    """

    def __init__(self, op: Operator, blocks: Mapping[str, Sequence[slice]]):
        super().__init__(op, f"block diagonal of the {op.name}")
        self.blocks = dict(blocks)

    def multiply(self, V: Tensor) -> Tensor:
        """Return the product of every block with its part of each column."""
        total = torch.zeros(V.shape, dtype=torch.float64, device=V.device)
        together = max(1, LIFTED_BYTES // (16 * self.size * V.shape[1]))
        blocks = list(self.blocks.values())
        for start in range(0, len(blocks), together):
            chosen = [(i, place) for i, places in enumerate(blocks[start : start + together]) for place in places]
            lifted = V.new_zeros(len(V), 1 + chosen[-1][0], V.shape[1])
            for i, place in chosen:
                lifted[place, i] = V[place]
            product = self.op.multiply(lifted.flatten(1)).view(lifted.shape)
            for i, place in chosen:
                total[place] = product[place, i].double()
        return total

    def by_block(self, product: Tensor) -> dict[str, Tensor]:
        """Cut a product (P, …) into its blocks' parts, by name."""
        return {name: torch.cat([product[place] for place in places]) for name, places in self.blocks.items()}


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
