"""Kinks: does the network have points without a second derivative, whose curvature the Hessian leaves out?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from landscape.function.batches import few
from landscape.function.objective import Objective
from landscape.graphs.ops import OPS, UNKNOWN


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
