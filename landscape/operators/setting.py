"""The setting in which products run: every operation has the derivatives that a product needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.operators.failures import explained


def require_objective(given: Any, name: str) -> Objective:
    """Return what was given when it is an objective.

    Raises:
        LandscapeError: It is something else; the message says how to come by an objective.
    """
    if isinstance(given, Objective):
        return given
    remedy = "checkpoint.objective('train')" if hasattr(given, "objective") else "ls.Objective(model, data, loss)"
    raise LandscapeError(f"the {name} is that of an Objective, not of {type(given).__name__}; pass {remedy}")


@contextmanager
def setting(objective: Objective, name: str, *, tf32: bool = False) -> Iterator[None]:
    """Guard the objective, choose kernels with derivatives, and explain what has none.

    Args:
        objective: The function.
        name: The operator in messages.
        tf32: Allow TF32 on CUDA.
    """
    with explained(name), objective.guard(second=True, tf32=tf32):
        yield
