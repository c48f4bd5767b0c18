"""Lines, planes and volumes: loss and metrics on one grid of one to three axes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, product
from math import prod
from typing import Any, Self, TypedDict, TypeVar, Unpack

import numpy as np

from landscape.arguments import checked
from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.results import Directions, Line, Plane, Result, Volume
from landscape.results.slices import Slice
from landscape.slices.directions import as_directions, vectors_of
from landscape.slices.evaluate import Engine, Values, named
from landscape.store import Run, identity
from landscape.store.rows import TEMPLATE, filled
from landscape.workers import Workers, completed

R = TypeVar("R", bound=Result)
S = TypeVar("S", bound=Slice)
Span = float | tuple[float, float]
Points = int | Sequence[float] | np.ndarray
Walk = tuple[Callable[[], R], Callable[[R, list[int]], Iterable[tuple[int, Values]]], Mapping[str, Any]]
"""What makes a result without rows; what computes rows of it, by index; and fields that the result has once they are there."""

FARTHEST = 1e30
"""Largest coordinate: beyond it weights in float32 are infinite."""
MOST_POINTS = 10_000_000
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
        LandscapeError: as `plane`.

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
        spans, numbers = (per_axis(span, n, "span"), per_axis(points, n, "points")) if n > 1 else ([span], [points])
        axes = {name: coordinates(*pair) for name, *pair in zip(names, spans, numbers, strict=True)}
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
    objectives = named(objective, also, dataset)
    grid = Grid.of(kind, objective, directions, span, points)
    how: dict[str, Any] = {"points": prod(grid.shape), "compiled": compiled, "errors": errors, "together": together}

    @contextmanager
    def walk() -> Iterator[Walk[S]]:
        with Engine(objectives, grid.vectors, **how) as engine:

            def rows(_: S, which: list[int]) -> Iterable[tuple[int, Values]]:
                if workers == 1:
                    return _rows(engine, grid, which, at_once=save is None)
                jobs = {i: (objectives, grid, how, which[i::PARTS]) for i in range(min(PARTS, len(which)))}
                return chain.from_iterable(part for _, part in completed(_some_rows, jobs, workers=workers))

            template = partial(grid.blank, kind, objective, dataset, engine.names)
            yield template, rows, {"evaluation": engine.description}

    settings = {"slice": kind.kind, **grid.settings, "errors": errors}
    return grown(kind, objectives, settings, walk(), save=save, overwrite=overwrite, label=kind.kind)


def _some_rows(
    objectives: Mapping[str, Objective], grid: Grid, how: Mapping[str, Any], which: list[int]
) -> list[tuple[int, Values]]:
    with Engine(objectives, grid.vectors, **how) as engine:
        return list(_rows(engine, grid, which, at_once=False))


def _rows(engine: Engine, grid: Grid, which: Sequence[int], *, at_once: bool) -> Iterator[tuple[int, Values]]:
    """Yield rows of a plane, layers of a volume, or points of a line by their index."""
    x, *others = grid.axes.values()
    if not others:
        yield from engine.along(x, which, at_once=at_once)
        return
    *middle, outer = others
    for k in which:
        rows = [engine.row(x, rest) for rest in product(*middle, outer[k : k + 1])]
        yield k, {name: np.stack([row[name] for row in rows]).reshape(grid.shape[1:]) for name in rows[0]}


def grown(
    kind: type[R],
    objectives: Mapping[str, Objective],
    settings: Mapping[str, Any],
    walk: AbstractContextManager[Walk[R]],
    *,
    save: tuple[Any, str] | None,
    overwrite: bool,
    label: str,
    unit: str = "row",
) -> R:
    """Return a result whose rows are kept as they are computed, so that the same call goes on after an interruption.

    Args:
        kind: the class of the result.
        objectives: what is evaluated, by name.
        settings: what else decides the numbers, as JSON values.
        walk: entered only where something is left to compute.
        save, overwrite: as `plane` takes them.
        label, unit: of the progress bar.
    """
    started = time.perf_counter()
    world = next(iter(objectives.values())).world
    run: Run[R] = Run(save, lambda: identity(objectives, **settings), kind=kind, overwrite=overwrite, world=world)
    with run:
        if run.result is not None:
            return run.result
        with walk as (template, rows, known):
            if TEMPLATE not in run.done:
                run.keep(TEMPLATE, template())
            blank: Any = run.done[TEMPLATE]
            missing = [i for i in range(len(next(iter(blank.values.values())))) if i not in run.done]
            for index, row in bar(rows(blank, missing), total=len(missing), desc=label, unit=unit):
                run.keep(index, row)
            seconds = time.perf_counter() - started
            return run.finish(filled(blank, run.done).replace(**known, seconds=seconds))


def require_room(points: int) -> None:
    """Raise where a slice has more points than anybody waits for, or memory holds."""
    if points > MOST_POINTS:
        raise LandscapeError(f"{points:,} points, expected at most {MOST_POINTS:,}; each is a pass over the data")


def coordinates(span: Span, points: Points) -> np.ndarray:
    """Return the coordinates of one axis in float64.

    Args:
        span: ``s`` for −s … s, or a pair (low, high).
        points: how many evenly spaced points, ends included; or the coordinates themselves, strictly increasing.

    Raises:
        LandscapeError: zero points, a zero or reversed span, or coordinates out of order.

    >>> coordinates(1.0, 5)
    array([-1. , -0.5,  0. ,  0.5,  1. ])
    """
    if isinstance(points, int | np.integer) and not isinstance(points, bool):
        low, high = _ends(span)
        if points < 2:
            raise LandscapeError(f"{points} point(s) on an axis, expected at least 2")
        require_room(int(points))
        x = np.linspace(low, high, int(points))
        if low == -high and points % 2:
            x[points // 2] = 0.0
        return x
    try:
        x = np.asarray(points, dtype=np.float64)
    except (TypeError, ValueError):
        x = np.zeros(())
    if x.ndim != 1 or len(x) < 2:
        raise LandscapeError(
            f"points={points!r}, expected how many (a whole number) or a list of at least 2 coordinates"
        )
    if not np.isfinite(x).all() or not (np.diff(x) > 0).all():
        raise LandscapeError("the coordinates of an axis must be finite and strictly increasing; sort them")
    return x


def log_coordinates(span: float = 1.0, points: int = 51, *, smallest: float = 1e-5) -> np.ndarray:
    """Return symmetric coordinates with logarithmic spacing: −span … −smallest, 0, smallest … span.

    Args:
        span: the largest coordinate.
        points: how many in all, odd and at least 5.
        smallest: the smallest distance from the centre.

    Raises:
        LandscapeError: an even number of points, or ``smallest`` not between 0 and ``span``.

    >>> log_coordinates(1.0, 7, smallest=0.01)
    array([-1.  , -0.1 , -0.01,  0.  ,  0.01,  0.1 ,  1.  ])
    """
    if points < 5 or points % 2 == 0:
        raise LandscapeError(f"{points} points, expected an odd number of at least 5: the centre and equal sides")
    if not 0 < smallest < span:
        raise LandscapeError(f"smallest is {smallest}, expected between 0 and the span {span}")
    side = np.geomspace(smallest, span, points // 2)
    return np.concatenate([-side[::-1], [0.0], side])


def per_axis(value: Any, axes: int, what: str) -> tuple[Any, ...]:
    """Return one entry for each axis: a tuple or list of that length is taken apart, anything else is used for all."""
    if not isinstance(value, tuple | list):
        return (value,) * axes
    if len(value) != axes:
        raise LandscapeError(f"{what} has {len(value)} entries, expected one or {axes}: one for each axis")
    return tuple(value)


def _ends(span: Span) -> tuple[float, float]:
    try:
        low, high = map(float, span) if isinstance(span, tuple | list) else (-float(span), float(span))
    except (TypeError, ValueError):
        raise LandscapeError(f"a span of {span!r}, expected a number or a pair (low, high)") from None
    if not (abs(low) <= FARTHEST and abs(high) <= FARTHEST) or low >= high:
        raise LandscapeError(f"a span from {low:g} to {high:g}, expected increasing ends within ±{FARTHEST:g}")
    return low, high
