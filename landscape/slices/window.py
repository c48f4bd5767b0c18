"""The window of a plane or volume: its axes, its coordinates, and the slice they make once there are values."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Self, TypeVar

import numpy as np

from landscape.function.objective import Objective
from landscape.results import Directions, Plane, Volume
from landscape.slices.coordinates import Points, Span, coordinates, per_axis
from landscape.slices.directions import as_directions, vectors_of
from landscape.slices.engine import Engine, Values, named
from landscape.slices.sweep import sweep
from landscape.store.run import placed

G = TypeVar("G", Plane, Volume)
AXES = {Plane: ("x", "y"), Volume: ("x", "y", "z")}


@dataclass(frozen=True, eq=False)
class Window:
    """A grid in the span of directions.

    Attributes:
        directions: one for each axis.
        axes: the coordinates by axis: ``{"x": (nx,), "y": (ny,)}``.
    """

    directions: Directions
    axes: Mapping[str, np.ndarray]

    @classmethod
    def of(
        cls,
        kind: type[Plane] | type[Volume],
        objective: Objective,
        directions: Any,
        span: Span | tuple[Span, ...],
        points: Points | tuple[Points, ...],
    ) -> Self:
        """Read directions, spans and numbers of points as users give them.

        Raises:
            LandscapeError: directions of the wrong size, zero, NaN or collinear; too few points; an empty span.
        """
        names = AXES[kind]
        n = len(names)
        found = as_directions(directions, n, objective.size)
        pairs = zip(per_axis(span, n, "span"), per_axis(points, n, "points"), strict=True)
        return cls(found, {name: coordinates(*pair) for name, pair in zip(names, pairs, strict=True)})

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the values: x is the last axis."""
        return tuple(len(axis) for axis in self.axes.values())[::-1]

    @property
    def settings(self) -> dict[str, Any]:
        """What decides where the points lie, as JSON values."""
        return {"directions": self.directions.sha256, **{name: axis.tolist() for name, axis in self.axes.items()}}

    def template(self, kind: type[G], objective: Objective, dataset: str, names: Iterable[str]) -> G:
        """Return the slice with none of the named values computed."""
        axes: Mapping[str, Any] = self.axes
        return kind(
            **axes,
            values={name: np.full(self.shape, np.nan) for name in names},
            computed=np.zeros(self.shape, dtype=np.uint8),
            directions=self.directions,
            dataset=dataset,
            provenance=objective.provenance(),
        )


def evaluate_window(
    kind: type[G],
    objective: Objective,
    directions: Any,
    *,
    span: Span | tuple[Span, ...],
    points: Points | tuple[Points, ...],
    also: Mapping[str, Objective] | None,
    dataset: str,
    errors: bool,
    save: Any,
    overwrite: bool,
    **engine_options: Any,
) -> G:
    """Evaluate every point of a plane or volume, one row (of a volume: one layer) after another.

    Args:
        kind: `Plane` or `Volume`.
        engine_options: for `Engine`; the others are as in `plane`.
    """
    started = time.perf_counter()
    objectives = named(objective, also, dataset)
    window = Window.of(kind, objective, directions, span, points)
    target = placed(save, kind)
    axes = list(window.axes.values())
    x, middle, outer = axes[0], axes[1:-1], axes[-1]
    total = int(np.prod(window.shape))
    with Engine(objectives, vectors_of(window.directions), points=total, errors=errors, **engine_options) as engine:

        def compute(k: int) -> Values:
            rows = [engine.row(x, rest) for rest in product(*middle, outer[k : k + 1])]
            return {name: np.stack([row[name] for row in rows]).reshape(window.shape[1:]) for name in rows[0]}

        return sweep(
            lambda: window.template(kind, objective, dataset, engine.names()),
            compute,
            objectives=objectives,
            description=engine.description,
            save=target,
            overwrite=overwrite,
            settings={"slice": kind.kind, **window.settings, "errors": errors},
            started=started,
        )
