"""Results along a training run: curvature as it trains, its projection onto a plane, how smooth the loss is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.schema import array, arrays, curvature, describe, nested
from landscape.results.slices import Directions
from landscape.results.tabulate import aligned_table, column_table
from landscape.tables import Table


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Track(Result):
    """What a `Tracker` measured while a network trained.

    Attributes:
        step: (T,) optimiser steps taken when a point was measured.
        values: quantities by name, (T,) each, NaN where one was not measured; ``residual/lambda_max`` and
            ``error/trace`` say how right the quantity after the slash is, ``products/lambda_max`` what it cost.
        threshold: (T,) the curvature at which the optimiser's full-batch steps turn unstable, NaN where it is not known.
        rule: how the optimiser steps: ``sgd``, ``heavy ball``, ``nesterov``, ``adam`` or its class.
        steps: steps of the whole run so far.
        training_seconds: time spent outside the tracker.
        measuring_seconds: time spent inside it.
        budget: the share of the training time that measuring was to keep within; NaN without one.
        missed: what could not be measured, and why, by name.
    """

    kind: ClassVar[str] = "track"
    location: ClassVar[str] = "checkpoints/{owner}/tracks/{entry}"

    step: np.ndarray = array("step", long_name="optimiser steps")
    values: Mapping[str, np.ndarray] = arrays("step", long_name="measured along training")
    threshold: np.ndarray = curvature("step", long_name="stability threshold")
    rule: str
    steps: int
    training_seconds: float = 0.0
    measuring_seconds: float = 0.0
    budget: float = float("nan")
    missed: Mapping[str, str]

    @property
    def overhead(self) -> float:
        """The time measured with over the time trained."""
        return self.measuring_seconds / self.training_seconds if self.training_seconds > 0 else float("nan")

    def tables(self) -> tuple[Table, ...]:
        """Return one row per measured step."""
        steps: dict[str, Iterable[Any]] = {"step": [str(int(step)) for step in self.step]}
        return (column_table(self.title, {**steps, **self._quantities, "threshold": self.threshold}),)

    @property
    def _quantities(self) -> dict[str, np.ndarray]:
        return {name: values for name, values in self.values.items() if "/" not in name}

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield how many steps were measured, at which overhead, and every quantity's range."""
        yield "measured", f"{len(self.step)} of {self.steps} steps, {self.rule}"
        limit = "" if np.isnan(self.budget) else f" (budget {self.budget:.1%})"
        yield "overhead", f"{self.overhead:.1%} of the training time{limit}"
        yield from ((name, describe(value)) for name, value in self._quantities.items())
        for name, why in self.missed.items():
            yield f"{name} not measured", why


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
    beta: np.ndarray = curvature("step", long_name="effective smoothness", title="β")

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
        names = ("lowest loss", "highest loss", "smallest change of g", "largest change of g")
        ranges = np.concatenate([self.loss_variation, self.gradient_predictiveness], axis=1)
        return (aligned_table(self, **dict(zip(names, ranges.T, strict=True))),)
