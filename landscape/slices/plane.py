"""Loss and metrics on a plane spanned by two directions."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from landscape.bars import bar
from landscape.objective import Objective
from landscape.results import Plane
from landscape.slices.directions import as_directions
from landscape.slices.engine import Engine, named
from landscape.slices.grid import Points, Span, coordinates, per_axis


def plane(
    objective: Objective,
    directions: Any,
    *,
    span: Span | tuple[Span, Span] = 1.0,
    points: Points | tuple[Points, Points] = 51,
    also: Mapping[str, Objective] | None = None,
    dataset: str = "train",
    save: tuple[Any, str] | None = None,
) -> Plane:
    r"""Evaluate loss and metrics on a grid, :math:`f(\theta + x_i d_0 + y_j d_1)`.

    Args:
        objective: the function, centred at theta.
        directions: a `Directions` result or two vectors (2, P).
        span: ``s`` for both axes from −s to s, or one entry for each axis: ``(1.0, 2.0)``, ``((-1, 3), (0, 1))``.
        points: how many on both axes, or a pair (nx, ny); each may be the coordinates themselves.
        also: further objectives of the same network, ``{"test": other}``, evaluated at the same points in the same pass.
        dataset: the name of the objective's own data.
        save: ``("study.h5", "sgd-0/plane")``: store the result.

    Returns:
        A plane whose arrays are (ny, nx), x fastest: ``values["train/loss"][j, i]`` is the loss at x[i], y[j].

    Raises:
        LandscapeError: directions of the wrong size, zero, NaN or collinear; fewer than 2 points; an empty span.

    >>> import torch, landscape as ls
    >>> model, data = torch.nn.Linear(2, 1, bias=False), (torch.eye(2), torch.zeros(2, 1))
    >>> objective = ls.Objective(model, data, "mse_loss", dtype=torch.float64).at(torch.zeros(2))
    >>> plane(objective, torch.eye(2), span=(1, 2), points=(3, 2)).loss  # (x² + y²)/2 on 2 rows of 3
    array([[2.5, 2. , 2.5],
           [2.5, 2. , 2.5]])
    """
    started = time.perf_counter()
    axes = as_directions(directions, 2, objective.size)
    assert axes.vectors is not None
    x, y = (coordinates(s, p) for s, p in zip(per_axis(span, 2, "span"), per_axis(points, 2, "points"), strict=True))
    rows = []
    with Engine(named(objective, also, dataset)) as engine:
        theta, along_x, along_y = (engine.place(v) for v in (objective.theta, axes.vectors[0], axes.vectors[1]))
        for step in bar(y, desc="plane", unit="row"):
            rows.append(engine.row(torch.add(theta, along_y, alpha=float(step)), along_x, x))
    result = Plane(
        x=x,
        y=y,
        values={name: np.stack([row[name] for row in rows]) for name in rows[0]},
        computed=np.ones((len(y), len(x)), dtype=np.uint8),
        directions=axes,
        dataset=dataset,
        provenance=objective.provenance(),
        seconds=time.perf_counter() - started,
    )
    if save is not None:
        result.save(*save)
    return result
