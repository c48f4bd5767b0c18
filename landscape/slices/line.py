"""Loss and metrics along one direction."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from landscape.arguments import numbers_checked
from landscape.function.objective import Objective
from landscape.results import Line
from landscape.slices.coordinates import Points, Span, coordinates
from landscape.slices.directions import as_directions, vectors_of
from landscape.slices.engine import Engine, Values, named
from landscape.slices.sweep import sweep_along
from landscape.store.run import placed


@numbers_checked
def line(
    objective: Objective,
    direction: Any,
    *,
    span: Span = 1.0,
    points: Points = 51,
    also: Mapping[str, Objective] | None = None,
    dataset: str = "train",
    compiled: bool = False,
    errors: bool = False,
    together: int = 1,
    save: tuple[Any, str] | None = None,
    overwrite: bool = False,
) -> Line:
    r"""Evaluate loss and metrics along a line, :math:`f(\theta + x_i d)`.

    Args:
        objective: the function, centred at theta.
        direction: a `Directions` result, or a vector (P,) as a tensor or array.
        span: ``s`` for x from −s to s, or a pair (low, high), in lengths of the direction.
        points: how many, or the coordinates themselves.
        also: further objectives of the same network, ``{"test": other}``, evaluated at the same points in the same
            pass.
        dataset: the name of the objective's own data.
        compiled: compile the network with Inductor; takes seconds to minutes, pays for many points.
        errors: add the standard error of the loss over the examples, for data that is a sample:
            ``train/loss-standard-error``.
        together: points to call the network for at once by `torch.vmap`; pays for small networks on a GPU.
        save: ``("study.h5", "sgd-0/line")``: store the result; each point is on disk when it is finished, and a run
            that was interrupted resumes.
        overwrite: replace a different result of that name.

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
    started = time.perf_counter()
    objectives = named(objective, also, dataset)
    axis = as_directions(direction, 1, objective.size)
    x = coordinates(span, points)
    target = placed(save, Line)

    def blank(values: Values) -> Line:
        return Line(x=x, values=values, directions=axis, dataset=dataset, provenance=objective.provenance())

    with Engine(
        objectives, vectors_of(axis), points=len(x), compiled=compiled, errors=errors, together=together
    ) as engine:
        return sweep_along(
            blank,
            engine,
            x,
            objectives=objectives,
            save=target,
            overwrite=overwrite,
            settings={"slice": "line", "directions": axis.sha256, "x": x.tolist(), "errors": errors},
            started=started,
        )
