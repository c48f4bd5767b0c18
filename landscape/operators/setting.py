"""The setting in which products run: every operation has the derivatives that a product needs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from landscape.objective import Objective
from landscape.operators.failures import explained


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
