"""Results about a training run in parameter space: its projection, and how smooth the loss is along it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from landscape.results.base import Result, array, arrays, describe, nested
from landscape.results.slices import Directions
from landscape.results.tables import cell, format_table


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Trajectory(Result):
    """Checkpoints of one run projected onto the plane of their principal components, with what the projection hides.

    Attributes:
        directions: unit principal components; their plane goes through the last checkpoint.
        points: (T, n) coordinates of the projections, relative to the last checkpoint.
        off_plane: (T,) Euclidean distance of each checkpoint from the plane.
        explained: (n,) share of the trajectory's variance along each component.
        values: loss and metrics of each checkpoint itself; ``projected/loss`` … are those of its projection.
    """

    kind: ClassVar[str] = "trajectory"
    location: ClassVar[str] = "checkpoints/{owner}/trajectories/{entry}"

    directions: Directions = nested(Directions)
    points: np.ndarray = array("step", "axis", long_name="coordinates of the projection", units="parameter")
    off_plane: np.ndarray = array("step", long_name="distance from the plane", units="parameter")
    explained: np.ndarray = array("axis", long_name="share of the variance explained")
    values: Mapping[str, np.ndarray] = arrays("step", long_name="value of a checkpoint")

    def table(self, style: str = "text") -> str:
        """Return one line a checkpoint: its projection, its distance from the plane, loss and metrics.

        Args:
            style: ``text`` or ``markdown``.
        """
        axes = [f"along {number}" for number in range(1, self.points.shape[1] + 1)]
        columns = zip(*self.points.T, self.off_plane, *self.values.values(), strict=True)
        body = [(str(step), *map(cell, line)) for step, line in enumerate(columns)]
        return format_table(("checkpoint", *axes, "off the plane", *self.values), body, style)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield the share of variance on the plane, and how far off it the checkpoints are."""
        yield "checkpoints", str(len(self.points))
        yield "explained", ", ".join(f"{share:.1%}" for share in self.explained)
        yield "off the plane", describe(self.off_plane)
        for name, value in self.values.items():
            yield name, describe(value)


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Smoothness(Result):
    """How the loss and its gradient change along the gradient, at several points of a training run.

    Attributes:
        eta: (E,) step lengths along the negative gradient.
        loss: (T, E) L(θ − η g).
        gradient_change: (T, E) ‖∇L(θ) − ∇L(θ − η g)‖.
        gradient_norm: (T,) ‖g‖.
        beta: (T,) effective smoothness, the largest ‖∇L(θ) − ∇L(θ − η g)‖/(η‖g‖).
    """

    kind: ClassVar[str] = "smoothness"
    location: ClassVar[str] = "checkpoints/{owner}/trajectories/{entry}"

    eta: np.ndarray = array("eta", long_name="step along the negative gradient")
    loss: np.ndarray = array("step", "eta", long_name="loss after the step")
    gradient_change: np.ndarray = array("step", "eta", long_name="change of the gradient", units="loss per parameter")
    gradient_norm: np.ndarray = array("step", long_name="norm of the gradient", units="loss per parameter")
    beta: np.ndarray = array("step", long_name="effective smoothness", units="loss per parameter squared")

    @property
    def loss_variation(self) -> np.ndarray:
        """(T, 2) the lowest and the highest loss over the steps."""
        return np.stack([self.loss.min(1), self.loss.max(1)], axis=1)

    @property
    def gradient_predictiveness(self) -> np.ndarray:
        """(T, 2) the smallest and the largest change of the gradient over the steps."""
        return np.stack([self.gradient_change.min(1), self.gradient_change.max(1)], axis=1)

    def table(self, style: str = "text") -> str:
        """Return one line a point of the run: gradient, range of the loss and change of the gradient over the steps.

        Args:
            style: ``text`` or ``markdown``.
        """
        header = ("point", "‖g‖", "lowest loss", "highest loss", "smallest change of g", "largest change of g", "β")
        columns = zip(
            self.gradient_norm, *self.loss_variation.T, *self.gradient_predictiveness.T, self.beta, strict=True
        )
        return format_table(header, [(str(i), *map(cell, line)) for i, line in enumerate(columns)], style)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield the ranges over the run."""
        yield "points", str(len(self.beta))
        yield "eta", describe(self.eta)
        yield "loss variation", describe(self.loss_variation[:, 1] - self.loss_variation[:, 0])
        yield "gradient change", describe(self.gradient_change)
        yield "effective beta", describe(self.beta)
