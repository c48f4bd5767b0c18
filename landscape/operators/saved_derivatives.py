"""Activations whose first and second derivatives are computed once and kept, while a graph is recorded for many products.

PyTorch writes the double backward of GELU, SiLU and tanh as a chain of elementwise operations that runs again in every
product: a third of the time of a product on an MLP (measured, CPU). Kept, the two derivatives cost one multiplication each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import pi
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from landscape.function.guard import inside_transform
from landscape.graphs import saving_is_hooked
from landscape.operators.rewrites import Rewrites

_aten = torch.ops.aten
_PLAIN: tuple[dict[str, Any], ...] = ({}, {"inplace": False}, {"approximate": "none"})


class SavedDerivatives(Rewrites):
    """Inside this block, smooth activations keep their derivatives; everything else is as in `Rewrites`.

    >>> x = torch.tensor(1.0, requires_grad=True)
    >>> with SavedDerivatives():
    ...     y = x.tanh()
    >>> (first,) = torch.autograd.grad(y, x, create_graph=True)
    >>> torch.autograd.grad(first, x)[0]  # −2 tanh (1 − tanh²)
    tensor(-0.6397)
    """

    hooked = False
    """Whether a tensor was saved through hooks, as in a checkpointed block, which runs again in every product."""

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Record an activation with its derivatives, outside checkpointed blocks (which run again) and transforms."""
        self.hooked = self.hooked or saving_is_hooked()
        smooth = _SMOOTH.get(func) if len(args) == 1 and (kwargs or {}) in _PLAIN else None
        # complex gradients are conjugates of these
        real = smooth and args[0].requires_grad and not args[0].is_complex()
        if real and not (saving_is_hooked() or inside_transform()):
            return _Activation.apply(args[0], smooth)
        return super().__torch_function__(func, types, args, kwargs)


@dataclass(frozen=True)
class _Smooth:
    """An elementwise function of x: its value y, and its derivatives from x and y."""

    value: Callable[[Tensor], Tensor]
    first: Callable[[Tensor, Tensor], Tensor]
    second: Callable[[Tensor, Tensor], Tensor]
    from_value: bool = False
    """Whether the second derivative needs y, which then cannot be changed in place, as in PyTorch itself."""


def _gelu_second(x: Tensor, y: Tensor) -> Tensor:
    """φ(x) (2 − x²) with the normal density φ."""
    square = x.square()
    return (square / -2).exp_().mul_((2 - square).mul_((2 * pi) ** -0.5))


def _silu_second(x: Tensor, y: Tensor) -> Tensor:
    """s (1 − s) (2 + x (1 − 2 s)) with the sigmoid s."""
    s = x.sigmoid()
    return torch.addcmul(torch.full_like(x, 2), x, 1 - 2 * s).mul_(s * (1 - s))


_GELU = _Smooth(F.gelu, lambda x, y: _aten.gelu_backward(torch.ones_like(x), x), _gelu_second)
_SILU = _Smooth(F.silu, lambda x, y: _aten.silu_backward(torch.ones_like(x), x), _silu_second)
_TANH = _Smooth(torch.tanh, lambda x, y: 1 - y.square(), lambda x, y: (1 - y.square()).mul_(y).mul_(-2), True)
_SMOOTH: dict[Any, _Smooth] = {
    F.gelu: _GELU,
    F.silu: _SILU,
    torch.tanh: _TANH,
    F.tanh: _TANH,
    Tensor.tanh: _TANH,
}


class _Activation(Function):
    """y = f(x)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, f: _Smooth) -> Tensor:
        y = f.value(x)
        first = f.first(x, y)
        ctx.save_for_backward(x, y if f.from_value else None, first)
        ctx.f = f
        return y

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None]:
        x, y, first = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return g * first, None
        with torch.no_grad():
            second = ctx.f.second(x, y)
        return _Pulled.apply(g, x, first, second), None


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
