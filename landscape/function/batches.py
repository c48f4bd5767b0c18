"""One batch: inputs, target, and how tensors are found, cut, joined and moved in whatever structure it has."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.errors import LandscapeError

_TARGET_KEYS = ("labels", "label", "targets", "target", "y")


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch on the device.

    Attributes:
        inputs: what the model is called with: a tensor, a tuple (``model(*inputs)``) or a mapping (``model(**inputs)``).
        target: the target tensor; `None` for losses that read the raw batch.
        raw: the batch as the user's data gave it.
        size: number of examples.
        scale: the factor that turns the batch's loss into its share of the data set's: the shares add up to L.
    """

    inputs: Any
    target: Tensor | None
    raw: Any
    size: int
    scale: float = 1.0

    def rescaled(self, scale: float) -> Batch:
        """Return the same batch with another share."""
        return replace(self, scale=scale)


def batch_of(raw: Any) -> Batch:
    """Tell the inputs of a batch from its target."""
    if isinstance(raw, Mapping):
        key = next((key for key in _TARGET_KEYS if key in raw), None)
        inputs: Any = {name: value for name, value in raw.items() if name != key}
        return Batch(inputs, raw[key] if key else None, raw, length(raw))
    if isinstance(raw, tuple | list) and len(raw) >= 2:
        inputs = raw[0] if len(raw) == 2 else tuple(raw[:-1])
        target = raw[-1] if isinstance(raw[-1], Tensor) else None
        return Batch(inputs, target, raw, length(raw))
    return Batch(raw, None, raw, length(raw))


def tensors(x: Any) -> Any:
    """Return a nested batch with its NumPy arrays as tensors that share no memory; integers become int64, as labels are.

    Raises:
        LandscapeError: an array of text or objects.
    """
    return _map_of(np.ndarray, x, _tensor)


def _tensor(values: np.ndarray) -> Tensor:
    if values.dtype.kind not in "biuf":
        raise LandscapeError(
            f"an array of {values.dtype} in the data; expected numbers, such as labels encoded 0 … C − 1"
        )
    return torch.from_numpy(values.astype(np.int64 if values.dtype.kind in "iu" else values.dtype, copy=True))


def leaves(x: Any) -> Iterator[Tensor]:
    """Yield the tensors of a nested batch in a fixed order."""
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, Mapping):
        for key in x:
            yield from leaves(x[key])
    elif isinstance(x, tuple | list):
        for item in x:
            yield from leaves(item)


def versions(batch: Batch) -> list[int]:
    """Return how often each tensor of a batch was changed in place; inference tensors do not count."""
    parts = (batch.raw, batch.inputs, batch.target)
    return [0 if tensor.is_inference() else tensor._version for tensor in leaves(parts)]


def _map(x: Any, f: Callable[[Tensor], Tensor]) -> Any:
    return _map_of(Tensor, x, f)


def _map_of(kind: type, x: Any, f: Callable[[Any], Any]) -> Any:
    """Replace every leaf of a kind in a nested batch."""
    if isinstance(x, kind):
        return f(x)
    if isinstance(x, Mapping):
        return {key: _map_of(kind, value, f) for key, value in x.items()}
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*(_map_of(kind, item, f) for item in x))
    if isinstance(x, tuple | list):
        return type(x)(_map_of(kind, item, f) for item in x)
    return x


def length(x: Any) -> int:
    """Return the number of examples: the length of the first tensor that has one."""
    return next((len(tensor) for tensor in leaves(x) if tensor.ndim), 1)


def move(x: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    """Return the nested batch on a device, floating-point tensors cast to ``dtype``."""

    def place(tensor: Tensor) -> Tensor:
        return tensor.to(device, dtype) if dtype is not None and tensor.is_floating_point() else tensor.to(device)

    return _map(x, place)


def take(x: Any, index: Tensor, size: int) -> Any:
    """Pick examples out of a batch of ``size``: tensors whose first dimension is the batch's are indexed, others kept."""
    return _map(x, lambda t: t[index.to(t.device)] if t.ndim and len(t) == size else t)


def join(parts: Sequence[Any], sizes: Sequence[int]) -> Any:
    """Concatenate batches along their examples; what is not per example must be the same in all.

    Raises:
        LandscapeError: the batches differ in structure or shape.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    if isinstance(first, Tensor):
        if first.ndim and all(len(part) == size for part, size in zip(parts, sizes, strict=True)):
            if any(part.shape[1:] != first.shape[1:] for part in parts):
                shapes = sorted({tuple(part.shape[1:]) for part in parts})
                raise LandscapeError(f"batches of different shapes {shapes} cannot be joined; keep them apart")
            return torch.cat(list(parts))
        return first
    if isinstance(first, Mapping):
        return {key: join([part[key] for part in parts], sizes) for key in first}
    if isinstance(first, tuple | list):
        return type(first)(join([part[i] for part in parts], sizes) for i in range(len(first)))
    return first


def pick(batch: Batch, index: Tensor) -> Batch:
    """Return some examples of a batch, with the whole batch's share."""

    def cut(x: Any) -> Any:
        return take(x, index, batch.size)

    return Batch(cut(batch.inputs), cut(batch.target), cut(batch.raw), len(index), batch.scale)
