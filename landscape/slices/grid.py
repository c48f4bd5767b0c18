"""Lines, planes and volumes: loss and metrics on one grid of one to three axes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any, Self, TypedDict, TypeVar, Unpack

import numpy as np

from landscape.arguments import checked
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.results import Directions, Line, Plane, Volume
from landscape.results.slices import Slice
from landscape.slices.coordinates import Points, Span, coordinates, per_axis, require_room
from landscape.slices.directions import as_directions, vectors_of
from landscape.slices.evaluate.engine import Engine, named
from landscape.slices.rows import Values, begun, fill
from landscape.store import Run, identity
from landscape.workers import Workers, completed

S = TypeVar("S", bound=Slice)
PARTS = 32
"""Jobs into which the rows of a slice are dealt out among workers: each carries the data."""


class Options(TypedDict, total=False):
    """What lines, planes and volumes take alike; `plane` describes them."""

    also: Mapping[str, Objective] | None
    dataset: str
    compiled: bool
    errors: bool
    together: int
    workers: Workers
    save: tuple[Any, str] | None
    overwrite: bool


def line(
    objective: Objective, direction: Any, *, span: Span | None = None, points: Points = 51, **options: Unpack[Options]
) -> Line:
    r"""Evaluate loss and metrics along a line, :math:`f(\theta + x_i d)`.

    Args:
        objective: the function, centred at theta.
        direction: a `Directions` result, or a vector (P,) as a tensor or array.
        span: ``s`` for x from −s to s, or a pair (low, high), in lengths of the direction. `None`: 1, or what shows the
            points that the direction was made from.
        points: how many, or the coordinates themselves.
        options: ``also``, ``dataset``, ``compiled``, ``errors``, ``together``, ``save`` and ``overwrite``, as `plane` takes
            them; a saved line is on disk point by point.

    Returns:
        A line with ``values["train/loss"]``, ``["train/accuracy"]``, ``["test/loss"]`` … (n,). NaN and inf are kept.

    Raises:
        LandscapeError: a direction of the wrong size, zero or NaN; fewer than 2 points; an empty span; a study that
            holds another slice of that name.

    >>> import torch, landscape as ls
    >>> model, data = torch.nn.Linear(1, 1, bias=False), (torch.ones(4, 1), torch.zeros(4, 1))
    >>> objective = ls.Objective(model, data, "mse_loss", dtype=torch.float64).at(torch.zeros(1))
    >>> line(objective, torch.ones(1), span=2, points=5).loss  # x²
    array([4., 1., 0., 1., 4.])
    """
    _require_known("line", options)
    return _slice(Line, objective, direction, span, points, **options)


def plane(
    objective: Objective,
    directions: Any,
    *,
    span: Span | tuple[Span, Span] | None = None,
    points: Points | tuple[Points, Points] = 51,
    **options: Unpack[Options],
) -> Plane:
    r"""Evaluate loss and metrics on a grid, :math:`f(\theta + x_i d_0 + y_j d_1)`.

    Args:
        objective: the function, centred at theta.
        directions: a `Directions` result or two vectors (2, P).
        span: ``s`` for both axes from −s to s, or one entry for each axis: ``(1.0, 2.0)``, ``((-1, 3), (0, 1))``.
            `None`: 1, or what shows a trajectory, or the points that a plane goes through, with a tenth around.
        points: how many on both axes, or a pair (nx, ny); each may be the coordinates themselves.
        also: further objectives of the same network, ``{"test": other}``, evaluated at the same points in the same
            pass.
        dataset: the name of the objective's own data; ``train`` by default.
        compiled: compile the network with Inductor; takes seconds to minutes, pays for many points.
        errors: add the standard error of the loss over the examples, for data that is a sample:
            ``train/loss-standard-error``.
        together: points to call the network for at once by `torch.vmap`; pays for small networks on a GPU. 1 by default.
        workers: processes among which rows are dealt out, or a `concurrent.futures.Executor`. 1 by default.
        save: ``("study.h5", "sgd-0/plane")``: store the result; each row is on disk when it is finished, and a run that
            was interrupted resumes.
        overwrite: replace a different result of that name.

    Returns:
        A plane whose arrays are (ny, nx), x fastest: ``values["train/loss"][j, i]`` is the loss at x[i], y[j].

    Raises:
        LandscapeError: directions of the wrong size, zero, NaN or collinear; fewer than 2 points; an empty
            span; a study that holds another slice of that name.

    >>> import torch, landscape as ls
    >>> model, data = torch.nn.Linear(2, 1, bias=False), (torch.eye(2), torch.zeros(2, 1))
    >>> objective = ls.Objective(model, data, "mse_loss", dtype=torch.float64).at(torch.zeros(2))
    >>> plane(objective, torch.eye(2), span=(1, 2), points=(3, 2)).loss  # (x² + y²)/2 on 2 rows of 3
    array([[2.5, 2. , 2.5],
           [2.5, 2. , 2.5]])
    """
    _require_known("plane", options)
    return _slice(Plane, objective, directions, span, points, **options)


def volume(
    objective: Objective,
    directions: Any,
    *,
    span: Span | tuple[Span, Span, Span] | None = None,
    points: Points | tuple[Points, Points, Points] = 15,
    **options: Unpack[Options],
) -> Volume:
    r"""Evaluate loss and metrics on a grid of three axes, :math:`f(\theta + x_i d_0 + y_j d_1 + z_k d_2)`.

    Args:
        objective: the function, centred at theta.
        directions: a `Directions` result or three vectors (3, P).
        span: as in `plane`, for three axes.
        points: as in `plane`, for three axes.
        options: those of `plane`; a saved volume is on disk layer by layer.

    Returns:
        A volume whose arrays are (nz, ny, nx), x fastest.

    Raises:
        LandscapeError: as `plane`.

    >>> import torch, landscape as ls
    >>> net, data = torch.nn.Linear(3, 1, bias=False), (torch.eye(3), torch.zeros(3, 1))
    >>> objective = ls.Objective(net, data, "mse_loss", dtype=torch.float64).at(torch.zeros(3))
    >>> volume(objective, torch.eye(3), span=(1, 2, 3), points=(3, 3, 2)).loss[0, 0]  # (x² + 4 + 9)/3
    array([4.66666667, 4.33333333, 4.66666667])
    """
    _require_known("volume", options)
    return _slice(Volume, objective, directions, span, points, **options)


@dataclass(frozen=True, eq=False)
class Grid:
    """A grid in the span of directions.

    Attributes:
        directions: one for each axis.
        axes: the coordinates by axis: ``{"x": (nx,), "y": (ny,)}``.
    """

    directions: Directions
    axes: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, kind: type[Slice], objective: Objective, directions: Any, span: Any, points: Any) -> Self:
        """Read directions, spans and numbers of points as users give them.

        Raises:
            LandscapeError: directions of the wrong size, zero, NaN or collinear; too few points; an empty span.
        """
        names = kind.axis_names
        n = len(names)
        span = _covering(directions, n) if span is None else span
        found = as_directions(directions, n, objective.size)
        _require_origin(found, objective)
        pairs = (
            zip(per_axis(span, n, "span"), per_axis(points, n, "points"), strict=True) if n > 1 else [(span, points)]
        )
        axes = {name: coordinates(*pair) for name, pair in zip(names, pairs, strict=True)}
        require_room(prod(map(len, axes.values())))
        return cls(found, axes)

    @property
    def vectors(self) -> np.ndarray:
        """The vectors of the directions (axes, P)."""
        return vectors_of(self.directions)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the values: x is the last axis."""
        return tuple(len(axis) for axis in self.axes.values())[::-1]

    @property
    def settings(self) -> dict[str, Any]:
        """What decides where the points lie, as JSON values."""
        return {"directions": self.directions.sha256, **{name: axis.tolist() for name, axis in self.axes.items()}}

    def blank(self, kind: type[S], objective: Objective, dataset: str, names: Iterable[str]) -> S:
        """Return the slice with none of the named values computed."""
        fields: dict[str, Any] = dict(self.axes)
        if len(self.axes) > 1:
            fields["computed"] = np.zeros(self.shape, dtype=np.uint8)
        return kind(
            **fields,
            values={name: np.full(self.shape, np.nan) for name in names},
            directions=self.directions,
            dataset=dataset,
            provenance=objective.provenance(),
        )


