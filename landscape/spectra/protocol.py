"""What an operator is, the one wrapper through which every algorithm multiplies by it, and random vectors to multiply."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from landscape.errors import LandscapeError, NumericalError
from landscape.function.world import ALONE, World
from landscape.spectra.basis import Basis, Where, host

Kind = Literal["gaussian", "rademacher", "sphere"]


@runtime_checkable
class Operator(Protocol):
    """A symmetric linear map on vectors (P,): a dense tensor (P, P), a Hessian, anything that multiplies.

    Optional attributes are read where they exist: ``name`` (str), ``provenance`` (mapping), ``positive_semidefinite``
    (bool), ``block_size`` (int: the number of vectors at which one product is cheapest per vector) and ``world``
    (`landscape.function.world.World`: how inner products of its vectors are taken).

    >>> isinstance(torch.eye(3), Operator)
    True
    """

    @property
    def shape(self) -> Any:
        """(P, P)."""

    @property
    def dtype(self) -> Any:
        """The floating-point type of the vectors it takes."""

    @property
    def device(self) -> Any:
        """Where those vectors live."""

    def __matmul__(self, other: Any) -> Any:
        """Multiply a vector (P,) or columns (P, K)."""


SMALLEST, LARGEST = 1e-140, 1e140


class Products:
    """An operator that counts its products and hands back detached vectors of a known type.

    Vectors are rows here, (K, P), so that a basis is contiguous vector by vector. Half-precision operators are
    multiplied in their own type and everything else happens in float32.

    Args:
        op: the operator (P, P).

    Raises:
        LandscapeError: `op` does not multiply, is not square, or is not of a real floating-point type.

    >>> products = Products(torch.diag(torch.tensor([1.0, 2.0])))
    >>> products.rows(torch.ones(1, 2)), products.count
    (tensor([[1., 2.]]), 1)
    """

    def __init__(self, op: Operator | np.ndarray) -> None:
        held: Any = torch.as_tensor(op) if isinstance(op, np.ndarray) else op
        missing = [name for name in ("shape", "dtype", "device", "__matmul__") if not hasattr(held, name)]
        if missing:
            raise LandscapeError(
                f"an operator needs .shape, .dtype, .device and op @ V, but {type(held).__name__} has no "
                f"{', '.join(missing)}: pass ls.Hessian(objective), another operator of landscape.operators, or a tensor (P, P)"
            )
        shape = tuple(held.shape)
        if len(shape) != 2 or shape[0] != shape[1] or shape[0] < 1:
            raise LandscapeError(f"the operator has shape {shape}, expected a square (P, P) with P ≥ 1")
        if not (isinstance(held.dtype, torch.dtype) and held.dtype.is_floating_point):
            raise LandscapeError(f"the operator has dtype {held.dtype}, expected a real floating-point type of torch")
        self.op = held
        self.size = int(shape[0])
        self.device = torch.device(held.device)
        self.dtype = held.dtype if held.dtype in (torch.float32, torch.float64) else torch.float32
        self.epsilon = float(torch.finfo(held.dtype).eps)
        self.block_size = max(1, int(getattr(held, "block_size", 1)))
        self.world: World = getattr(held, "world", ALONE)
        self.count = 0

    @property
    def name(self) -> str:
        """What is multiplied, for results and messages."""
        return str(getattr(self.op, "name", None) or ("matrix" if isinstance(self.op, Tensor) else "operator"))

    @property
    def provenance(self) -> Mapping[str, Any]:
        """What the operator says about itself."""
        return dict(getattr(self.op, "provenance", None) or {})

    def basis(self, where: Where = "device") -> Basis:
        """Return an empty basis for the operator's vectors."""
        return Basis(self.world.length(self.size), self.world, where)

    def probes(self, seed: int, kind: Kind) -> Probes:
        """Return random vectors for the operator."""
        self.world.agree(seeds=seed)
        return Probes(self.size, seed, kind, self.device, self.dtype, self.world)

    def rows(self, vectors: Tensor) -> Tensor:
        """Multiply the rows (K, P) and return the products as rows (K, P)."""
        given = vectors.to(self.op.dtype)
        if len(given) == 1:
            product = (self.op @ given[0])[None]
        else:
            product = (self.op @ given.T).T
        if product.shape != vectors.shape:
            raise LandscapeError(
                f"{self.name} @ {tuple(given.T.shape)} gave {tuple(product.T.shape)}, expected the same shape"
            )
        if self.count == 0:
            self._require_size(product)
        self.count += len(vectors)
        return product.detach().to(self.dtype).contiguous()

    def _require_size(self, product: Tensor) -> None:
        """Refuse numbers whose squares, which norms are made of, are zero or infinite in float64."""
        largest = float(product.detach().abs().max())
        if np.isfinite(largest) and not (largest == 0 or SMALLEST < largest < LARGEST):
            raise NumericalError(
                f"products with the {self.name} are of the order of {largest:.0e}, whose square float64 does not hold: divide "
                "the operator by that, and multiply what comes out"
            )

    def diagonal(self) -> tuple[np.ndarray, float]:
        """Return the diagonal (P,) and ‖A‖²_F from the products of all unit vectors.

        >>> Products(torch.tensor([[1.0, 2.0], [2.0, 3.0]])).diagonal()
        (array([1., 3.]), 18.0)
        """
        block = max(16, self.block_size)
        entries, squares = [], 0.0
        for start in range(0, self.size, block):
            index = torch.arange(start, min(start + block, self.size), device=self.device)
            units = torch.zeros(len(index), self.size, dtype=self.dtype, device=self.device)
            units[torch.arange(len(index)), index] = 1
            units = self.world.part(units)
            columns = self.rows(units).double()
            entries.append(host(self.world.dot(units, columns)))
            squares += float(self.world.over_parts((columns * columns).sum()))
            self.require_finite(squares)
        return np.concatenate(entries), squares

    def require_finite(self, numbers: np.ndarray | float) -> None:
        """Raise unless every number that came out of a product is finite."""
        if not np.all(np.isfinite(numbers)):
            raise NumericalError(
                f"product {self.count} with the {self.name} holds NaN or infinity: check that the loss and its "
                "gradient are finite at this point, and use float64 where float32 overflows"
            )

    def explain_asymmetry(self, vector: Tensor, relative: float) -> NumericalError:
        """Return the error for products that contradict each other, after one more product that tells the cause."""
        first, second = self.rows(vector[None]), self.rows(vector[None])
        difference = float((first - second).abs().max())
        if difference > 100 * self.epsilon * float(first.abs().max()):
            return NumericalError(
                f"the {self.name} is not deterministic: the same vector gave two products that differ by "
                f"{difference:.1e}; switch off dropout, batch-norm updates, shuffling and random augmentation"
            )
        return NumericalError(
            f"the {self.name} is not symmetric (relative asymmetry {relative:.1e}): pass a symmetric operator, such as "
            "(A + A.T) / 2, or one whose function does not change between products; in a network, switch autocast off"
        )


