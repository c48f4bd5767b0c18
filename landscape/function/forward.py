"""Calling the user's network: wrappers taken off, any kind of batch in, the tensor that matters out."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any

from torch import Tensor, nn

from landscape.errors import LandscapeError


def unwrapped(model: nn.Module) -> nn.Module:
    """Take off wrappers that hide the network: compiled modules, DataParallel and DistributedDataParallel."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(inner, nn.Module):
            model = inner
        elif isinstance(model, nn.DataParallel | nn.parallel.DistributedDataParallel):
            model = model.module
        else:
            return model


def forward(model: nn.Module, inputs: Any) -> Any:
    """Call a network with a tensor, a tuple of arguments or a mapping: of keyword arguments, or as it is if it cannot be that."""
    if isinstance(inputs, Mapping):
        return model(**inputs) if _takes_keywords(model, inputs) else model(inputs)
    if isinstance(inputs, tuple) and not isinstance(inputs, nn.utils.rnn.PackedSequence):
        return model(*inputs)
    return model(inputs)


def _takes_keywords(model: nn.Module, inputs: Mapping[str, Any]) -> bool:
    try:
        inspect.signature(model.forward).bind(**inputs)
    except (TypeError, ValueError):  # other names, or a script without a signature
        return not _takes_one(model)
    return True


def _takes_one(model: nn.Module) -> bool:
    """Whether a network can be called with one argument."""
    try:
        inspect.signature(model.forward).bind(None)
    except (TypeError, ValueError):
        return False
    return True


def logits(output: Any) -> Tensor:
    """Find the tensor in what a network returned: itself, ``.logits``, or the first tensor of a tuple, mapping or dataclass.

    Raises:
        LandscapeError: there is no tensor in it.
    """
    if isinstance(output, Tensor):
        return output
    if hasattr(output, "logits"):
        return output.logits
    if isinstance(output, Mapping) and "logits" in output:
        return output["logits"]
    items: Iterable[Any] = ()
    if isinstance(output, tuple | list):
        items = output
    elif isinstance(output, Mapping):
        items = output.values()
    elif is_dataclass(output) and not isinstance(output, type):
        items = vars(output).values()
    found = next((item for item in items if isinstance(item, Tensor)), None)
    if found is None:
        raise LandscapeError(
            f"the network returned {type(output).__name__} without a tensor; use ls.BatchLoss(fn, outputs=…)"
        )
    return found
