"""Results about a training run in parameter space: its projection, and how smooth the loss is along it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.schema import array, arrays, nested
from landscape.results.slices import Directions
from landscape.results.tabulate import aligned_table, column_table
from landscape.tables import Table


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
    along: ClassVar[str] = "step"

    directions: Directions = nested(Directions)
    points: np.ndarray = array("step", "axis", long_name="coordinates of the projection", units="parameter")
    off_plane: np.ndarray = array("step", long_name="distance from the plane", units="parameter")
    explained: np.ndarray = array("axis", long_name="share of the variance explained", percent=1)
    values: Mapping[str, np.ndarray] = arrays("step", long_name="value of a checkpoint")

    def columns(self) -> dict[str, Any]:
        """Return one row per checkpoint: its projection, its distance from the plane, loss and metrics."""
        axes = {f"along_{number}": column for number, column in enumerate(self.points.T, start=1)}
        return {**axes, **super().columns()}

    def tables(self) -> tuple[Table, ...]:
        """Return one row per checkpoint, counted from 0."""
        steps = [str(step) for step in range(len(self.points))]
        return (column_table(self.title, {"checkpoint": steps, **self.columns()}),)


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
    along: ClassVar[str] = "step"
    index: ClassVar[str] = "point"

    eta: np.ndarray = array("eta", long_name="step along the negative gradient")
    loss: np.ndarray = array("step", "eta", long_name="loss after the step")
    gradient_change: np.ndarray = array("step", "eta", long_name="change of the gradient", units="loss per parameter")
    gradient_norm: np.ndarray = array("step", long_name="norm of the gradient", units="loss per parameter", title="‖g‖")
    beta: np.ndarray = array("step", long_name="effective smoothness", units="loss per parameter squared", title="β")

    @property
    def loss_variation(self) -> np.ndarray:
        """(T, 2) the lowest and the highest loss over the steps."""
        return np.stack([self.loss.min(1), self.loss.max(1)], axis=1)

    @property
    def gradient_predictiveness(self) -> np.ndarray:
        """(T, 2) the smallest and the largest change of the gradient over the steps."""
        return np.stack([self.gradient_change.min(1), self.gradient_change.max(1)], axis=1)

    def tables(self) -> tuple[Table, ...]:
        """Return one row per point of the run: gradient, range of the loss and change of the gradient over the steps."""
        more = {
            "lowest loss": self.loss_variation[:, 0],
            "highest loss": self.loss_variation[:, 1],
            "smallest change of g": self.gradient_predictiveness[:, 0],
            "largest change of g": self.gradient_predictiveness[:, 1],
        }
        return (aligned_table(self, **more),)
