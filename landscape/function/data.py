"""Data as a fixed list of batches: read once, kept in order, resident on the device or moved there when used.

The batches of a loader or a list are taken as they are. They are joined and cut only where all are rows of examples.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.batches import (
    Batch,
    batch_of,
    constants,
    join,
    leaves,
    move,
    take,
    tensors,
    versions,
    views,
)
from landscape.function.memory import free_bytes
from landscape.hashing import batched_fingerprint, fingerprint

DEFAULT_BATCH = 1024
MOST = 1_000_000
"""Batches after which a loader without a length is taken to have no end."""
Every = Callable[[Sequence[Any]], Iterable[Any]]


class Data(Sequence[Batch]):
    """A sequence of batches with fixed shares; iterating moves each to the device when it does not live there already.

    Args:
        batches: the batches.
        device: where they are used.
        dtype: what floating-point tensors are cast to; `None`: nothing.
        resident: whether they are kept on the device.
        uncut: why they may be neither cut nor joined; empty where they may.
        fixed: the function is the mean over the batches as they are.

    Attributes:
        sha256: the fingerprint of the data of all processes, once it is known; empty before.
        cut: of a process's part of data, the examples per batch that the whole was cut into; 0 for others.
        everything: the data of all processes, once it was asked for.
    """

    def __init__(
        self,
        batches: Sequence[Batch],
        device: torch.device,
        dtype: torch.dtype | None,
        resident: bool,
        *,
        uncut: str = "",
        fixed: bool = False,
    ):
        self._batches = list(batches)
        self.device, self.dtype, self.resident = device, dtype, resident
        self.uncut, self.fixed = uncut, fixed
        if resident:
            self._batches = [self._placed(batch) for batch in self._batches]
        self._versions = [versions(batch) for batch in self._batches]
        self.sha256, self.cut = "", 0
        self.everything: Data | None = None

    def _placed(self, batch: Batch) -> Batch:
        if all(tensor.device == self.device and not self._casts(tensor) for tensor in leaves(batch.raw)):
            return batch
        raw = move(batch.raw, self.device, self.dtype)
        # told apart again, so that what is cast is held once
        placed = batch_of(raw, None if batch.rows else batch.size)
        return replace(batch, inputs=placed.inputs, target=placed.target, raw=raw)

    def _casts(self, tensor: Tensor) -> bool:
        return self.dtype not in (None, tensor.dtype) and tensor.is_floating_point()

    def __len__(self) -> int:
        return len(self._batches)

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        batch = self._batches[index]
        self._require_unchanged([index])
        return batch if self.resident else self._placed(batch)

    def __iter__(self) -> Iterator[Batch]:
        return (self[i] for i in range(len(self)))

    def _require_unchanged(self, indices: Iterable[int] | None = None) -> None:
        """Raise when the user changed a tensor of the data, which is shared where neither device nor dtype differ."""
        chosen = range(len(self)) if indices is None else indices
        if any(versions(self._batches[i]) != self._versions[i] for i in chosen):
            raise LandscapeError(
                "the data was changed in place after the objective had read it; make a new objective, or change a copy: "
                "X.clone()"
            )

    def __getstate__(self) -> dict[str, Any]:
        self._require_unchanged()
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._versions = [versions(batch) for batch in self._batches]  # those of copies begin anew

    @property
    def stored(self) -> list[Batch]:
        """The batches where they are kept, without moving them."""
        return self._batches

    @property
    def n(self) -> int:
        """Number of examples."""
        return sum(batch.size for batch in self._batches)

    def place(self, batch: Batch) -> str:
        """Return which of several batches one is, for messages; empty for others."""
        found = [i for i, other in enumerate(self._batches) if other.raw is batch.raw]
        return f"batch {found[0] + 1} of {len(self)}, " if found and len(self) > 1 else ""

    @property
    def largest(self) -> int:
        """Number of examples in the largest batch."""
        return max(batch.size for batch in self._batches)

    def with_scales(self, scales: Iterable[float]) -> Data:
        """Return the same batches with other shares."""
        fresh = copy.copy(self)
        fresh._batches = [batch.rescaled(scale) for batch, scale in zip(self._batches, scales, strict=True)]
        return fresh

    def some(self, which: Iterable[int]) -> Data:
        """Return some of the batches as they are."""
        return self._of([self._batches[i] for i in which], self.uncut)

    def made_of(self, raws: Sequence[tuple[Any, int]]) -> Data:
        """Return data of the same kind made of other batches, each given raw and with its number of examples."""
        fresh = self._of([batch_of(raw, n, cut=not self.fixed) for raw, n in raws], self.uncut)
        return fresh.as_they_are(self.uncut) if self.uncut else fresh

    def as_they_are(self, uncut: str) -> Data:
        """Return the same batches, of which it was found why they may be neither cut nor joined."""
        return self._of([replace(batch, rows=False) for batch in self._batches], uncut)

    def _of(self, batches: Sequence[Batch], uncut: str) -> Data:
        return Data(batches, self.device, self.dtype, self.resident, uncut=uncut, fixed=self.fixed)

    def require_rows(self, what: str) -> None:
        """Raise NotDefinedError unless single examples may be taken out of the batches."""
        if self.uncut:
            raise NotDefinedError(f"{what} needs single examples, but the batches are taken as they are: {self.uncut}")

    def regrouped(self, indices: Sequence[int] | None, size: int | list[int]) -> Data:
        """Return the chosen examples (all, in order, for `None`) in batches of another size, or of one size each.

        Raises:
            LandscapeError: the batches cannot be cut along their first dimension, or an index is out of range.
        """
        self.require_rows("another choice of batches")
        total = self.n
        wanted = list(range(total)) if indices is None else list(indices)
        wrong = next((i for i in wanted if isinstance(i, bool) or not isinstance(i, Integral)), None)
        if wrong is not None:
            raise LandscapeError(
                f"an example's index is {wrong!r}, expected whole numbers; of a mask, mask.nonzero()[:, 0]"
            )
        if not wanted:
            raise LandscapeError("a subset of no examples; name at least one index")
        if min(wanted) < 0 or max(wanted) >= total:
            outside = max(wanted) if max(wanted) >= total else min(wanted)
            raise LandscapeError(f"example {outside} is out of range; the data has {total} examples, counted from 0")
        self._require_unchanged()
        raws = [batch.raw for batch in self._batches]
        where, starts = (
            torch.tensor(wanted, device="cpu"),
            torch.tensor([0, *[b.size for b in self._batches]], device="cpu").cumsum(0),
        )
        out = []
        for chunk in where.split(size):
            parts, owner = [], torch.searchsorted(starts, chunk, right=True) - 1
            # consecutive runs of examples from one batch are cut out together, so that the order asked for is kept
            cuts = [0, *(torch.nonzero(owner.diff()).flatten() + 1).tolist(), len(chunk)]
            for a, b in pairwise(cuts):
                at = int(owner[a])
                parts.append(take(raws[at], chunk[a:b] - starts[at], self._batches[at].size))
            out.append(batch_of(join(parts, [b - a for a, b in pairwise(cuts)])))
        return self._of(out, "")

    def fingerprint(self, every: Every = tuple) -> str:
        """Return the sha256 of the data: dtypes, shapes and bytes, whatever the batches.

        Args:
            every: takes a list of what this process has to what all processes have, one after another.
        """
        self._require_unchanged()
        if self.sha256:
            return self.sha256
        if not self.uncut:
            self.sha256 = batched_fingerprint(every([list(leaves(batch.raw)) for batch in self._batches]))
            return self.sha256
        words = every([repr((batch.size, *constants(batch.raw))) for batch in self._batches])
        text = torch.frombuffer(bytearray("\n".join(words).encode()), dtype=torch.uint8)
        self.sha256 = fingerprint(*every([tensor for batch in self._batches for tensor in leaves(batch.raw)]), text)
        return self.sha256

    def input_fingerprint(self, every: Every = tuple) -> str:
        """Return the sha256 of the inputs alone, without the targets."""
        return batched_fingerprint(every([list(leaves(batch.inputs)) for batch in self._batches]))


Examples = int | Sequence[int] | Callable[[Any], int] | None
"""The number of examples of a batch: one for all, one for each, or a function of the batch."""


def read(
    data: Any,
    batch_size: int | None,
    device: torch.device,
    dtype: torch.dtype | None,
    resident: bool | None,
    *,
    examples: Examples = None,
    fixed: bool = False,
    sized: bool = False,
) -> Data:
    """Read data once into batches.

    Args:
        data: whole tensors or arrays, as (X, y), (X1, X2, y), ((X1, X2), y), ({"name": X}, y) or {"name": X, "labels": y};
            a data set (anything with a length and items); a loader, a list or any other iterable of batches. A batch is a
            pair (inputs, target), a mapping or object with a target among ``labels``, ``label``, ``targets``, ``target``,
            ``y``, or anything a `BatchLoss` understands.
        batch_size: examples per batch for tensors and data sets; `None`: 1,024. Loaders and lists keep their own.
        device: where batches are used.
        dtype: floating-point tensors are cast to it; `None` leaves them.
        resident: keep everything on the device; `None`: when it fits into half of what is free there.
        examples: the number of examples of each batch; `None`: told by `batch_of`.
        fixed: the function is the mean over the batches as they are.
        sized: the size of the batches matters, so that none is chosen here.

    Raises:
        LandscapeError: there are no examples, there is no batch size though it matters, or the data is of another kind.
    """
    if batch_size is not None and batch_size < 1:
        raise LandscapeError(f"batch_size is {batch_size}, expected at least 1")
    if isinstance(data, Data):
        sizes = [batch.size for batch in data.stored]
        raws = [batch.raw for batch in data.stored]
        examples, fixed = sizes if examples is None else examples, fixed or data.fixed
    else:
        raws = _held(_raws(data, batch_size or (None if sized else DEFAULT_BATCH)))
    _require_alike(raws)
    batches = [batch_of(tensors(raw), n, cut=not fixed) for raw, n in zip(raws, _counts(examples, raws), strict=True)]
    batches = [batch for batch in batches if batch.size > 0]
    if not batches:
        raise LandscapeError("the data is empty; expected at least one example")
    if resident is None and device.type == "cuda":
        needed = sum(t.numel() * t.element_size() for batch in batches for t in leaves(batch.raw))
        resident = needed < free_bytes(device) / 2
    uncut = "batches='fixed' was asked for" if fixed else ""
    if not uncut and not all(batch.rows for batch in batches):
        uncut = "not all their tensors have one row per example"
        batches = [replace(batch, rows=False) for batch in batches]
    return Data(batches, device, dtype, resident is not False, uncut=uncut, fixed=fixed)


def _held(batches: Iterable[Any]) -> list[Any]:
    """Return batches as a list, of unknown length no more than fit into memory.

    Raises:
        LandscapeError: they do not.
    """
    if hasattr(batches, "__len__"):
        return list(batches)
    held, size, room = list[Any](), 0, 0.8 * free_bytes(torch.device("cpu"))
    for raw in batches:
        held.append(raw)
        size += sum(tensor.numel() * tensor.element_size() for tensor in leaves(raw))
        if size > room or len(held) > MOST:
            raise LandscapeError(
                f"the loader gave {len(held):,} batches, {size / 1e9:.3g} GB, and no end is in sight; pass stream=True to read "
                "it in every pass, and bound it with itertools.islice where it has no end"
            )
    return held


def _require_alike(raws: Sequence[Any]) -> None:
    """Raise LandscapeError where one batch is a mapping and another is not, or has other names."""
    keys = [set(raw) if isinstance(raw, Mapping) else None for raw in raws]
    other = next((i for i, found in enumerate(keys) if found != keys[0]), None)
    if other is not None:
        first, second = (
            type(raws[i]).__name__ + (f" of {', '.join(map(str, raws[i]))}" if keys[i] else "") for i in (0, other)
        )
        raise LandscapeError(f"batch 1 is a {first}, batch {other + 1} a {second}; expected batches of one structure")


def _counts(examples: Examples, raws: Sequence[Any]) -> list[int | None]:
    """Return the number of examples that the user says each batch has."""
    if examples is None:
        return [None] * len(raws)
    counts = [examples] * len(raws) if isinstance(examples, int) else examples
    counts = [counts(raw) for raw in raws] if callable(counts) else list(counts)
    wrong = next((n for n in counts if isinstance(n, bool) or not isinstance(n, Integral) or n < 1), None)
    if wrong is not None:
        raise LandscapeError(f"examples= gives {wrong!r} for a batch, expected whole numbers of at least 1")
    if len(counts) != len(raws):
        raise LandscapeError(f"examples= has {len(counts)} numbers for {len(raws)} batches; expected one for each")
    return [int(n) for n in counts]


def _raws(data: Any, size: int | None) -> Iterable[Any]:
    """Return the batches that data of any kind gives."""
    if isinstance(data, tuple | list | Mapping) or hasattr(data, "to_numpy"):
        data = tensors(data)
    if isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], Tensor) and isinstance(data[1], list):
        data = (data[0], tensors(np.asarray(data[1])))
    if _is_whole(data):
        return _cut(data, _known(size))
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, tuple) and _is_whole(part) for part in data):
        raise LandscapeError(
            "the data is a pair of data sets, such as (train, test); expected one of them, or a list of batches: list(data)"
        )
    if isinstance(data, Sequence) and not isinstance(data, str):
        if _is_numbers(data):
            raise LandscapeError(
                "the data is lists of numbers; expected tensors or arrays: torch.tensor(X), torch.tensor(y)"
            )
        return data
    if isinstance(data, DataLoader):
        _say_what_is_dropped(data)
        return data
    if not isinstance(data, str | bytes | Tensor | np.ndarray | Mapping):
        if isinstance(data, Dataset) or (hasattr(data, "__getitem__") and hasattr(data, "__len__")):
            return DataLoader(data, batch_size=_known(size), shuffle=False, collate_fn=default_collate)
        if isinstance(data, Iterable):
            return data
    raise LandscapeError(
        f"the data is {type(data).__name__}; expected tensors or arrays (X, y), a Dataset, a DataLoader or a list of batches"
    )


def _say_what_is_dropped(loader: DataLoader[Any]) -> None:
    whole = len(loader.dataset) if hasattr(loader.dataset, "__len__") else 0
    if loader.drop_last and loader.batch_size and whole % loader.batch_size:
        warnings.warn(
            f"the loader leaves out {whole % loader.batch_size} of {whole} examples (drop_last=True); the loss is the rest's",
            stacklevel=2,
        )


def _known(size: int | None) -> int:
    if size is None:
        raise LandscapeError(
            "the statistics are those of the batches of training: pass batch_size=, or a list of batches"
        )
    return size


def _is_whole(data: Any) -> bool:
    """Whether data is tensors of all examples, rather than batches: a tuple that ends with a target, or a mapping."""
    if isinstance(data, list):
        return len(data) == 2 and all(isinstance(part, Tensor) for part in data)
    if isinstance(data, tuple):
        return len(data) >= 2 and isinstance(data[-1], Tensor) and all(isinstance(p, _PARTS) for p in data)
    return isinstance(data, Mapping) and any(True for _ in leaves(data))


_PARTS = (Tensor, tuple, Mapping)


def _cut(data: Any, size: int) -> Iterator[Any]:
    """Yield batches of so many rows of whole tensors."""
    lengths = [len(tensor) for tensor in leaves(data) if tensor.ndim]
    if len(set(lengths)) > 1:
        *inputs, targets = (str(length) for length in dict.fromkeys(lengths))
        raise LandscapeError(
            f"{', '.join(inputs)} inputs but {targets} targets; expected as many targets as inputs, or a list of batches, "
            "which are taken as they are: [data]"
        )
    for start in range(0, lengths[0] if lengths else 0, size):
        yield views(data, slice(start, start + size))


def _is_numbers(x: Any) -> bool:
    """Whether nested lists hold plain numbers."""
    while isinstance(x, tuple | list) and x:
        x = x[0]
    return isinstance(x, int | float)
