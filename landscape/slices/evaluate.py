"""Evaluating objectives at many points of a line or grid, with as little work between forward passes as possible."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.batches import Batch, few
from landscape.function.objective import Objective
from landscape.graphs import TraceError
from landscape.slices.reusing import WORTH, Reusing, combined, cut

TRACED_FROM = 64
"""Grid points from which tracing can pay for itself."""
SQUARE = "-square"
STANDARD_ERROR = "-standard-error"

Values = dict[str, np.ndarray]


class Engine:
    """Evaluates one or several objectives of the same network along rows of points θ + x d₀ + y d₁ + ….

    Each row starts from θ, so that rounding does not add up; values stay on the device in float64 and are read once a
    row. Data that does not live on the device is streamed once a row, in order.

    Use as a context manager: modes and random state are set once and put back when it closes, also after an exception.

    Args:
        objectives: by data set name: ``{"train": objective, "test": other}``; all of the same parameters. The first
            gives θ.
        directions: (n, P).
        points: how many points there will be, which decides whether tracing pays.
        compiled: compile the network with Inductor.
        errors: add the standard error of the loss over the examples, ``train/loss-standard-error``.
        together: points of a row to call the network for at once, by `torch.vmap`.

    Raises:
        LandscapeError: the objectives have different parameters.
    """

    def __init__(
        self,
        objectives: Mapping[str, Objective],
        directions: np.ndarray,
        *,
        points: int = 0,
        compiled: bool = False,
        errors: bool = False,
        together: int = 1,
    ):
        if together < 1:
            raise LandscapeError(f"together is {together}, expected at least 1 point")
        self.objectives = {name: _with_squares(other) if errors else other for name, other in objectives.items()}
        first = next(iter(self.objectives.values()))
        for name, other in self.objectives.items():
            if other.names != first.names or other.space.shapes != first.space.shapes:
                raise LandscapeError(
                    f"the objective {name!r} has other parameters ({other.size}) than the first ({first.size}); "
                    "expected the same network and selection"
                )
        dtype = torch.promote_types(first.dtype, torch.float32)  # half-precision steps would round away
        self._theta = first.theta.to(dtype)
        self._directions = first.world.part(torch.as_tensor(np.asarray(directions)).to(first.device, dtype))
        self._options: Mapping[str, Any] = {"points": points, "compiled": compiled, "together": together}
        self._stack = ExitStack()
        self._evaluators: dict[str, Plain | Reusing] = {}

    def __enter__(self) -> Self:
        with ExitStack() as entered:
            for objective in self.objectives.values():
                entered.enter_context(objective.guard())
            entered.enter_context(torch.no_grad())
            self._evaluators = {
                name: _evaluator_for(objective, self._theta, self._directions, **self._options)
                for name, objective in self.objectives.items()
            }
            self._stack = entered.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def description(self) -> str:
        """How the points are evaluated, in words."""
        return "; ".join(f"{name}: {evaluator.description}" for name, evaluator in self._evaluators.items())

    @property
    def names(self) -> list[str]:
        """The names of all values."""
        return [
            STANDARD_ERROR.join(f"{dataset}/{name}".rsplit(SQUARE, 1))
            for dataset, objective in self.objectives.items()
            for name in objective.metric_names
        ]

    def row(self, x: np.ndarray, rest: Sequence[float] = ()) -> Values:
        """Evaluate every objective at θ + x[i] d₀ + Σ rest[k] dₖ₊₁.

        Returns:
            Arrays (n,) by name: ``train/loss``, ``train/accuracy``, …
        """
        tables = [self._table(dataset, x, rest) for dataset in self.objectives]
        names = [name for found, _ in tables for name in found]
        values = torch.cat([table for _, table in tables], dim=1).cpu().numpy()
        found = {name: values[:, k].copy() for k, name in enumerate(names)}
        return _with_standard_errors(found, {name: objective.n for name, objective in self.objectives.items()})

    def along(self, x: np.ndarray, which: Sequence[int], *, at_once: bool) -> Iterator[tuple[int, Values]]:
        """Yield some points of a line by their index: each computed then, or all in one pass over the data."""
        for some in [which] if at_once else [[i] for i in which]:
            row = self.row(x[some])
            yield from ((i, {name: value[k] for name, value in row.items()}) for k, i in enumerate(some))

    def _table(self, dataset: str, x: np.ndarray, rest: Sequence[float]) -> tuple[list[str], Tensor]:
        """Return the names and the values (n, metrics) of one objective, still on the device."""
        objective, evaluator = self.objectives[dataset], self._evaluators[dataset]
        table, names, at = torch.empty(0), list[str](), -1
        evaluator.start_row(x.tolist(), rest)
        for i, index, batch in _order(objective, len(x)):
            if i != at:
                evaluator.move(i)
                at = i
            shares = evaluator.shares(index, batch)
            if not names:
                names = list(shares)
                table = torch.zeros(len(x), len(names), dtype=torch.float64, device=self._theta.device)
            table[i] += torch.stack([share.detach().reshape(()) for share in shares.values()])
        return [f"{dataset}/{name}" for name in names], objective.world.sum(table)


class Plain:
    """Calls the network with a flat vector that one fused update writes for each point.

    Every evaluator goes to a row by `start_row`, to a point of it by `move`, and is then asked for the `shares` of batches.
    """

    description = "network called at every point"

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
        return self.objective.batch_metrics(self.point, batch)


class Together(Plain):
    """Calls the network for several points of a row at once by `torch.vmap`.

    One launch then serves several points, which pays on a GPU as long as a single point does not fill it; on a CPU it
    was 1.25 times slower (MLP 784-256-10, 2,048 examples, 8 points together).
    """

    def __init__(self, objective: Objective, theta: Tensor, directions: Tensor, *, chunk: int):
        super().__init__(objective, theta, directions)
        self.chunk, self.outputs, self.i = chunk, dict[int, Tensor](), 0
        self.description = f"network called for {chunk} points together"

    def start_row(self, x: Sequence[float], rest: Sequence[float]) -> None:
        """As `Plain.start_row`."""
        super().start_row(x, rest)
        self.outputs.clear()

    def move(self, i: int) -> None:
        """As `Plain.move`."""
        if i // self.chunk != self.i // self.chunk:
            self.outputs.clear()
        self.i = i

    def shares(self, index: int, batch: Batch) -> dict[str, Tensor]:
        """As `Plain.shares`."""
        if index not in self.outputs:
            first = self.i // self.chunk * self.chunk
            x = torch.as_tensor(self.x[first : first + self.chunk], dtype=torch.float64).to(self.row)
            call = torch.vmap(lambda theta: self.objective.batch_outputs(theta, batch), randomness="different")
            self.outputs[index] = call(self.row + x[:, None] * self.directions[0])
        return self.objective.metrics_of(self.outputs[index][self.i % self.chunk], batch)


def _order(objective: Objective, points: int) -> Iterator[tuple[int, int, Batch]]:
    """Yield (point, batch): points outermost when the data is on the device, batches outermost when it is streamed."""
    if objective.batches.resident:
        yield from ((i, index, batch) for i in range(points) for index, batch in enumerate(objective.batches))
    else:
        yield from ((i, index, batch) for index, batch in enumerate(objective.batches) for i in range(points))


def named(objective: Objective, also: Mapping[str, Objective] | None, dataset: str) -> dict[str, Objective]:
    """Return the objectives of a slice by data set name.

    Raises:
        LandscapeError: a name is taken twice or contains a slash, or something else than an objective is named.
    """
    if also is not None and not isinstance(also, Mapping):
        raise LandscapeError(f"also= is {type(also).__name__}, expected objectives by name: also={{'test': objective}}")
    others = dict(also or {})
    if dataset in others:
        raise LandscapeError(f"also= uses the name {dataset!r} of the objective itself; choose another")
    for name in (dataset, *others):
        if not isinstance(name, str) or not name or "/" in name:
            raise LandscapeError(f"a data set has the name {name!r}; expected a word without slashes, such as 'test'")
    for name, other in others.items():
        if not isinstance(other, Objective):
            raise LandscapeError(
                f"also= holds {type(other).__name__} under {name!r}, expected an objective, such as objective.on(data)"
            )
    return {dataset: objective, **others}


def _evaluator_for(
    objective: Objective, theta: Tensor, directions: Tensor, *, points: int, compiled: bool, together: int
) -> Plain | Reusing:
    """Choose how to evaluate an objective at many points, by a fixed rule: no timing, so that digits do not vary.

    Tracing needs a criterion of outputs and targets, data on the device, single or double precision and evaluation
    mode. It is tried for 64 points or more, and kept when at least 5 % of the network's work can be computed once; a
    trace of two examples tells.
    """
    if together > 1:
        if compiled or not objective.has_criterion:
            raise LandscapeError("together= needs a criterion of outputs and targets, and compiled=False")
        return Together(objective, theta, directions, chunk=together)
    suited = (
        objective.has_criterion
        and objective.batches.resident
        and objective.mode == "eval"
        and not objective.world.sharded
        and set(objective.space.dtypes) == {theta.dtype}
        and theta.dtype in (torch.float32, torch.float64)
    )
    if suited and (compiled or points >= TRACED_FROM):
        try:
            if compiled or _worth_reusing(objective, directions):
                return Reusing(objective, theta, directions, compiled=compiled)
        except TraceError:
            pass
    return Plain(objective, theta, directions)


def _worth_reusing(objective: Objective, directions: Tensor) -> bool:
    moving = [name for name, where in objective.space.slices.items() if bool(directions[:, where].any())]
    return cut(objective, few(objective.batches[0], 2), moving).saved >= WORTH


def _with_squares(objective: Objective) -> Objective:
    """Return the objective with the mean squared loss of its examples as a further metric, ``loss-square``.

    Raises:
        NotDefinedError: the loss does not split into terms of single examples.
    """
    terms = objective.known.per_example
    if terms is None or objective.n < 2 or objective.reduction != "mean":
        raise NotDefinedError("standard errors need a loss that is the mean of terms of at least 2 single examples")

    def squares(output: Tensor, target: Tensor) -> Tensor:
        return terms(output, target).double().square()

    fresh = objective.at(objective.theta)
    fresh.metrics = {**objective.metrics, f"loss{SQUARE}": squares}
    return fresh


def _with_standard_errors(values: Values, examples: Mapping[str, int]) -> Values:
    r"""Turn mean squares into standard errors, :math:`\sqrt{(\overline{\ell^2} - \bar\ell^2)/(N - 1)}`.

    All points of a grid see the same examples, so that differences between points are known better than this says.

    >>> values = {"train/loss": np.array([2.0]), "train/loss-square": np.array([5.0])}
    >>> _with_standard_errors(values, {"train": 2})["train/loss-standard-error"]
    array([1.])
    """
    out = {}
    for name, value in values.items():
        metric, dataset = name.removesuffix(SQUARE), name.partition("/")[0]
        if metric == name:
            out[name] = value
        else:
            variance = np.maximum(value - values[metric] ** 2, 0.0)
            out[metric + STANDARD_ERROR] = np.sqrt(variance / (examples[dataset] - 1))
    return out
