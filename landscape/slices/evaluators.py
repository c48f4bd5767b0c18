"""How the values at one grid point are computed: the network as it is, or a traced one whose fixed parts are reused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from landscape.batches import Batch, pick
from landscape.errors import LandscapeError
from landscape.objective import Objective
from landscape.slices.prefix import KEPT_BYTES, WORTH, Program, cut
from landscape.tracing import TraceError, flatten, signature

TRACED_FROM = 64
"""Grid points from which tracing can pay for itself."""
_SIGNATURES = 4


class Evaluator(Protocol):
    """The values of one objective along rows of points θ + x d₀ + y d₁ + …."""

    description: str

    def start_row(self, x: Sequence[float], rest: Sequence[float]) -> None:
        """Go to the row with coordinates x along d₀ and these along d₁, d₂, …."""

    def move(self, i: int) -> None:
        """Go to point i of the row."""

    def shares(self, index: int, batch: Batch) -> dict[str, Tensor]:
        """Return the shares of a batch in loss and metrics at the present point."""


class Plain:
    """Calls the network with a flat vector that one fused update writes for each point."""

    def __init__(self, objective: Objective, theta: Tensor, directions: Tensor):
        self.objective, self.theta, self.directions = objective, theta, directions
        self.row, self.point = theta.clone(), theta.clone()
        self.description = "network called at every point"

    def start_row(self, x: Sequence[float], rest: Sequence[float]) -> None:
        """Go to the row with coordinates x along d₀ and these along d₁, d₂, …."""
        self.x = x
        self.row = _combined(self.theta, self.directions[1:], rest)

    def move(self, i: int) -> None:
        """Go to point i of the row."""
        torch.add(self.row, self.directions[0], alpha=float(self.x[i]), out=self.point)

    def shares(self, index: int, batch: Batch) -> dict[str, Tensor]:
        """Return the shares of a batch in loss and metrics at the present point."""
        return self.objective.batch_metrics(self.point, batch)


class Together:
    """Calls the network for several points of a row at once by `torch.vmap`.

    One launch then serves several points, which pays on a GPU as long as a single point does not fill it; on a CPU it
    was 1.25 times slower (MLP 784-256-10, 2,048 examples, 8 points together).
    """

    def __init__(self, objective: Objective, theta: Tensor, directions: Tensor, *, chunk: int):
        self.objective, self.theta, self.directions, self.chunk = objective, theta, directions, chunk
        self.row, self.outputs, self.i = theta.clone(), dict[int, Tensor](), 0
        self.description = f"network called for {chunk} points together"

    def start_row(self, x: Sequence[float], rest: Sequence[float]) -> None:
        """Go to the row with coordinates x along d₀ and these along d₁, d₂, …."""
        self.x = torch.as_tensor(x).to(self.row)
        self.row = _combined(self.theta, self.directions[1:], rest)
        self.outputs.clear()

    def move(self, i: int) -> None:
        """Go to point i of the row."""
        if i // self.chunk != self.i // self.chunk:
            self.outputs.clear()
        self.i = i

    def shares(self, index: int, batch: Batch) -> dict[str, Tensor]:
        """Return the shares of a batch in loss and metrics at the present point."""
        if index not in self.outputs:
            first = self.i // self.chunk * self.chunk
            x = self.x[first : first + self.chunk]
            thetas = self.row + x[:, None] * self.directions[0]
            call = torch.vmap(lambda theta: self.objective.batch_outputs(theta, batch), randomness="different")
            self.outputs[index] = call(thetas)
        return self.objective.metrics_of(self.outputs[index][self.i % self.chunk], batch)


class Reusing:
    """Runs what is left of a traced network once its fixed and affine parts are taken out.

    Raises:
        TraceError: the network cannot be traced, has too many batch shapes, needs too much memory, or the traced
            network does not give the same outputs as the plain one on another batch at another point.
    """

    def __init__(self, objective: Objective, theta: Tensor, directions: Tensor, *, compiled: bool = False):
        self.objective = objective
        spans = objective.space.slices
        self.moving = [name for name in objective.names if bool(directions[:, spans[name]].any())]
        pieces = [objective.space.slices[name] for name in self.moving]
        self.theta = torch.cat([theta[piece] for piece in pieces])
        self.directions = torch.cat([directions[:, piece] for piece in pieces], dim=1)
        self.row, self.point = self.theta.clone(), self.theta.clone()
        shapes = dict(zip(objective.names, objective.space.shapes, strict=True))
        parts = self.point.split([shapes[name].numel() for name in self.moving])
        self.views = {name: part.view(shapes[name]) for name, part in zip(self.moving, parts, strict=True)}
        self.batches = self._prepared(compiled)
        share = max(batch.program.saved for batch in self.batches)
        self.description = f"traced{' and compiled' if compiled else ''}, {share:.1%} of the work computed once"
        self._check(Plain(objective, theta, directions))

    def _prepared(self, compiled: bool) -> list[_PreparedBatch]:
        programs: dict[Any, Program] = {}
        runners: dict[Any, Any] = {}
        out: list[_PreparedBatch] = []
        for batch in self.objective.batches:
            key = signature(batch.inputs)
            if key not in programs:
                if len(programs) == _SIGNATURES:
                    raise TraceError("the batches have too many different shapes to trace each")
                program = programs[key] = cut(self.objective, batch, self.moving)
                module = program.rest.module
                runners[key] = torch.compile(module, dynamic=False) if compiled else module
            if sum(other.program.bytes_kept for other in out) + programs[key].bytes_kept > KEPT_BYTES:
                raise TraceError("the responses need more memory than is set aside for them")
            out.append(_PreparedBatch(self, batch, programs[key], runners[key]))
        return out

    def start_row(self, x: Sequence[float], rest: Sequence[float]) -> None:
        """Go to the row with coordinates x along d₀ and these along d₁, d₂, …."""
        self.x = x
        self.row = _combined(self.theta, self.directions[1:], rest)
        for batch in self.batches:
            batch.start_row(rest)

    def move(self, i: int) -> None:
        """Go to point i of the row."""
        self.at = float(self.x[i])
        torch.add(self.row, self.directions[0], alpha=self.at, out=self.point)

    def shares(self, index: int, batch: Batch) -> dict[str, Tensor]:
        """Return the shares of a batch in loss and metrics at the present point."""
        return self.objective.metrics_of(self.batches[index].outputs(self.at), batch)

    def _check(self, plain: Plain) -> None:
        """Compare outputs with the plain network's away from where the trace was made."""
        rest = [0.61] * (len(self.directions) - 1)
        evaluators: tuple[Evaluator, Evaluator] = (self, plain)
        for evaluator in evaluators:
            evaluator.start_row([0.37], rest)
            evaluator.move(0)
        last = {signature(batch.batch.inputs): index for index, batch in enumerate(self.batches)}
        for index in last.values():
            batch = self.batches[index].batch
            found, expected = self.batches[index].outputs(0.37), self.objective.batch_outputs(plain.point, batch)
            slack = 1e3 * torch.finfo(expected.dtype).eps * expected.abs().max().clamp_min(1.0)
            if found.shape != expected.shape or not bool(((found - expected).abs() <= slack).all()):
                raise TraceError("the traced network differs from the network itself")


