"""The network of an objective: in float64, and whether it has points without a second derivative."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from landscape.errors import NumericalError
from landscape.function.batches import few
from landscape.function.objective import Objective
from landscape.function.structure import converted
from landscape.graphs.ops import OPS, UNKNOWN

T = TypeVar("T")


def network(objective: Objective) -> nn.Module:
    """Return a copy of the network in float64 that carries the objective's own weights and buffers."""
    model = converted(objective.model, objective.device, torch.float64)
    own = {**objective.fixed, **objective.space.unflatten(objective.theta)}
    with torch.no_grad():
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            tensor.copy_(own[name])
    return model


def in_double(objective: Objective, model: nn.Module | None = None) -> Objective:
    """Return the objective in float64, on the same data and with the same loss; of a model in float64, if one is given."""
    chosen = set(objective.names)
    return Objective(
        network(objective) if model is None else model,
        objective.batches,
        objective.given_loss,
        count=objective.count,
        parameters=lambda name, tensor: name in chosen,
        dtype=torch.float64,
        mode=objective.mode,
        norm=objective.norm,
        group=objective.world.group,
    )


def with_enough_precision(measure: Callable[[Objective], T], objective: Objective) -> T:
    """Measure as the objective is, and in float64 where that fails in a lower precision.

    At a cross-entropy below about 1e-7 the second derivatives of float32 softmax outputs are mostly rounding: the products
    are not symmetric, and Lanczos refuses them.

    Raises:
        NumericalError: it fails in float64 too.
    """
    try:
        return measure(objective)
    except NumericalError:
        if objective.dtype == torch.float64:
            raise
        return measure(in_double(objective))


class _Recorder(TorchFunctionMode):
    """Notes the names of piecewise functions that run inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, None] = {}

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        name = getattr(func, "__name__", "").rstrip("_")
        if OPS.get(name, UNKNOWN).kinked:
            self.found[name] = None
        return func(*args, **(kwargs or {}))


def piecewise_functions(objective: Objective) -> tuple[str, ...]:
    """Return the names of functions with kinks that the network calls on one example, such as ``relu``.

    >>> import torch, landscape as ls
    >>> data = (torch.ones(2, 4), torch.tensor([0, 1]))
    >>> models = [ls.models.mlp((4, 3, 2), activation=name) for name in ("relu", "gelu")]
    >>> [piecewise_functions(ls.Objective(model, data, "cross_entropy")) for model in models]
    [('relu',), ()]
    """
    one = few(objective.batches[0], 1)
    with objective.guard(), torch.no_grad(), _Recorder() as recorder:
        objective.batch_value(objective.theta, one)
    return tuple(recorder.found)


def kink_note(objective: Objective) -> str:
    """Return the remark for infinitesimal scores of a network with kinks, empty for a smooth one."""
    found = piecewise_functions(objective)
    return f"leaves out the kinks of {', '.join(found)}; see curvature-at-scale" if found else ""
