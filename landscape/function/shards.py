"""Several processes that hold a part of theta each: parameters that are DTensors, fully sharded or tensor-parallel.

Theta is this process's local shards one after another. A fully sharded parameter is put together for a forward pass and its
gradient is summed into shards again (`torch.distributed.tensor` differentiates that twice); each process has batches of its own.
Tensor-parallel modules get their parameters as they are, and all processes the same batches. Parameters that are whole in every
process are cut along their first dimension here, so that theta holds every number once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard, _api

from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.data import Data
from landscape.function.group import Group
from landscape.function.parameters import ParameterSpace
from landscape.function.world import Summed


class _FromLocal(_api._FromTorchTensor):
    """PyTorch's own, with a backward pass that can be differentiated: its own loses that term where placements differ."""

    @staticmethod
    def backward(ctx: Any, grad_output: DTensor | None) -> tuple[Tensor | None, ...]:
        if grad_output is None:
            return (None,) * 7
        placements = [Replicate() if place.is_partial() else place for place in ctx.forward_input_placements]
        return grad_output.redistribute(placements=ctx.grad_placements or placements).to_local(), *(None,) * 6


@dataclass(frozen=True)
class Piece:
    """One parameter, of which this process holds a part.

    Attributes:
        shape: of the whole parameter.
        dim: along which it is cut.
        inside: it stays a DTensor in the network, placed so; `None`: the network gets the whole tensor.
        starts: where the part of each process begins along that dimension, and its end.
    """

    shape: torch.Size
    dim: int
    inside: Placement | None
    starts: tuple[int, ...]

    def local(self, rank: int) -> tuple[int, int]:
        """Return start and length of a process's part."""
        return self.starts[rank], self.starts[rank + 1] - self.starts[rank]

    def local_shape(self, rank: int) -> torch.Size:
        """Return the shape of a process's part."""
        return torch.Size((*self.shape[: self.dim], self.local(rank)[1], *self.shape[self.dim + 1 :]))


def shards_of(model: nn.Module) -> Shards | None:
    """Return the world of a network whose parameters are sharded; `None` where they are not.

    Raises:
        LandscapeError: the shards have no mesh, one of several dimensions, different ones, or different types.
    """
    named = dict(model.named_parameters())
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        raise LandscapeError(
            "the model's shards have no mesh (FullyShardedDataParallel flattens them); shard it with "
            "torch.distributed.fsdp.fully_shard(module, mesh=…)"
        )
    meshes = {tensor.device_mesh for tensor in named.values() if isinstance(tensor, DTensor)}
    if not meshes:
        return None
    mesh = next(iter(meshes))
    if len(meshes) > 1 or mesh.ndim != 1:
        raise LandscapeError(
            f"the parameters lie on {len(meshes)} meshes of {mesh.ndim} dimensions; expected one mesh of one dimension"
        )
    return Shards(model, mesh) if mesh.size() > 1 else None