def _covering(directions: Any, axes: int) -> Any:
    """Return the span that shows the points which the directions were made from, with a tenth around; 1 where there are none."""
    points = getattr(directions, "points", None)
    if points is None:
        points = getattr(getattr(directions, "directions", directions), "info", {}).get("points")
    if points is None or np.ndim(points) != 2 or np.shape(points)[1] < axes:
        return 1.0
    there = np.vstack([np.zeros((1, axes)), np.asarray(points, dtype=np.float64)[:, :axes]])
    low, high = there.min(axis=0), there.max(axis=0)
    around = 0.1 * (high - low) + 0.1 * (high == low)
    pairs = [(float(a), float(b)) for a, b in zip(low - around, high + around, strict=True)]
    return pairs[0] if axes == 1 else tuple(pairs)


def _require_origin(directions: Directions, objective: Objective) -> None:
    """Raise where directions go through points around other weights than the objective's; their coordinates would mislead."""
    if "points" not in directions.info:
        return
    here, there = objective.provenance(), directions.provenance
    dtype, weights = (there.get(name, here[name]) == here[name] for name in ("dtype", "weights_sha256"))
    if dtype and not weights:
        raise LandscapeError(
            "the directions go through points around other weights than the objective's; pass the objective of the first of "
            "the points, or of a run's last checkpoint"
        )


