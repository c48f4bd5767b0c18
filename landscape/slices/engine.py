"""Evaluating objectives at many points of a line or grid, with as little work between forward passes as possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Self

import numpy as np
import torch
from torch import Tensor

from landscape.batches import Batch
from landscape.errors import LandscapeError
from landscape.objective import Objective

Values = dict[str, np.ndarray]


class Engine:
    """Evaluates one or several objectives of the same network along rows of points.

    Points are θ_row + x·d, written into one flat buffer by one fused update; values stay on the device in float64 and are
    read once a row. Data that does not live on the device is streamed once a row, in order.

    Use as a context manager: modes and random state are set once and put back when it closes, also after an exception.

    Args:
        objectives: by data set name: ``{"train": objective, "test": other}``; all of the same parameters.

    Raises:
        LandscapeError: the objectives have different parameters.
    """

    def __init__(self, objectives: Mapping[str, Objective]):
        self.objectives = dict(objectives)
        first = next(iter(self.objectives.values()))
        for name, other in self.objectives.items():
            if other.names != first.names or other.space.shapes != first.space.shapes:
                raise LandscapeError(
                    f"the objective {name!r} has other parameters ({other.size}) than the first ({first.size}); "
                    "expected the same network and selection"
                )
        self.device = first.device
        self.dtype = torch.promote_types(first.dtype, torch.float32)  # half-precision steps would round away
        self._stack = ExitStack()
        self._names: list[str] = []

    def __enter__(self) -> Self:
        for objective in self.objectives.values():
            self._stack.enter_context(objective.guard())
        self._stack.enter_context(torch.no_grad())
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def place(self, vector: np.ndarray | Tensor) -> Tensor:
        """Return a vector (P,) where and how points are computed."""
        return torch.as_tensor(vector).to(self.device, self.dtype)

    def row(self, start: Tensor, direction: Tensor, x: np.ndarray) -> Values:
        """Evaluate every objective at start + x[i]·direction.

        Args:
            start: (P,) the point at x = 0.
            direction: (P,).
            x: (n,) coordinates.

        Returns:
            Arrays (n,) by name: ``train/loss``, ``train/accuracy``, …
        """
        tables = [self._table(name, objective, start, direction, x) for name, objective in self.objectives.items()]
        self._names = [name for names, _ in tables for name in names]
        values = torch.cat([table for _, table in tables], dim=1).cpu().numpy()
        return {name: values[:, k].copy() for k, name in enumerate(self._names)}

    def _table(
        self, dataset: str, objective: Objective, start: Tensor, direction: Tensor, x: np.ndarray
    ) -> tuple[list[str], Tensor]:
        """Return the names and the values (n, metrics) of one objective, still on the device."""
        buffer, table, names, at = torch.empty_like(start), None, [], -1
        for i, batch in _order(objective, len(x)):
            if i != at:
                torch.add(start, direction, alpha=float(x[i]), out=buffer)
                at = i
            shares = objective.batch_metrics(buffer, batch)
            if table is None:
                names = list(shares)
                table = torch.zeros(len(x), len(names), dtype=torch.float64, device=self.device)
            table[i] += torch.stack([share.detach().reshape(()) for share in shares.values()])
        assert table is not None
        return [f"{dataset}/{name}" for name in names], table


def _order(objective: Objective, points: int) -> Iterator[tuple[int, Batch]]:
    """Yield (point, batch): points outermost when the data is on the device, batches outermost when it is streamed."""
    if objective.batches.resident:
        yield from ((i, batch) for i in range(points) for batch in objective.batches)
    else:
        yield from ((i, batch) for batch in objective.batches for i in range(points))


def named(objective: Objective, also: Mapping[str, Objective] | None, dataset: str) -> dict[str, Objective]:
    """Return the objectives of a slice by data set name.

    Raises:
        LandscapeError: a name is taken twice or contains a slash.
    """
    others = dict(also or {})
    if dataset in others:
        raise LandscapeError(f"also= uses the name {dataset!r} of the objective itself; choose another")
    for name in others:
        if not name or "/" in name:
            raise LandscapeError(f"also= has the name {name!r}; expected a word without slashes, such as 'test'")
    return {dataset: objective, **others}
