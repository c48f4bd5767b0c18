"""Calling the network at every point of a slice: one point after another, or several of a row at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.function.batches import Batch
from landscape.function.objective import Objective


class Evaluator:
    """The values of one objective along rows of points θ + x d₀ + y d₁ + …: `start_row`, then `move` and `shares` by turns."""

    description: str

    def __init__(self, objective: Objective, theta: Tensor, directions: Tensor):
        self.objective, self.theta, self.directions = objective, theta, directions
        self.row, self.point = theta.clone(), theta.clone()

    def start_row(self, x: Sequence[float], rest: Sequence[float]) -> None:
        """Go to the row with coordinates x along d₀ and these along d₁, d₂, …."""
        self.x = x
        self.row = combined(self.theta, self.directions[1:], rest)

    def move(self, i: int) -> None:
        """Go to point i of the row."""
        torch.add(self.row, self.directions[0], alpha=float(self.x[i]), out=self.point)

    def shares(self, index: int, batch: Batch) -> dict[str, Tensor]:
        """Return the shares of a batch in loss and metrics at the present point."""
        raise NotImplementedError


class Plain(Evaluator):
    """Calls the network with a flat vector that one fused update writes for each point."""

    description = "network called at every point"

    def shares(self, index: int, batch: Batch) -> dict[str, Tensor]:
        """As `Evaluator.shares`."""
        return self.objective.batch_metrics(self.point, batch)


class Together(Evaluator):
    """Calls the network for several points of a row at once by `torch.vmap`.

    One launch then serves several points, which pays on a GPU as long as a single point does not fill it; on a CPU it
    was 1.25 times slower (MLP 784-256-10, 2,048 examples, 8 points together).
    """

    def __init__(self, objective: Objective, theta: Tensor, directions: Tensor, *, chunk: int):
        super().__init__(objective, theta, directions)
        self.chunk, self.outputs, self.i = chunk, dict[int, Tensor](), 0
        self.description = f"network called for {chunk} points together"

    def start_row(self, x: Sequence[float], rest: Sequence[float]) -> None:
        """As `Evaluator.start_row`."""
        super().start_row(x, rest)
        self.outputs.clear()

    def move(self, i: int) -> None:
        """As `Evaluator.move`."""
        if i // self.chunk != self.i // self.chunk:
            self.outputs.clear()
        self.i = i

    def shares(self, index: int, batch: Batch) -> dict[str, Tensor]:
        """As `Evaluator.shares`."""
        if index not in self.outputs:
            first = self.i // self.chunk * self.chunk
            x = torch.as_tensor(self.x[first : first + self.chunk], dtype=torch.float64).to(self.row)
            thetas = self.row + x[:, None] * self.directions[0]
            call = torch.vmap(lambda theta: self.objective.batch_outputs(theta, batch), randomness="different")
            self.outputs[index] = call(thetas)
        return self.objective.metrics_of(self.outputs[index][self.i % self.chunk], batch)


def combined(start: Tensor, directions: Sequence[Tensor] | Tensor, coordinates: Sequence[float]) -> Tensor:
    """Return start + Σ coordinates[k]·directions[k]."""
    out = start.clone()
    for direction, coordinate in zip(directions, coordinates, strict=True):
        out.add_(direction, alpha=float(coordinate))
    return out
