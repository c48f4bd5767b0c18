"""One batch: inputs, target and number of examples, in whatever structure the user has it.

Only what is proved to be rows of examples is ever cut or joined: a batch whose tensors (but those without dimensions) all have
the same leading length, which is that of the target where there is one, in plain tuples, lists and mappings. Anything else, as
a graph with its edges, a packed sequence or an object of the user's, is taken as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landscape.errors import LandscapeError

_TARGET_KEYS = ("labels", "label", "targets", "target", "y")
_PLAIN = (str, bytes, bool, int, float, complex, type(None))


@dataclass(frozen=True, eq=False)
class Batch:
    """One batch on the device.

    Attributes:
        inputs: what the model is called with: a tensor, a tuple (``model(*inputs)``) or a mapping (``model(**inputs)``).
        target: the target tensor; `None` for losses that read the raw batch.
        raw: the batch as the user's data gave it.
        size: number of examples.
        scale: the factor that turns the batch's loss into its share of the data set's: the shares add up to L.
        rows: whether it is rows of examples, of which some may be picked.
        draws: numbers of each example (n, …) that a rule has drawn or weighs it with.
    """

    inputs: Any
    target: Tensor | None
    raw: Any
    size: int
    scale: float = 1.0
    rows: bool = True
    draws: Tensor | None = None

    def rescaled(self, scale: float) -> Batch:
        """Return the same batch with another share."""
        return replace(self, scale=scale)


def batch_of(raw: Any, examples: int | None = None, *, cut: bool = True) -> Batch:
    """Tell the inputs of a batch from its target, and count its examples.

    Args:
        raw: the batch.
        examples: how many examples it has; `None`: the length of its target, else that of the lists or of all the tensors it
            is made of.
        cut: whether it may be cut if it is rows.

    Raises:
        LandscapeError: the number of examples cannot be told, or contradicts the rows.
    """
    if examples is None and _is_pair(raw):
        return Batch(raw[0], raw[1], raw, raw[1].shape[0], rows=cut)
    inputs, target = _told_apart(raw)
    lists, leading = _lists(raw), [len(tensor) for tensor in leaves(raw) if tensor.ndim]
    if target is not None:
        counted: int | None = len(target) if target.ndim else 1
    else:
        counted = _common(lists or leading)
    rows = not lists and counted is not None and bool(leading) and set(leading) == {counted} and not _holds_objects(raw)
    if examples is None and counted is None:
        raise LandscapeError(
            f"the number of examples of a batch ({_kind(raw)}) cannot be told; pass examples= (a number, one per batch, or a "
            "function of the batch)"
        )
    if examples is not None and rows and examples != counted:
        raise LandscapeError(f"examples= says {examples} for a batch of {counted} rows; leave it out, or correct it")
    size = counted if examples is None else examples
    assert size is not None
    return Batch(inputs, target, raw, size, rows=rows and cut)


def _is_pair(raw: Any) -> bool:
    """Whether a batch is a tensor of rows and a tensor of as many targets: what most loaders give, told without a search."""
    if type(raw) not in (tuple, list) or len(raw) != 2 or type(raw[0]) is not Tensor or type(raw[1]) is not Tensor:
        return False
    x, y = raw[0].shape, raw[1].shape
    return bool(x and y) and x[0] == y[0] and raw[0].layout is raw[1].layout is torch.strided


def _told_apart(raw: Any) -> tuple[Any, Tensor | None]:
    """Return inputs and target."""
    if isinstance(raw, Mapping):
        key = next((key for key in _TARGET_KEYS if key in raw), None)
        target = raw[key] if key and isinstance(raw[key], Tensor) else None
        return {name: value for name, value in raw.items() if name != key}, target
    if isinstance(raw, tuple | list) and len(raw) >= 2 and not isinstance(raw, nn.utils.rnn.PackedSequence):
        inputs = raw[0] if len(raw) == 2 else tuple(raw[:-1])
        return inputs, raw[-1] if isinstance(raw[-1], Tensor) else None
    found = (getattr(raw, key, None) for key in _TARGET_KEYS) if _attributes(raw) is not None else ()
    return raw, next((value for value in found if isinstance(value, Tensor)), None)


def _common(lengths: Sequence[int]) -> int | None:
    return lengths[0] if len(set(lengths)) == 1 else None


def _lists(raw: Any) -> list[int]:
    """Return the lengths of the lists a batch is made of, as of images of different sizes."""
    parts = raw.values() if isinstance(raw, Mapping) else raw if isinstance(raw, tuple | list) else ()
    found = [len(part) if isinstance(part, list) else None for part in parts]
    return [length for length in found if length is not None] if None not in found else []


def _kind(raw: Any) -> str:
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in leaves(raw))
    return f"{type(raw).__name__} with tensors {shapes}" if shapes else type(raw).__name__


def _attributes(x: Any) -> dict[str, Any] | None:
    """Return what an object of a class of the user's holds; `None` for anything else."""
    if is_dataclass(x) and not isinstance(x, type):
        return {field.name: getattr(x, field.name) for field in fields(x)}
    own = type(x).__module__.partition(".")[0] not in ("builtins", "torch", "numpy", "functools")
    return dict(vars(x)) if own and hasattr(x, "__dict__") and not isinstance(x, type | nn.Module) else None


def _holds_objects(x: Any) -> bool:
    """Whether a nested batch holds anything but tensors and numbers or words that all examples share."""
    if isinstance(x, Mapping):
        return any(map(_holds_objects, x.values()))
    if isinstance(x, nn.utils.rnn.PackedSequence):
        return True
    if isinstance(x, tuple | list):
        return bool(x) and (all(isinstance(item, _PLAIN) for item in x) or any(map(_holds_objects, x)))
    return (
        x.layout is not torch.strided if isinstance(x, Tensor) else not isinstance(x, _PLAIN)
    )  # sparse tensors are not cut


