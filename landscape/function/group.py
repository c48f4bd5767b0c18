"""Several processes with batches of their own and all of theta each: a group of `torch.distributed`.

Sums are reduced in float64 to the first process and handed out from there, so that every process goes on with the same bits.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from landscape.errors import LandscapeError, LostProcessError
from landscape.function.batches import move
from landscape.function.data import Data
from landscape.function.world import ALONE, Summed, World

if TYPE_CHECKING:
    from landscape.function.shards import Shards

T = TypeVar("T")

BEAT = 0.5
"""Seconds between two signs of life of a process."""


def world_of(group: Any) -> World:
    """Return the world of a process group: ``True`` or ``"world"`` for all processes, `None` or one process for none.

    Raises:
        LandscapeError: `torch.distributed` was not initialised, this process is not in the group, or it is something else.

    >>> world_of(None) is ALONE
    True
    """
    if group in (None, False):
        return ALONE
    if not (dist.is_available() and dist.is_initialized()):
        raise LandscapeError(
            "group= needs several processes: start the script with torchrun and call torch.distributed.init_process_group()"
        )
    chosen = dist.group.WORLD if group in (True, "world") else group
    if not isinstance(chosen, dist.ProcessGroup):
        raise LandscapeError(
            f"group is {group!r}, expected a torch.distributed process group, or True for all processes"
        )
    return Group(chosen) if dist.get_world_size(chosen) > 1 else ALONE


def shards_of(model: nn.Module) -> Shards | None:
    """Return the world of a network whose parameters are sharded; `None` where they are not.

    Raises:
        LandscapeError: the shards have no mesh, or lie on meshes that are no parts of one.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return None
    from landscape.function.shards import find_shards  # loads torch.distributed.tensor, half a second

    return find_shards(model)