@dataclass(frozen=True)
class Probes:
    """Independent random vectors z with E[z zᵀ] = I, numbered from 0.

    Vectors are drawn on the CPU, so that every device sees the same ones, and each from its own generator, so that
    the global random state is untouched and a longer run extends a shorter one.

    Attributes:
        size: P.
        seed: the seed of the family.
        kind: ``rademacher`` (entries ±1), ``gaussian``, or ``sphere`` (uniform with norm √P).
        device: where the vectors are wanted.
        dtype: their type.
        world: which part of each this process gets.

    >>> Probes(4, seed=0, kind="rademacher").rows(0, 2).abs()
    tensor([[1., 1., 1., 1.],
            [1., 1., 1., 1.]])
    """

    size: int
    seed: int
    kind: Kind
    device: torch.device = torch.device("cpu")
    dtype: torch.dtype = torch.float32
    world: World = ALONE

    def rows(self, start: int, stop: int) -> Tensor:
        """Return vectors number start, …, stop − 1 as rows (stop − start, P)."""
        drawn = torch.empty(stop - start, self.world.length(self.size), dtype=self.dtype)
        for row, number in zip(drawn, range(start, stop), strict=True):
            entropy = np.random.SeedSequence((self.seed, number)).generate_state(1, np.uint64)[0]
            generator = torch.Generator().manual_seed(int(entropy >> 1))
            if self.kind == "rademacher":
                self.world.draw(row, partial(_bits, generator)).mul_(2).sub_(1)
            else:
                self.world.draw(row, partial(_normal, generator))
                if self.kind == "sphere":
                    row.mul_(self.size**0.5 / self.world.norm(row, dtype=torch.float64).item())
        return drawn.to(self.device)


def _bits(generator: torch.Generator, numbers: Tensor) -> Tensor:
    return numbers.random_(0, 2, generator=generator)


def _normal(generator: torch.Generator, numbers: Tensor) -> Tensor:
    return numbers.normal_(generator=generator)


def as_rows(vectors: Any, products: Products, what: str) -> Tensor:
    """Turn a vector (P,), rows (K, P) or a result with ``.vectors`` into rows on the operator's device.

    Raises:
        LandscapeError: the shape does not fit the operator, or a number is not finite.
    """
    vectors = getattr(vectors, "vectors", vectors)
    if vectors is None:
        raise LandscapeError(f"{what} holds no vectors: compute it with vectors=True")
    rows = torch.atleast_2d(torch.as_tensor(vectors)).detach().to(products.device, products.dtype)
    if rows.ndim != 2 or rows.shape[1] != products.size:
        raise LandscapeError(f"{what} has shape {tuple(rows.shape)}, expected rows (K, {products.size})")
    if not bool(torch.isfinite(rows).all()):
        raise LandscapeError(f"{what} holds NaN or infinity: expected finite vectors")
    return products.world.part(rows)


def deflated(vectors: Any, products: Products) -> Tensor:
    """Return an orthonormal basis (d, P) of the vectors to leave out of the space.

    Raises:
        LandscapeError: they do not fit the operator, or leave nothing of the space.
    """
    rows = as_rows(vectors, products, "deflate")
    if len(rows) >= products.size:
        raise LandscapeError(
            f"deflate holds {len(rows)} vectors, which leaves nothing of P={products.size}: pass fewer"
        )
    return products.world.factor(rows)[0]
