"""Loss and metrics on a plane spanned by two directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from landscape.arguments import numbers_checked
from landscape.function.objective import Objective
from landscape.results import Plane
from landscape.slices.coordinates import Points, Span
from landscape.slices.window import evaluate_window


@numbers_checked
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
    overwrite: bool = False,
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
    return evaluate_window(
        Plane, objective, directions, span=span, points=points, also=also, dataset=dataset, compiled=compiled,
        errors=errors, together=together, save=save, overwrite=overwrite,
    )  # fmt: skip