def tensors(x: Any) -> Any:
    """Return a nested batch with its NumPy arrays as tensors that share no memory; integers become int64, as labels are.

    Raises:
        LandscapeError: an array of text or objects.
    """
    if _is_pair(x):
        return x
    return _map_of(lambda item: isinstance(item, np.ndarray) or hasattr(item, "to_numpy"), x, _tensor)


def _tensor(values: Any) -> Tensor:
    values = np.asarray(values)
    if values.dtype.kind not in "biuf":
        raise LandscapeError(
            f"an array of {values.dtype} in the data; expected numbers, such as labels encoded 0 … C − 1"
        )
    return torch.from_numpy(values.astype(np.int64 if values.dtype.kind in "iu" else values.dtype, copy=True))


def leaves(x: Any) -> Iterator[Tensor]:
    """Yield the tensors of a nested batch in a fixed order."""
    if isinstance(x, Tensor):
        yield x
    elif _is_pair(x):
        yield from x
    else:
        for item in _items(x):
            yield from leaves(item)


def constants(x: Any) -> Iterator[Any]:
    """Yield the numbers and words of a nested batch in a fixed order."""
    if isinstance(x, _PLAIN):
        yield x
    elif not isinstance(x, Tensor):
        for item in _items(x):
            yield from constants(item)


def _items(x: Any) -> Iterable[Any]:
    if isinstance(x, Mapping):
        return (x[key] for key in x)
    return x if isinstance(x, tuple | list) else (_attributes(x) or {}).values()


def plain(x: Any) -> Any:
    """Return a nested batch with dictionaries and tuples in the places of mappings and sequences of other kinds."""
    if isinstance(x, Mapping):
        return {key: plain(value) for key, value in x.items()}
    return tuple(plain(item) for item in x) if isinstance(x, tuple | list) else x


def versions(batch: Batch) -> list[int]:
    """Return how often each tensor of a batch was changed in place; inference tensors do not count."""
    # inputs and target are parts of the batch
    return [0 if tensor.is_inference() else tensor._version for tensor in leaves(batch.raw)]


def _map_of(wanted: Callable[[Any], bool], x: Any, f: Callable[[Any], Any]) -> Any:
    """Replace every wanted leaf of a nested batch; objects in which nothing is replaced stay what they are."""
    if wanted(x):
        return f(x)
    if type(x) is dict:
        return {key: _map_of(wanted, value, f) for key, value in x.items()}
    if isinstance(x, tuple) and hasattr(x, "_fields"):
        return type(x)(*(_map_of(wanted, item, f) for item in x))
    if isinstance(x, tuple | list):
        return type(x)(_map_of(wanted, item, f) for item in x)
    held = dict(x) if isinstance(x, Mapping) else _attributes(x)
    if not held:
        return x
    changed = {key: _map_of(wanted, value, f) for key, value in held.items()}
    if all(changed[key] is held[key] for key in held):
        return x
    if isinstance(x, Mapping):
        return changed
    twin = copy.copy(x)
    for key, value in changed.items():
        object.__setattr__(twin, key, value)
    return twin


def move(x: Any, device: torch.device, dtype: torch.dtype | None) -> Any:
    """Return the nested batch on a device, floating-point tensors cast to ``dtype``."""

    def cast(tensor: Tensor) -> Tensor:
        return tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor

    def moves_itself(item: Any) -> bool:
        own = isinstance(item, Tensor | nn.utils.rnn.PackedSequence) or callable(getattr(item, "to", None))
        return own and all(tensor.device != device for tensor in leaves(item))

    def placed(item: Any) -> Any:
        if isinstance(item, Tensor):
            return cast(item.to(device))
        # an object's own way, which may know of more than tensors, or keep some where they are
        own: Any = item if isinstance(item, tuple) else copy.copy(item)
        moved = own.to(device)
        return _map_of(lambda leaf: isinstance(leaf, Tensor), moved, cast)

    return _map_of(lambda item: isinstance(item, Tensor) or moves_itself(item), x, placed)


def take(x: Any, index: Tensor, size: int) -> Any:
    """Pick rows out of a batch of ``size``: of tensors of that length; others are the same for all."""

    def rows(tensor: Tensor) -> Tensor:
        return tensor[index.to(tensor.device)] if tensor.ndim and len(tensor) == size else tensor

    return _map_of(lambda leaf: isinstance(leaf, Tensor), x, rows)


def views(x: Any, rows: slice) -> Any:
    """Return some rows of every tensor of a nested batch, without copying."""
    return _map_of(lambda leaf: isinstance(leaf, Tensor), x, lambda tensor: tensor[rows] if tensor.ndim else tensor)


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
        joined = [join([part[i] for part in parts], sizes) for i in range(len(first))]
        return type(first)(*joined) if hasattr(first, "_fields") else type(first)(joined)
    return first


def pick(batch: Batch, index: Tensor) -> Batch:
    """Return some examples of a batch, with the whole batch's share.

    Raises:
        LandscapeError: the batch is not rows of examples.
    """
    if not batch.rows:
        raise LandscapeError("single examples cannot be taken out of these batches, which are not rows or are fixed")

    raw, draws = (take(part, index, batch.size) for part in (batch.raw, batch.draws))
    return Batch(*_told_apart(raw), raw, len(index), batch.scale, draws=draws)


def few(batch: Batch, most: int) -> Batch:
    """Return the first examples of a batch; all of one that cannot be cut."""
    return pick(batch, torch.arange(min(most, batch.size), device="cpu")) if batch.rows else batch
