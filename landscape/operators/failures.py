"""What can go wrong inside a product, said in one line with the ways out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from landscape.errors import LandscapeError, NumericalError

_NO_DERIVATIVE = (
    r"derivative for '?aten::(\w+)'? is not implemented",
    r"Trying to use forward AD with (\w+) that does not support it",
    r"the (?:second )?derivative of '?(\w+)'? is not implemented",
    r"(Checkpointing) is not compatible with \.grad\(\)",
    r"trying to differentiate twice a function that was marked with @(once_differentiable)",
    r"(\w+)(?: is|: double backward) not (?:implemented|differentiable twice|supported)",
    r"[Dd]ouble backwards? is not supported for (\w+)",
)


class NoSecondDerivativeError(LandscapeError):
    """An operation of the network has no second derivative."""


def require_finite(values: Tensor, what: str) -> None:
    """Raise NumericalError when a number is NaN or infinite."""
    if not bool(torch.isfinite(values).all()):
        raise NumericalError(
            f"the {what} holds NaN or infinity at this point; check the loss there, or use dtype=torch.float64"
        )


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that an allocation failed."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn PyTorch's messages on missing derivatives into one that names the operation and the ways out."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        for pattern in _NO_DERIVATIVE:
            found = re.search(pattern, str(error))
            if found:
                raise NoSecondDerivativeError(
                    f"{found.group(1)} has no derivative that a product with the {name} needs: replace it in the network, "
                    "try another program= (kept uses reverse mode twice, recompute forward mode), or take "
                    "ls.operators.FiniteDifferenceHessian"
                ) from error
        raise
