"""Activations whose first and second derivatives are computed once and kept, while a graph is recorded for many products.

PyTorch writes the double backward of GELU, SiLU, Mish and tanh as a chain of elementwise operations that runs again in every
product: a third of the time of a product on an MLP (measured, CPU). Kept, the two derivatives cost one multiplication each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from landscape.operators.rewrites import Rewrites
from landscape.tracing import inside_transform, saving_is_hooked

_ACTIVATIONS: frozenset[Any] = frozenset({F.gelu, F.silu, F.mish, F.tanh, torch.tanh, Tensor.tanh})


class SavedDerivatives(Rewrites):
    """Inside this block, smooth activations keep their derivatives; everything else is as in `Rewrites`.

    >>> x = torch.tensor(1.0, requires_grad=True)
    >>> with SavedDerivatives():
    ...     y = x.tanh()
    >>> (first,) = torch.autograd.grad(y, x, create_graph=True)
    >>> torch.autograd.grad(first, x)[0]  # −2 tanh (1 − tanh²)
    tensor(-0.6397)
    """

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Record an activation with its derivatives, outside checkpointed blocks (which run again) and transforms."""
        options = dict(kwargs or {})
        smooth = func in _ACTIVATIONS and len(args) == 1 and not options.get("inplace")
        if smooth and args[0].requires_grad and not saving_is_hooked() and not inside_transform():
            return _Activation.apply(args[0], partial(func, **options))
        return super().__torch_function__(func, types, args, options)


def _slopes(f: Callable[[Tensor], Tensor], x: Tensor, order: int) -> list[Tensor]:
    """Return f(x), f′(x), … up to an order, for an elementwise function."""
    values = []
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        value = f(x)
        for _ in range(order):
            values.append(value.detach())
            (value,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    return [*values, value.detach()]


class _Activation(Function):
    """y = f(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
        value, first = _slopes(f, x, 1)
        ctx.save_for_backward(x, first)
        ctx.f = f
        return value

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        x, first = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return g * first, None
        return _Pulled.apply(g, x, first, _slopes(ctx.f, x, 2)[2]), None


class _Pulled(Function):
    """g f′(x), linear in the cotangent g; what it keeps for its own derivative are f′ and g f″."""

    @staticmethod
    def forward(ctx: Any, g: Tensor, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        ctx.save_for_backward(first, g * second)
        return g * first

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
        first, bent = ctx.saved_tensors
        along_g, along_x = ctx.needs_input_grad[:2]
        return u * first if along_g else None, u * bent if along_x else None, None, None
