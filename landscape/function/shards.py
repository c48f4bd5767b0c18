"""Several processes that hold a part of theta each: parameters that are DTensors, fully sharded, tensor-parallel, or both.

Theta is this process's local shards one after another. A fully sharded parameter is put together for a forward pass and its
gradient is summed into shards again (`torch.distributed.tensor` differentiates that twice); each process has batches of its own.
Tensor-parallel modules get their parameters as they are, and all processes the same batches. Parameters that are whole in several
processes are cut along their first dimension here, so that theta holds every number once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard, _api

from landscape.errors import LandscapeError
from landscape.function.data import Data
from landscape.function.group import Group
from landscape.function.parameters import ParameterSpace


class _FromLocal(_api._FromTorchTensor):
    """PyTorch's own, with a backward pass that can be differentiated: its own loses that term where placements differ."""

    @staticmethod
    def backward(ctx: Any, grad_output: DTensor | None) -> tuple[Tensor | None, ...]:
        if grad_output is None:
            return (None,) * 7
        placements = [Replicate() if place.is_partial() else place for place in ctx.forward_input_placements]
        return grad_output.redistribute(placements=ctx.grad_placements or placements).to_local(), *(None,) * 6


Box = tuple[tuple[int, int], ...]
"""Start and length of a part of a tensor along each of its dimensions."""

BLOCK = 1 << 20
"""Random numbers that are drawn at a time: 8 MB in float64."""
_LEAST = 16  # below which PyTorch's generators draw one by one, in another order


@dataclass(frozen=True)
class Piece:
    """One parameter, of which this process holds a part.

    Attributes:
        shape: of the whole parameter.
        cuts: (axis of the mesh, dimension of the parameter) one after another: along which dimension the processes of that axis
            divide what the cuts before left. Every axis is among them, so that theta holds every number once.
        inside: it stays a DTensor in tensor-parallel modules, placed so; `None`: the network gets the whole tensor.
    """

    shape: torch.Size
    cuts: tuple[tuple[int, int], ...]
    inside: Placement | None = None

    @property
    def whole(self) -> torch.Size:
        """The shape, of at least one dimension."""
        return self.shape or torch.Size((1,))


