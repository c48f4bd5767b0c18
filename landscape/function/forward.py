"""Calling the user's network: wrappers taken off, any kind of batch in, the tensor that matters out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from landscape.errors import LandscapeError


class Bound(nn.Module):
    """A network that is called with other tensors in the places of its own.

    >>> import torch
    >>> layer = nn.Linear(1, 1, bias=False)
    >>> network = nn.Sequential(layer, layer)
    >>> Bound(network).call({"0.weight": torch.tensor([[3.0]])}, lambda model: model(torch.ones(1)))
    tensor([9.])
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model
        self._places = places(model)

    def forward(self, compute: Callable[[nn.Module], Any]) -> Any:
        """Return ``compute(model)``."""
        return compute(self.model)

    def call(self, tensors: Mapping[str, Tensor], compute: Callable[[nn.Module], Any]) -> Any:
        """Return ``compute(model)`` with the named tensors in place of the network's own, wherever they occur in it."""
        placed = {f"model.{place}": tensors[name] for place, name in self._places.items() if name in tensors}
        # every module once: PyTorch's own tying fills a module that has two names twice, and does not undo the first
        return functional_call(self, placed, (compute,), tie_weights=False)


def places(model: nn.Module) -> dict[str, str]:
    """Return where a network keeps its parameters and buffers: place → name, the first place of that tensor.

    A module that is registered under several names is one place; modules that share a tensor are several.
    """
    found: dict[str, str] = {}
    seen: dict[int, tuple[str, Tensor]] = {}
    for prefix, module in model.named_modules():
        for kind in (module.named_parameters, module.named_buffers):
            for key, tensor in kind(recurse=False, remove_duplicate=False):
                place = f"{prefix}.{key}" if prefix else key
                found[place] = seen.setdefault(id(tensor), (place, tensor))[0]
    return found


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
    """Call a network with a tensor, a tuple of arguments or a mapping of keyword arguments."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    if isinstance(inputs, tuple):
        return model(*inputs)
    return model(inputs)


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
