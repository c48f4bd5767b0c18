"""Which parameters make up theta, and how a flat vector (P,) maps to named tensors and back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from math import prod

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from landscape.errors import LandscapeError

Selection = None | str | Iterable[str] | Callable[[str, Tensor], bool]


@dataclass(frozen=True)
class ParameterSpace:
    """The layout of theta: the selected tensors one after another, each flattened in C order.

    Attributes:
        names: parameter names as in ``model.named_parameters()`` (tied parameters appear once).
        shapes: their shapes; of complex ones (…, 2), because theta holds real and imaginary parts.
        dtypes: their own dtypes; theta is in ``dtype`` and each piece is cast back.
        dtype: dtype of the flat vector.

    >>> space = ParameterSpace.select(nn.Linear(3, 2))
    >>> space.size, space.names
    (8, ('weight', 'bias'))
    """

    names: tuple[str, ...]
    shapes: tuple[torch.Size, ...]
    dtypes: tuple[torch.dtype, ...]
    dtype: torch.dtype

    @classmethod
    def select(cls, model: nn.Module, parameters: Selection = None, dtype: torch.dtype | None = None) -> ParameterSpace:
        """Choose parameters of a model.

        Args:
            model: the network.
            parameters: `None` for every parameter that requires a gradient, one or several glob patterns over names
                (``"layer1.*"``), or a predicate ``(name, tensor) -> bool``.
            dtype: the dtype to compute in; `None` keeps each parameter's own.

        Raises:
            LandscapeError: a pattern matches nothing, nothing is selected, a parameter or the dtype is not floating point, a
                lazy module has not been called yet, weights have no values, or an embedding has ``max_norm``.
        """
        if dtype is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
            raise LandscapeError(f"dtype is {dtype!r}, expected a floating-point one such as torch.float64")
        named = dict(model.named_parameters())
        chosen = _choose(named, parameters)
        if not chosen:
            raise LandscapeError(
                f"no parameters are selected: the model has {len(named)}, "
                f"{sum(p.requires_grad for p in named.values())} of them trainable; pass parameters='*' to take all"
            )
        tensors = [named[name] for name in chosen]
        looked_up = [(n, m) for n, m in model.named_modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)]
        scaled = next((name for name, module in looked_up if module.max_norm is not None), None)
        if scaled is not None:
            raise LandscapeError(
                f"{scaled!r} has max_norm, so its forward pass changes its weights; scale them once and set max_norm = None"
            )
        lazy = next((name for name, tensor in named.items() if isinstance(tensor, UninitializedParameter)), None)
        if lazy is not None:
            raise LandscapeError(
                f"parameter {lazy!r} of a lazy module has no shape yet; call the model once: model(X[:2])"
            )
        absent = next((name for name, tensor in named.items() if tensor.is_meta), None)
        if absent is not None:
            raise LandscapeError(f"parameter {absent!r} is on the meta device, without values; load the weights first")
        for name, tensor in zip(chosen, tensors, strict=True):
            if not (tensor.is_floating_point() or tensor.is_complex()):
                raise LandscapeError(f"parameter {name!r} is {tensor.dtype}, expected floating point; leave it out")
        own = tuple(cast(t.dtype, dtype) for t in tensors)
        flat = own[0].to_real()
        for other in own:
            flat = torch.promote_types(flat, other.to_real())
        shapes = tuple(torch.Size([*t.shape, 2]) if t.is_complex() else t.shape for t in tensors)
        return cls(tuple(chosen), shapes, own, flat)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of elements of each tensor."""
        return tuple(prod(shape) for shape in self.shapes)

    @property
    def size(self) -> int:
        """P, the length of theta."""
        return sum(self.sizes)

    @property
    def slices(self) -> dict[str, slice]:
        """Where each named parameter lies in theta."""
        out, start = {}, 0
        for name, size in zip(self.names, self.sizes, strict=True):
            out[name] = slice(start, start + size)
            start += size
        return out

    def flatten(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Concatenate named tensors into one vector (P,)."""
        return torch.cat([_real(tensors[name]).reshape(-1).to(self.dtype) for name in self.names])

    def unflatten(self, theta: Tensor) -> dict[str, Tensor]:
        """Split a vector (P,) into named tensors: views of theta where they are real and no cast is needed."""
        pieces = theta.split(self.sizes)
        return {
            name: _as(piece.view(shape), dtype)
            for name, piece, shape, dtype in zip(self.names, pieces, self.shapes, self.dtypes, strict=True)
        }

    def mask(self, patterns: str | Iterable[str]) -> Tensor:
        """Return a boolean vector (P,) that is true on the parameters whose names match.

        Raises:
            LandscapeError: a pattern matches no selected parameter.
        """
        hit = set(match(self.names, patterns))
        return torch.cat([torch.full((size,), name in hit) for name, size in zip(self.names, self.sizes, strict=True)])


def cast(own: torch.dtype, dtype: torch.dtype | None) -> torch.dtype:
    """Return the type a tensor is computed in where a floating-point one was asked for; complex stays complex."""
    if dtype is None or not (own.is_floating_point or own.is_complex):
        return own
    return dtype.to_complex() if own.is_complex else dtype


def _real(tensor: Tensor) -> Tensor:
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def _as(piece: Tensor, dtype: torch.dtype) -> Tensor:
    if not dtype.is_complex:
        return piece.to(dtype)
    return torch.complex(*piece.to(dtype.to_real()).unbind(-1))  # a view as complex must begin at an even place


def match(names: Iterable[str], patterns: str | Iterable[str]) -> list[str]:
    """Return the names that match any glob pattern, in their own order.

    Raises:
        LandscapeError: a pattern matches nothing; the message proposes close names.

    >>> match(["conv.weight", "fc.weight", "fc.bias"], "fc.*")
    ['fc.weight', 'fc.bias']
    """
    names = list(names)
    if not isinstance(patterns, Iterable):
        raise LandscapeError(f"parameters are {patterns!r}, expected patterns of names such as 'fc.*', or a predicate")
    wanted = [patterns] if isinstance(patterns, str) else list(patterns)
    for pattern in wanted:
        if not isinstance(pattern, str) or not any(fnmatchcase(name, pattern) for name in names):
            near = get_close_matches(pattern, names, n=3, cutoff=0.3) or names[:3]
            raise LandscapeError(f"the pattern {pattern!r} matches no parameter; names look like {', '.join(near)}")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in wanted)]


def _choose(named: Mapping[str, Tensor], parameters: Selection) -> list[str]:
    if parameters is None:
        return [name for name, tensor in named.items() if tensor.requires_grad]
    if callable(parameters):
        return [name for name, tensor in named.items() if parameters(name, tensor)]
    return match(named, parameters)