class Shards(Group):
    """The processes of a mesh, each with its shards of the parameters.

    Args:
        model: the network.
        mesh: of its parameters.
    """

    sharded = True

    def __init__(self, model: nn.Module, mesh: DeviceMesh) -> None:
        super().__init__(mesh.get_group())
        self.mesh = mesh
        hooks = (hook for module in model.modules() for hook in module._forward_pre_hooks.values())
        fully = any(isinstance(module, FSDPModule) for module in model.modules())
        self.alike = not fully and any(hook.__module__.startswith("torch.distributed.tensor") for hook in hooks)
        self._pieces = {name: self._piece(tensor) for name, tensor in model.named_parameters()}
        self.names: tuple[str, ...] = tuple(self._pieces)

    def _piece(self, tensor: Tensor) -> Piece:
        dim, inside = 0, None
        if isinstance(tensor, DTensor):
            (placement,) = tensor.placements
            if self.alike:
                inside = placement
            dim = placement.dim if isinstance(placement, Shard) else 0
        shape = tensor.shape or torch.Size((1,))
        each = -(-shape[dim] // self.count)  # as torch.chunk cuts
        return Piece(tensor.shape, dim, inside, tuple(min(i * each, shape[dim]) for i in range(self.count + 1)))

    def localised(self, space: ParameterSpace) -> ParameterSpace:
        """Return the layout of this process's part of theta."""
        self.agree(
            types=[str(dtype) for dtype in space.dtypes], parameters=space.names, shapes=[*map(tuple, space.shapes)]
        )
        self.space, self.names = space, space.names
        return replace(space, shapes=tuple(self._pieces[name].local_shape(self.rank) for name in space.names))

    def part_of(self, name: str, tensor: Tensor) -> Tensor:
        """Return this process's part of a parameter, given as a DTensor or whole."""
        piece = self._pieces.get(name)
        if isinstance(tensor, DTensor):
            if piece is not None and isinstance(tensor.placements[0], Shard):
                return tensor.to_local()
            tensor = tensor.full_tensor()
        if piece is None or name not in self.names or tensor.shape == piece.local_shape(self.rank) != piece.shape:
            return tensor
        return tensor.reshape(tensor.shape or (1,)).narrow(piece.dim, *piece.local(self.rank))

    def placed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return parameters as the network is called with them, differentiable in the local parts."""
        return {name: self._placed(self._pieces[name], local) for name, local in tensors.items()}

    def _placed(self, piece: Piece, local: Tensor) -> Tensor:
        whole = piece.shape or torch.Size((1,))
        strides = torch.empty(whole, device="meta").stride()
        part = DTensor.from_local(local, self.mesh, [Shard(piece.dim)], run_check=False, shape=whole, stride=strides)
        if piece.inside is not None:
            return part if part.placements[0] == piece.inside else part.redistribute(placements=[piece.inside])
        gradient = Replicate() if self.alike else Partial()
        return part.redistribute(placements=[Replicate()]).to_local(grad_placements=[gradient]).reshape(piece.shape)

    @contextmanager
    def twice(self) -> Iterator[None]:
        """Inside this block, what tensor-parallel modules compute can be differentiated twice."""
        before = _api._FromTorchTensor
        _api._FromTorchTensor = _FromLocal  # type: ignore[misc]
        try:
            yield
        finally:
            _api._FromTorchTensor = before  # type: ignore[misc]

    # --- sums over batches --------------------------------------------------------------------------------------------

    def sum(self, value: Summed) -> Summed:
        """Return the sum over all processes, or the value where all have the same batches."""
        return value if self.alike else super().sum(value)

    def sum_vectors(self, total: Tensor) -> Tensor:
        """Return the total: gradients are summed over processes where they are cut into shards."""
        return total

    def join(self, rows: Tensor) -> Tensor:
        """Return the rows of all processes in their order."""
        return rows if self.alike else super().join(rows)

    def before(self, size: int) -> int:
        """Return the sum of a number over the processes before this one."""
        return 0 if self.alike else super().before(size)

    def divided(self, data: Data) -> Data:
        """Return this process's part of the data; all of them have the same number of batches.

        Raises:
            LandscapeError: they have not, or tensor-parallel processes have different data.
        """
        if self.alike:
            self.agree(data=data.fingerprint())
            return data
        part = super().divided(data)
        self.agree(**{"numbers of batches": len(part)})
        return part

    def everything(self, data: Data) -> Data:
        """Raise NotDefinedError."""
        raise NotDefinedError("what needs all data and all of theta in one process is not defined for a sharded model")

    # --- vectors ------------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """P."""
        return self.space.size

    @cached_property
    def _index(self) -> Tensor:
        """The positions in theta of the numbers that this process holds, in its order."""
        found = []
        for name, where in self.space.slices.items():
            piece = self._pieces[name]
            places = torch.arange(where.start, where.stop).reshape(piece.shape or (1,))
            found.append(places.narrow(piece.dim, *piece.local(self.rank)).flatten())
        return torch.cat(found)

    def over_parts(self, partial: Tensor) -> Tensor:
        """Return inner products over all of theta."""
        return super().sum(partial)

    def length(self, size: int) -> int:
        """Return how many of P numbers this process holds."""
        return len(self._index) if size == self.size else size

    def part(self, rows: Tensor) -> Tensor:
        """Return this process's numbers of vectors (…, P)."""
        return rows[..., self._index.to(rows.device)]

    def whole(self, rows: Tensor) -> Tensor:
        """Return vectors (…, P) of which every process has a part."""
        out = rows.new_zeros(*rows.shape[:-1], self.size)
        out[..., self._index.to(rows.device)] = rows
        return super().sum(out)

    def one_by_one(self, theta: Tensor) -> Iterator[Tensor]:
        """Yield the whole parameters of theta, flat, one after another."""
        start = 0
        for name in self.names:
            piece = self._pieces[name]
            shape = piece.local_shape(self.rank)
            parts = self.exchange(theta[start : start + prod(shape)].reshape(shape).cpu())
            start += prod(shape)
            yield torch.cat(parts, piece.dim).flatten()

    def largest(self, rows: Tensor) -> Tensor:
        """Return the entry of largest magnitude of each row, (K, 1), with its sign."""
        own = super().largest(rows) if rows.shape[1] else rows.new_zeros(len(rows), 1)
        return super().largest(torch.cat([part.to(rows.device) for part in self.exchange(own.cpu())], 1))

    def factor(self, rows: Tensor, *, vectors: bool = True) -> tuple[Tensor, Tensor]:
        """Return orthonormal rows and R with rows = Rᵀ X, by Gram–Schmidt, twice."""
        found, triangle = rows.clone(), rows.new_zeros(len(rows), len(rows))
        for i, row in enumerate(found):
            for _ in range(2):
                inside = self.over_parts((found[:i] @ row).double()).to(rows.dtype)
                row -= inside @ found[:i]
                triangle[:i, i] += inside
            triangle[i, i] = self.norm(row)
            row /= triangle[i, i].clamp_min(torch.finfo(rows.dtype).tiny)
        return (found if vectors else rows[:0]), triangle


def without_hooks(module: nn.Module) -> tuple[type[nn.Module], dict[str, Any]]:
    """Return the class of a module and what it holds, without what FSDP2 adds: its shards are put together here instead."""
    state = vars(module)
    plain = next(kind for kind in type(module).__mro__[1:] if kind is not FSDPModule and issubclass(kind, nn.Module))

    def own(hook: Any) -> bool:
        return "fsdp" not in type(getattr(hook, "__self__", None)).__module__

    hooks = {k: type(v)((i, f) for i, f in v.items() if own(f)) for k, v in state.items() if k.endswith("_hooks") and v}
    return plain, {**state, **hooks}
