"""Several objectives of one architecture as one function of as many vectors: small networks are evaluated together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map

from landscape.function.batches import Batch
from landscape.function.guard import Guard
from landscape.function.objective import Objective
from landscape.function.world import ALONE

SMALL = 2**16
"""Parameters up to which networks are evaluated together; a larger one fills a core by itself."""
ROWS = 2**13
"""Examples, of all networks of a stack together: more no longer fit the cache."""
POINTS = 2**15
"""The same, where no gradient is taken and several points of each network are evaluated at once."""
_AGREE = 1e-3
"""Relative difference between losses in the stack and one by one from which a stack is not trusted."""

Of = Callable[[Objective, Tensor, Batch], Tensor]
"""A function of one objective, its weights (P,) and one of its batches."""


class Stack:
    """K objectives of one architecture, with weights, buffers and data of their own; see `stacks`.

    It stands where scores expect an objective: `theta` is (K, P), and what is a number of one objective is a vector (K,) here.
    The network is called once for all, by `torch.func.vmap`, each on its own data.

    Args:
        members: the objectives.
    """

    def __init__(self, members: Sequence[Objective]):
        self.members = first, *_ = tuple(members)
        self.theta = torch.stack([one.theta for one in members])
        self._fixed = {name: torch.stack([one.fixed[name] for one in members]) for name in first.fixed}
        self.batches = [_joined(batches) for batches in zip(*(one.batches for one in members), strict=True)]
        self.n, self.norm, self.device, self.world = first.n, first.norm, first.device, ALONE
        self.size = first.size

    def guard(self) -> Guard:
        """Return the guard of the first, with kernels that can be mapped."""
        return self.members[0].guard(second=True)

    def rebatch(self, size: int) -> Stack:
        """Return the same functions with batches of another size."""
        return Stack([one.rebatch(size) for one in self.members])

    def call(self, theta: Tensor, compute: Callable[[nn.Module], Any]) -> Any:
        """Return ``compute(network)``; each evaluation puts the weights in by itself."""
        return compute(self.members[0].network)

    def mapped(self, of: Of) -> Callable[[Tensor, Batch], Tensor]:
        """Return a function of one objective as one of the weights (…, K, P) and a batch of all: (…, K). Inside the guard."""

        def every(theta: Tensor, batch: Batch) -> Tensor:
            def one(theta: Tensor, fixed: dict[str, Tensor], inputs: Any, target: Tensor | None) -> Tensor:
                here = replace(batch, inputs=inputs, target=target, raw=(inputs, target))
                return of(self.members[0].with_fixed(fixed), theta, here)

            call = torch.vmap(one, randomness="different")
            for _ in range(theta.ndim - 2):  # several points of each network
                call = torch.vmap(call, in_dims=(0, None, None, None), randomness="different")
            found: Tensor = call(theta, self._fixed, batch.inputs, batch.target)
            return found

        return every

    def batch_value(self, theta: Tensor, batch: Batch) -> Tensor:
        """Return the loss of each network on its batch, (…, K) at (…, K, P). Use inside the guard."""
        return self.mapped(lambda one, at, part: one.batch_value(at, part).reshape(()))(theta, batch)

    def groups(self, points: Iterable[Tensor]) -> Iterator[Tensor]:
        """Yield points (K, P) as many at a time, (M, K, P), as are evaluated at once."""
        points, size = iter(points), max(1, POINTS // (len(self.members) * self.n))
        while group := list(islice(points, size)):
            yield torch.stack(group)

    def losses(self) -> Tensor:
        """Return the loss of each network at its weights, (K,)."""
        with self.guard(), torch.no_grad():
            return sum(
                (self.batch_value(self.theta, batch).double() * batch.scale for batch in self.batches), torch.zeros(())
            )


def _joined(batches: tuple[Batch, ...]) -> Batch:
    inputs = tree_map(lambda *each: torch.stack(each), *(batch.inputs for batch in batches))
    target = torch.stack([batch.target for batch in batches if batch.target is not None])
    return replace(batches[0], inputs=inputs, target=target, raw=None)


def stacks(objectives: Sequence[Objective]) -> Iterator[list[int]]:
    """Yield the positions of objectives that may be evaluated together: two or more of one architecture, `SMALL` at most.

    They have the same network but for its weights and buffers, the same loss, and batches of the same sizes; norm statistics
    are frozen, and examples do not depend on one another. A stack in which a network's loss is not what it is by itself is
    given up: the networks differ in what cannot be seen from outside.

    Args:
        objectives: any.
    """
    alike: dict[Any, list[int]] = {}
    for i, one in enumerate(objectives):
        if (kind := _kind(one)) is not None:
            alike.setdefault(kind, []).append(i)
    for members in alike.values():
        size = max(1, ROWS // objectives[members[0]].n)
        for first in range(0, len(members), size):
            chosen = members[first : first + size]
            if len(chosen) > 1 and _agree([objectives[i] for i in chosen]):
                yield chosen


def _kind(one: Objective) -> Any:
    """Return what objectives that are evaluated together have in common; `None` if this one is evaluated alone."""
    fit = one.has_criterion and one.norm == "frozen" and one.mode == "eval" and one.size <= SMALL and not one.nested
    if not fit or one.batches.uncut or not one.batches.resident or one.world is not ALONE:
        return None
    shapes = [
        (batch.size, batch.scale, batch.rows, [(x.shape, x.dtype) for x in tree_leaves((batch.inputs, batch.target))])
        for batch in one.batches
        if all(isinstance(x, Tensor) for x in tree_leaves((batch.inputs, batch.target)))
    ]
    if len(shapes) < len(one.batches) or not all(rows for _, _, rows, _ in shapes):
        return None
    selected = one.names, one.space.shapes, one.dtype, tuple((name, x.shape) for name, x in one.fixed.items())
    return str((str(one.model), one.loss_name, str(one.device), one.classes_last, one.graded, selected, shapes))


def _agree(objectives: Sequence[Objective]) -> bool:
    try:
        together = Stack(objectives).losses()
    except (RuntimeError, ValueError):  # an operation without a batching rule
        return False
    alone = torch.tensor([one.loss() for one in objectives], dtype=torch.float64)
    return bool(((together.cpu() - alone).abs() <= _AGREE * alone.abs() + 1e-6).all())