def _require_known(function: str, options: Mapping[str, Any]) -> None:
    """Raise for an unknown argument in the words that Python has for it."""
    unknown = next((name for name in options if name not in Options.__annotations__), None)
    if unknown is not None:
        raise TypeError(f"{function}() got an unexpected keyword argument {unknown!r}")


@checked
def _slice(
    kind: type[S],
    objective: Objective,
    directions: Any,
    span: Any,
    points: Any,
    *,
    also: Mapping[str, Objective] | None = None,
    dataset: str = "train",
    compiled: bool = False,
    errors: bool = False,
    together: int = 1,
    workers: Workers = 1,
    save: tuple[Any, str] | None = None,
    overwrite: bool = False,
) -> S:
    started = time.perf_counter()
    objectives = named(objective, also, dataset)
    grid = Grid.of(kind, objective, directions, span, points)
    settings = {"slice": kind.kind, **grid.settings, "errors": errors}
    run: Run[S] = Run(
        save, lambda: identity(objectives, **settings), kind=kind, overwrite=overwrite, world=objective.world
    )
    with run:
        if run.result is not None:
            return run.result
        how: dict[str, Any] = {
            "points": int(np.prod(grid.shape)),
            "compiled": compiled,
            "errors": errors,
            "together": together,
        }
        with Engine(objectives, grid.vectors, **how) as engine:
            blank = begun(run, lambda: grid.blank(kind, objective, dataset, engine.names))
            missing = [i for i in range(grid.shape[0]) if i not in run.done] if workers != 1 else []
            jobs = {i: (objectives, grid, how, missing[i::PARTS]) for i in range(min(PARTS, len(missing)))}
            for _, rows in completed(_some_rows, jobs, workers=workers):
                for i, row in rows:
                    run.keep(i, row)
            whole = fill(run, blank, _rows(engine, grid, at_once=save is None), label=kind.kind)
            return run.finish(whole.replace(evaluation=engine.description, seconds=time.perf_counter() - started))


def _some_rows(
    objectives: Mapping[str, Objective], grid: Grid, how: Mapping[str, Any], which: list[int]
) -> list[tuple[int, Values]]:
    with Engine(objectives, grid.vectors, **how) as engine:
        compute = _rows(engine, grid, at_once=False)
        return [(i, compute(i)) for i in which]


def _rows(engine: Engine, grid: Grid, *, at_once: bool) -> Callable[[int], Values]:
    """Return what computes a row of a plane, a layer of a volume, or a point of a line."""
    x, *others = grid.axes.values()
    if not others:
        return engine.along(x, at_once=at_once)
    *middle, outer = others

    def layer(k: int) -> Values:
        rows = [engine.row(x, rest) for rest in product(*middle, outer[k : k + 1])]
        return {name: np.stack([row[name] for row in rows]).reshape(grid.shape[1:]) for name in rows[0]}

    return layer
