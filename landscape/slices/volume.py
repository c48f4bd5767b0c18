"""Loss and metrics in a volume spanned by three directions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from landscape.arguments import numbers_checked
from landscape.function.objective import Objective
from landscape.results import Volume
from landscape.slices.coordinates import Points, Span
from landscape.slices.window import evaluate_window


@numbers_checked
def volume(
    objective: Objective,
    directions: Any,
    *,
    span: Span | tuple[Span, Span, Span] = 1.0,
    points: Points | tuple[Points, Points, Points] = 15,
    also: Mapping[str, Objective] | None = None,
    dataset: str = "train",
    compiled: bool = False,
    errors: bool = False,
    together: int = 1,
    save: tuple[Any, str] | None = None,
    overwrite: bool = False,
) -> Volume:
    r"""Evaluate loss and metrics on a grid of three axes, :math:`f(\theta + x_i d_0 + y_j d_1 + z_k d_2)`.

    Args:
        objective: the function, centred at theta.
        directions: a `Directions` result or three vectors (3, P).
        span: as in `plane`, for three axes.
        points: as in `plane`, for three axes.
        also: further objectives ``{"test": other}`` evaluated at the same points.
        dataset: the name of the objective's own data.
        compiled: compile the network with Inductor.
        errors: add the standard error of the loss over the examples.
        together: points to call the network for at once by `torch.vmap`; pays for small networks on a GPU.
        save: ``("study.h5", "sgd-0/volume")``: store the result; each layer is on disk when it is finished.
        overwrite: replace a different result of that name.

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
    return evaluate_window(
        Volume, objective, directions, span=span, points=points, also=also, dataset=dataset, compiled=compiled,
        errors=errors, together=together, save=save, overwrite=overwrite,
    )  # fmt: skip
