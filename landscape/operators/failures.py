"""What can go wrong inside a product, said in one line with the ways out."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction

from landscape.errors import LandscapeError, NumericalError
from landscape.function.weighting import CONSTANT

_NO_DERIVATIVE = (
    r"derivative (?:for|of) '?(?:aten::)?(\w+)'? is not implemented",
    r"Trying to use forward AD with (\w+) that does not support it",
    r"(Checkpointing) is not compatible with \.grad\(\)",
    r"trying to differentiate twice a function that was marked with @(once_differentiable)",
    r"(\w+)(?: is|: double backward) not (?:implemented|differentiable twice|supported)",
    r"[Dd]ouble backwards? is not supported for (\w+)",
    r"(torch\.compile) with aot_autograd does not currently support double backward",
)

_ALLOCATION_FAILED = ("can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")

_WAYS_OUT = (
    "replace it in the network, try another program= (kept uses reverse mode twice, recompute forward mode), or use "
    "ls.operators.FiniteDifferenceHessian"
)


class NoSecondDerivativeError(LandscapeError):
    """An operation of the network has no second derivative."""


def require_finite(values: Tensor, what: str, where: Callable[[], str]) -> None:
    """Raise NumericalError when a number is NaN or infinite, with the batch."""
    if not bool(torch.isfinite(values).all()):
        raise NumericalError(
            f"the {what} holds NaN or infinity at this point, on {where()}; check the data and the loss, or use "
            "dtype=torch.float64"
        )


def require_second_derivative(first: Tensor, value: Tensor) -> None:
    """Raise where a first derivative hides that it has none itself.

    A custom function marked ``@once_differentiable`` leaves an error node that no path to theta passes, so that a second
    derivative would silently lack its part. The value that was differentiated names the functions that may be the cause.

    Raises:
        NoSecondDerivativeError: There is such a node.
    """
    if any(node.name() == "torch::autograd::Error" for node in _nodes(first)):
        raise NoSecondDerivativeError(
            f"a custom autograd function ({custom_functions(value) or 'unknown'}) is marked @once_differentiable, so it has no "
            f"second derivative; {_WAYS_OUT}"
        )


def custom_functions(value: Tensor) -> str:
    """Return the names of the custom autograd functions that a value was computed with, our own left out."""
    custom = [node for node in _nodes(value) if BackwardCFunction in type(node).__mro__]
    users = (node for node in custom if not type(node)._forward_cls.__module__.startswith("landscape."))
    found = {str(node.name()).removesuffix("Backward") for node in users}
    return ", ".join(sorted(found))


def _nodes(tensor: Tensor) -> Iterator[Any]:
    """Yield the nodes of a tensor's autograd graph."""
    waiting, seen = [tensor.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            waiting.extend(following for following, _ in node.next_functions)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error means that an allocation failed."""
    exhausted = isinstance(error, torch.OutOfMemoryError | MemoryError)
    return exhausted or any(text in str(error) for text in _ALLOCATION_FAILED)


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Turn PyTorch's messages on missing derivatives into one that names the operation and the ways out."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:
        if "does not require grad and does not have a grad_fn" in str(error):
            raise LandscapeError(CONSTANT) from error
        for pattern in _NO_DERIVATIVE:
            found = re.search(pattern, str(error))
            if found:
                raise NoSecondDerivativeError(
                    f"{found.group(1)} has no derivative that a product with the {name} needs; {_WAYS_OUT}"
                ) from error
        raise