class _PreparedBatch:
    """A batch with its kept values and responses."""

    def __init__(self, owner: Reusing, batch: Batch, program: Program, runner: Any):
        self.batch, self.program, self.runner = batch, program, runner
        objective = owner.objective
        fixed = [*objective.space.unflatten(objective.theta).values(), *objective.fixed.values()]
        values: dict[Any, Tensor] = dict(zip(program.inputs, [*fixed, *flatten(batch.inputs)[0]], strict=True))
        once = program.once.module(*(values[node] for node in program.once.inputs))
        values.update(zip(program.kept, once, strict=True))
        names = dict(zip(program.inputs, objective.names, strict=False))

        def respond(vector: Tensor) -> tuple[Tensor, ...]:
            parts = vector.split([view.numel() for view in owner.views.values()])
            moved = {name: part.view_as(owner.views[name]) for name, part in zip(owner.views, parts, strict=True)}
            arguments = [moved[names[n]] if names.get(n) in moved else values[n] for n in program.head.inputs]
            return tuple(program.head.module(*arguments))

        self.centre = [z.clone() for z in respond(owner.theta)]
        # the head is affine: its value at a direction less its value at zero is the response to that direction
        zero = respond(torch.zeros_like(owner.theta))
        self.responses = [[z - z0 for z, z0 in zip(respond(d), zero, strict=True)] for d in owner.directions]
        self.row_values = self.centre
        self.point_values = [torch.empty_like(z) for z in self.centre]
        values.update(zip(program.hoisted, self.point_values, strict=True))
        self.arguments = [
            owner.views[names[node]] if names.get(node) in owner.views else values[node] for node in program.rest.inputs
        ]

    def start_row(self, rest: Sequence[float]) -> None:
        """Combine the responses to the directions that stay the same along a row."""
        self.row_values = [
            _combined(z, [response[k] for response in self.responses[1:]], rest) for k, z in enumerate(self.centre)
        ]

    def outputs(self, x: float) -> Tensor:
        """Return the network's outputs at a point of the row."""
        for k, value in enumerate(self.point_values):
            torch.add(self.row_values[k], self.responses[0][k], alpha=x, out=value)
        return self.runner(*self.arguments)[0]


def evaluator_for(
    objective: Objective,
    theta: Tensor,
    directions: Tensor,
    *,
    points: int,
    compiled: bool = False,
    together: int = 1,
) -> Evaluator:
    """Choose how to evaluate an objective at many points, by a fixed rule: no timing, so that digits do not vary.

    Tracing needs a criterion of outputs and targets, data on the device, single or double precision and evaluation
    mode. It is tried for 64 points or more, and kept when at least 5 % of the network's work can be computed once; a
    trace of two examples tells.

    Args:
        objective: the function.
        theta: (P,) the centre.
        directions: (n, P).
        points: how many points there will be in all.
        compiled: compile the traced network with Inductor, whatever can be reused.
        together: points to call the network for at once, instead of tracing it.

    Raises:
        LandscapeError: several points together, for a loss that is not a function of outputs or together with
            compiling.
    """
    if together > 1:
        if compiled or not objective.has_criterion:
            raise LandscapeError("together= needs a criterion of outputs and targets, and compiled=False")
        return Together(objective, theta, directions, chunk=together)
    suited = (
        objective.has_criterion
        and objective.batches.resident
        and objective.mode == "eval"
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
    first = objective.batches[0]
    return cut(objective, pick(first, torch.arange(min(2, first.size))), moving).saved >= WORTH


def _combined(start: Tensor, directions: Sequence[Tensor] | Tensor, coordinates: Sequence[float]) -> Tensor:
    """Return start + Σ coordinates[k]·directions[k]."""
    out = start.clone()
    for direction, coordinate in zip(directions, coordinates, strict=True):
        out.add_(direction, alpha=float(coordinate))
    return out