def parts_of(
    shape: Sequence[int], cuts: Sequence[tuple[int, int]], mesh: Sequence[int], place: Sequence[int]
) -> list[Box]:
    """Return what is left of a tensor for the process at a place of a mesh before every cut, and after the last one.

    >>> parts_of((5, 2), [(0, 0)], mesh=(2,), place=(1,))  # as torch.chunk cuts
    [((0, 5), (0, 2)), ((3, 2), (0, 2))]
    """
    box = [(0, length) for length in shape]
    boxes = [tuple(box)]
    for axis, dim in cuts:
        start, length = box[dim]
        each = -(-length // mesh[axis])
        low = min(place[axis] * each, length)
        box[dim] = start + low, min(each, length - low)
        boxes.append(tuple(box))
    return boxes


def _narrowed(tensor: Tensor, box: Box, *, within: Box | None = None) -> Tensor:
    """Return a part of a tensor as a view; its last dimensions are those of the box."""
    for dim, (start, length) in enumerate(box, -len(box)):
        tensor = tensor.narrow(dim, start - (within[dim][0] if within else 0), length)
    return tensor


def _sizes(box: Box) -> torch.Size:
    return torch.Size(length for _, length in box)


def find_shards(model: nn.Module) -> Shards | None:
    """Return what `landscape.function.group.shards_of` does."""
    named = dict(model.named_parameters())
    if any(type(module).__name__ == "FullyShardedDataParallel" for module in model.modules()):
        raise LandscapeError(
            "the model's shards have no mesh (FullyShardedDataParallel flattens them); shard it with "
            "torch.distributed.fsdp.fully_shard(module, mesh=…)"
        )
    meshes = {tensor.device_mesh for tensor in named.values() if isinstance(tensor, DTensor)}
    if not meshes:
        return None
    mesh = max(meshes, key=lambda mesh: mesh.ndim)
    names = mesh.mesh_dim_names or ()
    if any(other != mesh and not (other.mesh_dim_names and set(other.mesh_dim_names) < set(names)) for other in meshes):
        raise LandscapeError(
            f"the parameters lie on {len(meshes)} meshes; expected one, and parts of it by their names"
        )
    return Shards(model, mesh) if mesh.size() > 1 else None


class Shards(Group):
    """The processes of a mesh, each with its shards of the parameters.

    On the axes of fully sharded parameters every process has batches of its own; on that of tensor-parallel modules, the last,
    processes have the same ones.

    Args:
        model: the network.
        mesh: of its parameters.

    Raises:
        LandscapeError: tensor-parallel modules lie on a mesh of several dimensions, and are not fully sharded over the others.
    """

    sharded = True

    def __init__(self, model: nn.Module, mesh: DeviceMesh) -> None:
        super().__init__(_group(mesh))
        hooks = (hook for module in model.modules() for hook in module._forward_pre_hooks.values())
        fully = any(isinstance(module, FSDPModule) for module in model.modules())
        parallel = any(hook.__module__.startswith("torch.distributed.tensor") for hook in hooks)
        parallel = parallel and (mesh.ndim > 1 or not fully)
        if parallel and mesh.ndim > 1 and not fully:
            raise LandscapeError(
                f"tensor-parallel modules on a mesh of {mesh.ndim} dimensions; call fully_shard(model, mesh=…) with the others"
            )
        self.mesh, self.shape, self.names_of_axes = mesh, tuple(mesh.shape), mesh.mesh_dim_names or ()
        self.parallel = mesh.ndim - 1 if parallel else None
        if mesh.ndim == 1:
            self.axes = [mesh]
        elif self.names_of_axes:
            self.axes = [mesh[name] for name in self.names_of_axes]
        else:
            self.axes = [DeviceMesh.from_group(group, mesh.device_type) for group in mesh.get_all_groups()]
        ranks = (dist.get_global_rank(self.group, rank) for rank in range(self.count))
        self.places = [tuple((mesh.mesh == rank).nonzero()[0].tolist()) for rank in ranks]
        self._take_data_axes(tuple(axis for axis in range(mesh.ndim) if axis != self.parallel))
        self._pieces = {name: self._piece(tensor) for name, tensor in model.named_parameters()}
        self.names: tuple[str, ...] = tuple(self._pieces)

    def _take_data_axes(self, axes: tuple[int, ...]) -> None:
        """Say on which axes processes have data of their own; of those with the same data the first one speaks."""
        self.data_axes = axes
        seats = [tuple(place[axis] for axis in axes) for place in self.places]
        self.owners = tuple(seats.index(seat) for seat in dict.fromkeys(seats))
        self.seats = tuple(list(dict.fromkeys(seats)).index(seat) for seat in seats)

    @property
    def undivided(self) -> Shards:
        """The same shards of theta, each process with all data."""
        fresh = object.__new__(Shards)
        vars(fresh).update(vars(self))
        fresh._take_data_axes(())
        return fresh

    def _piece(self, tensor: Tensor) -> Piece:
        physical, inside = self._cuts(tensor), None
        if self.parallel is not None and isinstance(tensor, DTensor):
            axes = self._axes_of(tensor)
            inside = tensor.placements[axes.index(self.parallel)] if self.parallel in axes else None
        dims = dict(physical)
        order = [*dims, *(axis for axis in range(self.mesh.ndim) if axis not in dims)]
        if inside is not None:  # modules get that DTensor: what is put together first is its part of this process
            order.sort(key=lambda axis: axis != self.parallel)
        return Piece(tensor.shape, tuple((axis, dims.get(axis, 0)) for axis in order), inside)

    def _axes_of(self, tensor: DTensor) -> list[int]:
        """Return the axes of the mesh that a parameter lies on."""
        own = tensor.device_mesh
        return (
            list(range(own.ndim))
            if own == self.mesh
            else [self.names_of_axes.index(n) for n in own.mesh_dim_names or ()]
        )

    def _cuts(self, tensor: Tensor) -> list[tuple[int, int]]:
        """Return along which axis and dimension a parameter itself is cut, one after another."""
        if not isinstance(tensor, DTensor):
            return []
        cut = [(a, p) for a, p in zip(self._axes_of(tensor), tensor.placements, strict=True) if hasattr(p, "dim")]
        cut.sort(key=lambda pair: not isinstance(pair[1], Shard))  # a strided shard is cut out of what the others left
        return [(axis, place.dim) for axis, place in cut]

    def _boxes(self, piece: Piece, rank: int | None = None) -> list[Box]:
        return parts_of(piece.whole, piece.cuts, self.shape, self.places[self.rank if rank is None else rank])

    def box(self, name: str, rank: int | None = None) -> Box:
        """Return the part of a parameter that a process holds of theta."""
        return self._boxes(self._pieces[name], rank)[-1]

    def own_box(self, tensor: Tensor, rank: int | None = None) -> Box:
        """Return the part of a parameter that a DTensor itself holds in a process, which others may hold as well."""
        place = self.places[self.rank if rank is None else rank]
        return parts_of(tensor.shape, self._cuts(tensor), self.shape, place)[-1]

    def _nested(self, name: str, tensor: DTensor) -> bool:
        """Whether every process holds its part of theta itself."""
        pairs = ((self.own_box(tensor, rank), self.box(name, rank)) for rank in range(self.count))
        both = (pair for own, box in pairs for pair in zip(own or ((0, 1),), box, strict=True))
        return all(a <= b and b + n <= a + m for (a, m), (b, n) in both)

    def localised(self, space: ParameterSpace) -> ParameterSpace:
        """Return the layout of this process's part of theta."""
        self.agree(
            types=[str(dtype) for dtype in space.dtypes], parameters=space.names, shapes=[*map(tuple, space.shapes)]
        )
        self.space, self.names = space, space.names
        return replace(space, shapes=tuple(_sizes(self.box(name)) for name in space.names))

    def part_of(self, name: str, tensor: Tensor) -> Tensor:
        """Return this process's part of a parameter, given as a DTensor or whole."""
        piece = self._pieces.get(name)
        if piece is None or name not in self.names:
            return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        box = self.box(name)
        if isinstance(tensor, DTensor):
            if self._nested(name, tensor):
                own = self.own_box(tensor)
                return _narrowed(tensor.to_local().reshape(_sizes(own) or (1,)), box, within=own or ((0, 1),))
            tensor = tensor.full_tensor()
        if tensor.shape == _sizes(box) != piece.whole:
            return tensor
        return _narrowed(tensor.reshape(piece.whole), box)

    def given_as(self, own: Tensor, local: Tensor) -> Tensor:
        """Return what this process holds of a parameter as one that is placed as the network's own."""
        if not isinstance(own, DTensor):
            return local
        how: dict[str, Any] = {"run_check": False, "shape": own.shape, "stride": own.stride()}
        return DTensor.from_local(local, own.device_mesh, own.placements, **how)

    def placed(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return parameters as the network is called with them, differentiable in the local parts."""
        return {name: self._placed(self._pieces[name], local) for name, local in tensors.items()}

    def _placed(self, piece: Piece, local: Tensor) -> Tensor:
        for (axis, dim), box in zip(reversed(piece.cuts), reversed(self._boxes(piece)[:-1]), strict=True):
            shape = _sizes(box)
            strides = torch.empty(shape, device="meta").stride()
            mesh = self.axes[axis]
            part = DTensor.from_local(local, mesh, [Shard(dim)], run_check=False, shape=shape, stride=strides)
            if axis == self.parallel and piece.inside is not None:
                return part if part.placements[0] == piece.inside else part.redistribute(placements=[piece.inside])
            gradient = Partial() if axis in self.data_axes else Replicate()
            local = part.redistribute(placements=[Replicate()]).to_local(grad_placements=[gradient])
        return local.reshape(piece.shape)

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

    def sum_vectors(self, total: Tensor) -> Tensor:
        """Return the total: gradients are summed over processes where they are cut into shards."""
        return total

    def divided(self, data: Data) -> Data:
        """Return this process's part of the data; all of them have the same number of batches.

        Raises:
            LandscapeError: they have not, one has a single example where others have more, or tensor-parallel processes have
                different data.
        """
        part = super().divided(data)
        self.agree(**{"numbers of batches": len(part)})
        alone = [size == 1 for size in self.exchange(part.stored[0].size)]
        if any(alone) and not all(
            alone
        ):  # the loss is tried out on halves of a batch, in which all must call the network
            rank = alone.index(True)
            raise LandscapeError(
                f"process {rank} has a batch of one example, others have more; give every process two at least"
            )
        return part

    # --- vectors ------------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        """P."""
        return self.space.size

    @cached_property
    def _own_size(self) -> int:
        return sum(prod(_sizes(self.box(name))) for name in self.names)

    def over_parts(self, partial: Tensor) -> Tensor:
        """Return inner products over all of theta."""
        return self.sum_of_all(partial)

    def length(self, size: int) -> int:
        """Return how many of P numbers this process holds."""
        return self._own_size if size == self.size else size

    def part(self, rows: Tensor) -> Tensor:
        """Return this process's numbers of vectors (…, P)."""
        lead, slices = rows.ndim - 1, self.space.slices.items()
        whole = ((name, rows[..., where].unflatten(-1, self._pieces[name].whole)) for name, where in slices)
        return torch.cat([_narrowed(tensor, self.box(name)).flatten(lead) for name, tensor in whole], -1)

    def whole(self, rows: Tensor) -> Tensor:
        """Return vectors (…, P) of which every process has a part."""
        out = rows.new_zeros(*rows.shape[:-1], self.size)
        start = 0
        for name, where in self.space.slices.items():
            sizes = _sizes(self.box(name))
            mine = rows[..., start : start + prod(sizes)].unflatten(-1, sizes)
            _narrowed(out[..., where].unflatten(-1, self._pieces[name].whole), self.box(name)).copy_(mine)
            start += prod(sizes)
        return self.sum_of_all(out)

    def draw(self, row: Tensor, fill: Callable[[Tensor], Any]) -> Tensor:
        """Fill this process's part of a vector that every process draws, block by block, and keeps its part of."""
        if len(row) != self._own_size:
            return super().draw(row, fill)
        done = start = 0
        while start < self.size:
            stop = self.size if self.size - start < BLOCK + _LEAST else start + BLOCK
            block = row.new_empty(stop - start)
            fill(block)
            for mine in self._of_block(block, start):
                row[done : done + len(mine)] = mine
                done += len(mine)
            start = stop
        return row

    def _of_block(self, block: Tensor, begin: int) -> Iterator[Tensor]:
        """Yield this process's numbers of a block of a vector (P,), parameter by parameter."""
        for name, where in self.space.slices.items():
            low, high = max(where.start, begin), min(where.stop, begin + len(block))
            if low < high:
                found, places = block[low - begin : high - begin], torch.arange(low - where.start, high - where.start)
                mine = torch.ones_like(places, dtype=torch.bool)
                whole = self._pieces[name].whole
                for dim, (first, length) in enumerate(self.box(name)):
                    if length < whole[dim]:
                        at = places // prod(whole[dim + 1 :]) % whole[dim]
                        mine &= (at >= first) & (at < first + length)
                yield found[mine]

    def joined(self, name: str, part: Tensor) -> Tensor:
        """Return a whole parameter, of which every process has a part."""
        parts = self.exchange(part.reshape(_sizes(self.box(name))).cpu())
        whole = parts[0].new_empty(self._pieces[name].whole)
        for rank, one in enumerate(parts):
            _narrowed(whole, self.box(name, rank)).copy_(one)
        return whole.reshape(self._pieces[name].shape).to(part.device)

    def one_by_one(self, theta: Tensor) -> Iterator[Tensor]:
        """Yield the whole parameters of theta, flat, one after another."""
        start = 0
        for name in self.names:
            size = prod(_sizes(self.box(name)))
            yield self.joined(name, theta[start : start + size]).flatten().cpu()
            start += size

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


def _group(mesh: DeviceMesh) -> dist.ProcessGroup:
    """Return the group of all processes of a mesh."""
    if mesh.ndim == 1:
        return mesh.get_group()
    everyone = dist.group.WORLD
    assert everyone is not None
    return everyone if mesh.size() == dist.get_world_size() else mesh._flatten().get_group()


def without_hooks(module: nn.Module) -> tuple[type[nn.Module], dict[str, Any]]:
    """Return the class of a module and what it holds, without what FSDP2 adds: its shards are put together here instead."""
    state = vars(module)
    plain = next(kind for kind in type(module).__mro__[1:] if kind is not FSDPModule and issubclass(kind, nn.Module))

    def own(hook: Any) -> bool:
        return "fsdp" not in type(getattr(hook, "__self__", None)).__module__

    hooks = {k: type(v)((i, f) for i, f in v.items() if own(f)) for k, v in state.items() if k.endswith("_hooks") and v}
    return plain, {**state, **hooks}
