"""Calling the user's network: wrappers taken off, any kind of batch in, the tensor that matters out."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import is_dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils._pytree import tree_flatten_with_path, tree_unflatten

from landscape.errors import LandscapeError


class Functional(nn.Module):
    """A function of parameters and inputs, ``f(params, *inputs)``, as a network.

    Args:
        f: the function.
        params: tensors in any nest of dictionaries, lists and tuples; θ holds them in order.

    Raises:
        LandscapeError: f is no function, or params holds other things than real or complex tensors, or two of one name.

    >>> import torch
    >>> line = Functional(lambda p, x: p["layer"][0] * x + p["layer"][1], {"layer": [torch.ones(1), torch.zeros(1)]})
    >>> [name for name, _ in line.named_parameters()], line(torch.tensor([3.0]))
    (['layer.0', 'layer.1'], tensor([3.], grad_fn=<AddBackward0>))
    """

    def __init__(self, f: Callable[..., Any], params: Any):
        super().__init__()
        if not callable(f):
            raise LandscapeError(f"f is {type(f).__name__}, expected a function f(params, *inputs) before its params")
        self._f = f
        leaves, self._spec = tree_flatten_with_path(params)
        paths = ((str(getattr(key, "key", getattr(key, "idx", key))) for key in path) for path, _ in leaves)
        self._names = [".".join(path) or "params" for path in paths]
        for name, (_, tensor) in zip(self._names, leaves, strict=True):
            self._hold(name, tensor)

    def _hold(self, name: str, tensor: Any) -> None:
        if not isinstance(tensor, Tensor) or not (tensor.is_floating_point() or tensor.is_complex()):
            found = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise LandscapeError(
                f"params holds {found} as {name}, expected tensors of real or complex numbers; what is not trained belongs in f"
            )
        try:
            holder, last = self._place(name)
            if last in holder._parameters:
                raise KeyError("two tensors have this name")
            holder.register_parameter(last, nn.Parameter(tensor.detach().clone()))
        except KeyError as error:
            raise LandscapeError(f"params: {name!r} cannot name a parameter ({error.args[0]}); rename it") from None

    def _place(self, name: str) -> tuple[nn.Module, str]:
        """Return the module that a tensor is registered in, and under which name: of ``"0.weight"`` module ``"0"``."""
        module: nn.Module = self
        *parts, last = name.split(".")
        for part in parts:
            if part not in module._modules:
                module.add_module(part, nn.Module())
            module = module.get_submodule(part)
        return module, last

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Return f at the parameters that stand here."""
        tensors = [module._parameters[last] for module, last in map(self._place, self._names)]
        return self._f(tree_unflatten(tensors, self._spec), *inputs, **named)


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
        return model(**inputs) if takes_keywords(model, inputs) else model(inputs)
    if isinstance(inputs, tuple) and not isinstance(inputs, nn.utils.rnn.PackedSequence):
        return model(*inputs)
    return model(inputs)


def takes_keywords(model: nn.Module, inputs: Mapping[str, Any]) -> bool:
    """Whether a mapping is a network's keyword arguments, rather than its input."""
    return bool(accepts(model, **inputs) or not accepts(model, None))


def accepts(model: nn.Module, *inputs: Any, **named: Any) -> bool | None:
    """Whether a network can be called with these arguments; `None` where it has no signature, as a script."""
    try:
        inspect.signature(model.forward).bind(*inputs, **named)
    except TypeError:
        return False
    except ValueError:
        return None
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