class Group(World):
    """The processes of a group, each with its own batches and all of theta.

    Args:
        group: of `torch.distributed`; gloo on CPUs, NCCL on GPUs.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        self.group, self.rank, self.count = group, dist.get_rank(group), dist.get_world_size(group)
        self.first = dist.get_global_rank(group, 0)
        self.device = torch.device("cuda" if "nccl" in dist.get_backend(group) else "cpu")
        self.owners = self.seats = tuple(range(self.count))
        """The first process with each part of the data; which part each process has."""
        self._life = _life(group)

    def __deepcopy__(self, memo: Any) -> Group:
        return self

    def __reduce__(self) -> Any:
        raise LandscapeError("what several processes share cannot be pickled; pass the objective's weights on instead")

    def sum(self, value: Summed) -> Summed:
        """Return the sum over the parts of the data, in the type of the value, the same bits in every process."""
        if len(self.owners) == 1:
            return value
        if not isinstance(value, Tensor):
            kind = torch.int64 if isinstance(value, int) else torch.float64
            return type(value)(self.sum(torch.tensor(value, dtype=kind)).item())
        return self.sum_of_all(value if self.rank in self.owners else torch.zeros_like(value))

    def sum_of_all(self, value: Tensor) -> Tensor:
        """Return the sum over all processes, the same bits in every one."""
        total = value.detach().to(self.device, copy=True).contiguous()

        def reduce() -> None:
            dist.reduce(total, self.first, group=self.group)
            dist.broadcast(total, self.first, group=self.group)

        self._call(reduce)
        return total.to(value.device)

    def join(self, rows: Tensor) -> Tensor:
        """Return the rows of all parts of the data in their order."""
        if len(self.owners) == 1:
            return rows
        every = self.exchange(rows.detach().cpu() if self.rank in self.owners else None)
        return torch.cat([part.to(rows.device) for part in every if part is not None])

    def before(self, size: int) -> int:
        """Return the sum of a number over the parts of the data before this process's."""
        every = self.exchange(size)
        return sum(every[owner] for owner in self.owners[: self.seats[self.rank]])

    def share(self, value: T) -> T:
        """Return what the first process has."""
        held = [value]
        self._call(lambda: dist.broadcast_object_list(held, self.first, group=self.group))
        return held[0]

    def exchange(self, value: T) -> list[T]:
        """Return what every process has, in their order."""
        found: list[Any] = [None] * self.count
        self._call(lambda: dist.all_gather_object(found, value, group=self.group))
        return found

    def attempt(self, compute: Callable[[], T]) -> T:
        """Return what a function gives; where it raises a LandscapeError in one process, all raise."""
        failed: LandscapeError | None = None
        try:
            value = compute()
        except LandscapeError as error:
            failed = error
        messages = self.exchange(None if failed is None else str(failed))
        if failed is not None:
            raise failed
        rank = next((rank for rank, message in enumerate(messages) if message is not None), None)
        if rank is not None:
            raise LandscapeError(f"process {rank}: {messages[rank]}")
        return value

    def agree(self, **what: Any) -> None:
        """Raise LandscapeError, in every process, where something that must be the same differs between them."""
        every = self.exchange(what)
        for name, own in every[0].items():
            odd = next((rank for rank, other in enumerate(every) if other[name] != own), None)
            if odd is not None:
                values = "" if len(f"{own}{every[odd][name]}") > 60 else f" ({own} and {every[odd][name]})"
                raise LandscapeError(
                    f"processes 0 and {odd} have different {name}{values}; all must make the same objects in the same order"
                )

    def _call(self, collective: Callable[[], Any]) -> None:
        self._life.calls += 1
        try:
            collective()
        except RuntimeError as error:
            raise LostProcessError(self._life.missing(error)) from error

    # --- data ---------------------------------------------------------------------------------------------------------

    def divided(self, data: Data) -> Data:
        """Return this process's part of data that every process was given whole; what differs between them stays.

        Rows are cut into parts of equal size but for one; batches that cannot be cut are dealt out whole, in order.

        Raises:
            LandscapeError: there are fewer examples, or batches, than processes.
        """
        whole = data.fingerprint()
        every = self.exchange(whole)
        odd = next((rank for rank, seat in enumerate(self.seats) if every[rank] != every[self.owners[seat]]), None)
        if odd is not None:
            first = self.owners[self.seats[odd]]
            raise LandscapeError(
                f"processes {first} and {odd} have different data; where modules are parallel all need the same"
            )
        count, seat = len(self.owners), self.seats[self.rank]
        if count == 1 or len(set(every)) > 1:
            return data if count == 1 else data.some(range(len(data)))
        many = len(data) if data.uncut else data.n
        if many < count:
            what = "batches that cannot be cut" if data.uncut else "examples"
            raise LandscapeError(f"{many} {what} for {count} processes; use at most {many}")
        mine = range(many * seat // count, many * (seat + 1) // count)
        part = data.some(mine) if data.uncut else data.regrouped(mine, self._sizes(many, len(mine), data.largest))
        part.sha256, part.cut = whole, data.largest
        return part

    def _sizes(self, n: int, mine: int, largest: int) -> list[int]:
        """Return sizes of batches, of which every process has the same number."""
        count = math.ceil(math.ceil(n / len(self.owners)) / largest)
        return [mine * (i + 1) // count - mine * i // count for i in range(min(count, mine))]

    def everything(self, data: Data) -> Data:
        """Return the data of all processes; kept, because several may ask for it."""
        if len(self.owners) == 1:
            return data
        if data.everything is None:
            host = torch.device("cpu")
            parts = self.exchange([(move(batch.raw, host, None), batch.size) for batch in data.stored])
            whole = data.made_of([pair for owner in self.owners for pair in parts[owner]])
            # cut as one process would cut it
            data.everything = whole if data.uncut else whole.regrouped(None, data.cut or whole.largest)
        return data.everything

    def relayed(self, items: Sequence[T]) -> Iterator[T]:
        """Yield what all processes have, one at a time in their order, in every process."""
        many = self.exchange(len(items))
        for owner in self.owners:
            source = dist.get_global_rank(self.group, owner)
            for i in range(many[owner]):
                held = [items[i] if owner == self.rank else None]
                self._call(partial(dist.broadcast_object_list, held, source, group=self.group))
                yield held[0]  # type: ignore[misc]


class _Life:
    """Tells the other processes twice a second that this one lives, and how far it is.

    Args:
        group: of processes.
    """

    def __init__(self, group: dist.ProcessGroup) -> None:
        self.rank, self.count, self.calls = dist.get_rank(group), dist.get_world_size(group), 0
        self._key = f"landscape/{group.group_name}"
        store = dist.distributed_c10d._get_default_store()
        self.store = store.clone() if hasattr(store, "clone") else store
        self._beat = 0
        self._tell()
        threading.Thread(target=self._live, daemon=True).start()

    def _tell(self) -> None:
        self._beat += 1
        self.store.set(f"{self._key}/{self.rank}", f"{self._beat} {self.calls}")

    def _live(self) -> None:
        try:
            while True:
                time.sleep(BEAT)
                self._tell()
        except RuntimeError:  # the store is gone, with the process that held it
            return

    def _read(self) -> list[list[int]]:
        return [[int(word) for word in self.store.get(f"{self._key}/{rank}").split()] for rank in range(self.count)]

    def missing(self, error: Exception) -> str:
        """Return in one line which process is not there, after an exchange that failed."""
        try:
            self._tell()
            before = self._read()
            time.sleep(4 * BEAT)
            after = self._read()
        except RuntimeError:  # of the store
            return "the process that holds the rendezvous (process 0) has ended; start all of them again, work is kept"
        gone = [rank for rank in range(self.count) if after[rank][0] == before[rank][0] and rank != self.rank]
        late = [rank for rank in range(self.count) if after[rank][1] < self.calls and rank not in gone]
        if gone or late:
            ranks = ", ".join(map(str, gone or late))
            what = "has ended" if gone else "did not come to an exchange in time"
            return f"process {ranks} of {self.count} {what}; start all of them again, finished work is kept"
        return f"an exchange between {self.count} processes failed: {str(error).splitlines()[0]}"


_life = cache(_Life)  # one thread for each group
