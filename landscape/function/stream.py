"""Batches that are read again in every pass because they do not fit into memory: a loader that gives the same ones each time."""

from __future__ import annotations

import copy
import hashlib
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import DataLoader, RandomSampler

from landscape.errors import LandscapeError
from landscape.function.batches import Batch, batch_of, leaves, tensors
from landscape.function.data import MOST, Data, Every
from landscape.hashing import fingerprint, update

AHEAD = 2
"""Batches that are read while others are computed with."""
UNCUT = "they are read again in every pass, and not kept"


class Stream(Data):
    """Batches of a loader, read anew in every pass; targets alone are kept.

    The first pass takes the fingerprint of every batch. Later ones compare their number and a sample of each: its first and its
    last row.

    Args:
        loader: gives the same batches, in the same order, each time it is iterated.
        device: where batches are used.
        dtype: what floating-point tensors are cast to.
        fixed: the function is the mean over the batches as they are.

    Raises:
        LandscapeError: it can be read once only, shuffles, has no end, or is empty.
    """

    def __init__(self, loader: Any, device: torch.device, dtype: torch.dtype | None, *, fixed: bool = False):
        _require_repeatable(loader)
        super().__init__([], device, dtype, resident=False, uncut=UNCUT, fixed=fixed)
        self._loader, self._samples = loader, list[str]()
        whole = hashlib.sha256()
        for number, raw in enumerate(_ahead(loader)):
            if number == MOST and not hasattr(loader, "__len__"):
                raise LandscapeError(
                    f"the loader gave {MOST:,} batches and has no length; bound it with itertools.islice in its __iter__"
                )
            batch = self._batch(raw)
            if not number:
                self._first = batch  # asked for again and again
            self._samples.append(_sample(batch))
            update(whole, leaves(batch.raw))
            kept = None if batch.target is None else batch.target.clone()
            self._batches.append(replace(batch, inputs=None, target=kept, raw=None))
        if not self._batches:
            raise LandscapeError("the data is empty; expected at least one example")
        self.sha256, self._which = whole.hexdigest(), list(range(len(self._batches)))

    def _batch(self, raw: Any) -> Batch:
        return replace(batch_of(tensors(raw), cut=False), rows=False)

    def __iter__(self) -> Iterator[Batch]:
        places = {number: i for i, number in enumerate(self._which)}
        count = 0
        with torch.random.fork_rng(devices=[]):
            read = _ahead(self._loader)
        for number, raw in enumerate(read):
            count += 1
            if number >= len(self._samples) or (
                number in places and _sample(self._batch(raw)) != self._samples[number]
            ):
                raise LandscapeError(
                    f"the loader gave another batch number {number + 1} than in its first pass; switch shuffling and random "
                    "augmentation off, and give every epoch the same order"
                )
            if number in places:
                stub = self._batches[places[number]]
                yield self._placed(replace(self._batch(raw), scale=stub.scale))
        if count < len(self._samples):
            raise LandscapeError(
                f"the loader gave {count} batches, {len(self._samples)} in its first pass; expected the same"
            )

    def __getitem__(self, index: Any) -> Any:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if index % len(self) == 0 and self._which[0] == 0:
            return self._placed(replace(self._first, scale=self._batches[0].scale))
        return next(batch for i, batch in enumerate(self) if i == index % len(self))

    def _of(self, batches: Sequence[Batch], uncut: str) -> Stream:
        fresh = copy.copy(self)
        fresh._batches, fresh.uncut = list(batches), uncut
        return fresh

    def some(self, which: Iterable[int]) -> Data:
        """Return some of the batches; the others are read and passed over."""
        which = list(which)
        fresh = self._of([self._batches[i] for i in which], self.uncut)
        fresh._which = [self._which[i] for i in which]
        return fresh

    def _require_unchanged(self, indices: Iterable[int] | None = None) -> None:
        """Every pass looks itself."""

    def fingerprint(self, every: Every = tuple) -> str:
        """Return the sha256 of the dtypes, shapes and bytes of all batches; of other loaders in other processes one of theirs."""
        found = dict.fromkeys(every([self.sha256]))
        return self.sha256 if len(found) == 1 else hashlib.sha256(" ".join(found).encode()).hexdigest()

    def input_fingerprint(self, every: Every = tuple) -> str:
        """Return the same: inputs and targets are hashed together."""
        return self.fingerprint(every)


def _require_repeatable(loader: Any) -> None:
    if not isinstance(loader, Iterable) or isinstance(loader, torch.Tensor):
        raise LandscapeError(f"stream=True with a {type(loader).__name__}; expected a loader of batches")
    if isinstance(loader, Iterator):
        raise LandscapeError(
            f"the data is a {type(loader).__name__}, which can be read once; pass an object whose __iter__ begins anew, as "
            "that of a DataLoader does"
        )
    if isinstance(loader, DataLoader) and isinstance(loader.sampler, RandomSampler):
        raise LandscapeError("the loader shuffles; pass shuffle=False, so that every pass gives the same batches")


def _ahead(loader: Iterable[Any]) -> Iterator[Any]:
    """Yield what a loader gives, read by a thread of its own while the last is used."""
    source, found, over = iter(loader), queue.Queue[Any](AHEAD), threading.Event()

    def put(item: Any) -> bool:
        while not over.is_set():
            try:
                found.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def read() -> None:
        try:
            for raw in source:
                if not put((raw, None)):
                    return
            put((None, StopIteration()))
        except BaseException as error:
            put((None, error))

    threading.Thread(target=read, name="reads ahead", daemon=True).start()
    try:
        while True:
            raw, error = found.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield raw
    finally:
        over.set()


def _sample(batch: Batch) -> str:
    """Return a hash of the first and the last row of every tensor, and of the shapes."""
    found = list(leaves(batch.raw))
    rows = (tensor[[0, -1]] if tensor.ndim and len(tensor) else tensor for tensor in found)
    return fingerprint(*(torch.tensor(tensor.shape) for tensor in found), *rows)
