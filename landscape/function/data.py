"""Data as a fixed list of batches: read once, kept in order, resident on the device or moved there when used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from landscape.errors import LandscapeError
from landscape.function.batches import Batch, batch_of, join, leaves, move, take, tensors, versions
from landscape.hashing import batched_fingerprint

DEFAULT_BATCH = 1024


class Data(Sequence[Batch]):
    """A sequence of batches with fixed shares; iterating moves each to the device when it does not live there already."""

    def __init__(self, batches: Sequence[Batch], device: torch.device, dtype: torch.dtype | None, resident: bool):
        self._batches = list(batches)
        self.device, self.dtype, self.resident = device, dtype, resident
        if resident:
            self._batches = [self._placed(batch) for batch in self._batches]
        self._versions = [versions(batch) for batch in self._batches]

    def _placed(self, batch: Batch) -> Batch:
        def place(x: Any) -> Any:
            return move(x, self.device, self.dtype)

        return replace(batch, inputs=place(batch.inputs), target=place(batch.target), raw=place(batch.raw))

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

    @property
    def largest(self) -> int:
        """Number of examples in the largest batch."""
        return max(batch.size for batch in self._batches)

    def with_scales(self, scales: Iterable[float]) -> Data:
        """Return the same batches with other shares."""
        fresh = [batch.rescaled(scale) for batch, scale in zip(self._batches, scales, strict=True)]
        return Data(fresh, self.device, self.dtype, self.resident)

    def regrouped(self, indices: Sequence[int] | None, size: int) -> Data:
        """Return the chosen examples (all, in order, for `None`) in batches of another size.

        Raises:
            LandscapeError: the batches cannot be cut along their first dimension, or an index is out of range.
        """
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
            raise LandscapeError(
                f"example {max(max(wanted), -min(wanted))} is out of range; the data has {total} examples"
            )
        self._require_unchanged()
        raws = [batch.raw for batch in self._batches]
        where, starts = torch.tensor(wanted), torch.tensor([0, *[b.size for b in self._batches]]).cumsum(0)
        out = []
        for chunk in where.split(size):
            parts, owner = [], torch.searchsorted(starts, chunk, right=True) - 1
            # consecutive runs of examples from one batch are cut out together, so that the order asked for is kept
            cuts = [0, *(torch.nonzero(owner.diff()).flatten() + 1).tolist(), len(chunk)]
            for a, b in pairwise(cuts):
                at = int(owner[a])
                parts.append(take(raws[at], chunk[a:b] - starts[at], self._batches[at].size))
            out.append(batch_of(join(parts, [b - a for a, b in pairwise(cuts)])))
        return Data(out, self.device, self.dtype, self.resident)

    def fingerprint(self) -> str:
        """Return the sha256 of the data: dtypes, shapes and bytes, whatever the batches."""
        self._require_unchanged()
        return self._sha256

    @cached_property
    def _sha256(self) -> str:
        return batched_fingerprint([list(leaves(batch.raw)) for batch in self._batches])

    def input_fingerprint(self) -> str:
        """Return the sha256 of the inputs alone, without the targets."""
        return batched_fingerprint([list(leaves(batch.inputs)) for batch in self._batches])


def read(
    data: Any, batch_size: int | None, device: torch.device, dtype: torch.dtype | None, resident: bool | None
) -> Data:
    """Read data once into batches.

    Args:
        data: a pair of tensors or NumPy arrays (X, y), a Dataset, a DataLoader, or a list of batches; a batch is a pair
            (inputs, target), a mapping with a target among ``labels``, ``label``, ``targets``, ``target``, ``y``, or
            anything a `BatchLoss` understands.
        batch_size: examples a batch for tensors and data sets; `None`: 1,024. Loaders and lists keep their own.
        device: where batches are used.
        dtype: floating-point tensors are cast to it; `None` leaves them.
        resident: keep everything on the device; `None`: when it fits into half of what is free there.

    Raises:
        LandscapeError: there are no examples, or the data is of another kind.
    """
    if batch_size is not None and batch_size < 1:
        raise LandscapeError(f"batch_size is {batch_size}, expected at least 1")
    size = batch_size or DEFAULT_BATCH
    if isinstance(data, tuple | list | Mapping):
        data = tensors(data)
    if isinstance(data, Data):
        raws: list[Any] = [batch.raw for batch in data.stored]
    elif isinstance(data, DataLoader):
        raws = list(data)
    elif isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        X, y = data
        if len(X) != len(y):
            raise LandscapeError(f"{len(X)} inputs but {len(y)} targets; expected as many targets as inputs")
        raws = list(zip(X.split(size), y.split(size), strict=True)) if len(X) else []
    elif isinstance(data, tuple) and len(data) == 2 and isinstance(data[0], Tensor) and isinstance(data[1], list):
        return read((data[0], np.asarray(data[1])), batch_size, device, dtype, resident)
    elif isinstance(data, Dataset):
        loader: DataLoader[Any] = DataLoader(data, batch_size=size, shuffle=False, collate_fn=default_collate)
        raws = list(loader)
    elif isinstance(data, tuple | list):
        if _is_numbers(data):
            raise LandscapeError(
                "the data is lists of numbers; expected tensors or arrays: torch.tensor(X), torch.tensor(y)"
            )
        raws = list(data)
    else:
        raise LandscapeError(
            f"the data is {type(data).__name__}; expected tensors or arrays (X, y), a Dataset, a DataLoader or a list of "
            "batches"
        )
    batches = [batch_of(tensors(raw)) for raw in raws]
    batches = [batch for batch in batches if batch.size > 0]
    if not batches:
        raise LandscapeError("the data is empty; expected at least one example")
    if resident is None:
        needed = sum(t.numel() * t.element_size() for raw in raws for t in leaves(raw))
        resident = device.type != "cuda" or needed < torch.cuda.mem_get_info(device)[0] / 2
    return Data(batches, device, dtype, resident)


def _is_numbers(x: Any) -> bool:
    """Whether nested lists hold plain numbers."""
    while isinstance(x, tuple | list) and x:
        x = x[0]
    return isinstance(x, int | float)
