"""Loss and metrics on a plane spanned by two directions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from landscape.objective import Objective
from landscape.results import Plane
from landscape.slices.coordinates import Points, Span, coordinates, per_axis
from landscape.slices.directions import as_directions, vectors_of
from landscape.slices.engine import Engine, Values, named
from landscape.slices.sweep import sweep


def plane(
    objective: Objective,
    directions: Any,
    *,
    span: Span | tuple[Span, Span] = 1.0,
    points: Points | tuple[Points, Points] = 51,
    also: Mapping[str, Objective] | None = None,
    dataset: str = "train",
    compiled: bool = False,
    errors: bool = False,
    together: int = 1,
    save: tuple[Any, str] | None = None,
) -> Plane:
    r"""Evaluate loss and metrics on a grid, :math:`f(\theta + x_i d_0 + y_j d_1)`.

    Args:
        objective: the function, centred at theta.
        directions: a `Directions` result or two vectors (2, P).
        span: ``s`` for both axes from −s to s, or one entry for each axis: ``(1.0, 2.0)``, ``((-1, 3), (0, 1))``.
        points: how many on both axes, or a pair (nx, ny); each may be the coordinates themselves.
        also: further objectives of the same network, ``{"test": other}``, evaluated at the same points in the same
            pass.
        dataset: the name of the objective's own data.
        compiled: compile the network with Inductor; takes seconds to minutes, pays for many points.
        errors: add the standard error of the loss over the examples, for data that is a sample:
            ``train/loss-standard-error``.
        together: points to call the network for at once by `torch.vmap`; pays for small networks on a GPU.
        save: ``("study.h5", "sgd-0/plane")``: store the result; each row is on disk when it is finished, and a run that
            was interrupted resumes.

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
    started = time.perf_counter()
    axes = as_directions(directions, 2, objective.size)
    x, y = (coordinates(s, p) for s, p in zip(per_axis(span, 2, "span"), per_axis(points, 2, "points"), strict=True))
    shape = (len(y), len(x))

    def blank(values: Values) -> Plane:
        everywhere = np.ones(shape, dtype=np.uint8)
        return Plane(
            x=x,
            y=y,
            values=values,
            computed=everywhere,
            directions=axes,
            dataset=dataset,
            provenance=objective.provenance(),
        )

    objectives = named(objective, also, dataset)
    with Engine(
        objectives, vectors_of(axes), points=x.size * y.size, compiled=compiled, errors=errors, together=together
    ) as engine:
        return sweep(
            blank,
            shape,
            lambda j: engine.row(x, [y[j]]),
            names=engine.names,
            objectives=objectives,
            description=engine.description,
            save=save,
            settings={
                "slice": "plane",
                "directions": axes.sha256,
                "x": x.tolist(),
                "y": y.tolist(),
                "errors": errors,
            },
            started=started,
        )
