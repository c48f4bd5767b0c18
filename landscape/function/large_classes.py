"""Cross-entropy over many classes, twice differentiable, with one copy of the logits kept where PyTorch keeps five.

PyTorch's own keeps the log-probabilities of the forward pass, and its second derivative makes probabilities, their products with
what comes in, and differences of these. Here the logits are kept, and softmax is taken again, a few rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

LARGE = 2**22
"""Logits of a batch from which on it pays: 16 MB in float32."""
ROWS_BYTES = 2**20
"""Memory for the rows whose softmax is taken at once; they stay in the cache: 2^23 takes 1.2 times as long."""


def cross_entropy(logits: Tensor, target: Tensor, weight: Tensor | None, ignore: int, *, mean: bool) -> Tensor:
    r"""Return :math:`\sum_i w_{y_i}\,(\log\sum_k e^{f_{ik}} - f_{iy_i})`, over :math:`\sum_i w_{y_i}` for a mean.

    Args:
        logits: f, (n, C) or (n, C, …).
        target: class indices (n, …); those equal to `ignore` do not count.
        weight: (C,), or `None` for ones.
        ignore: the index that is not counted.
        mean: whether it is divided by the sum of weights.

    >>> f, y = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([2])
    >>> bool((cross_entropy(f, y, None, -100, mean=True) - torch.nn.functional.cross_entropy(f, y)).abs() < 1e-6)
    True
    """
    rows, y = logits.movedim(1, -1).reshape(-1, logits.shape[1]), target.reshape(-1)
    counted = y != ignore
    y = torch.where(counted, y, 0)
    w = counted.to(rows.dtype) if weight is None else torch.where(counted, weight[y], 0.0)
    total = _Loss.apply(rows, y, w)
    return total / w.sum() if mean else total


def _chunks(logits: Tensor) -> Iterator[slice]:
    step = max(1, ROWS_BYTES // (logits.shape[1] * logits.element_size()))
    return (slice(i, i + step) for i in range(0, len(logits), step))


class _Loss(Function):
    """Σ_i w_i (log Σ_k exp f_ik − f_iy)."""

    @staticmethod
    def forward(logits: Tensor, y: Tensor, w: Tensor) -> Tensor:
        logs = torch.cat([logits[rows].logsumexp(1) for rows in _chunks(logits)])
        return (w * (logs - logits.gather(1, y[:, None])[:, 0])).sum()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        return _Gradient.apply(g, *ctx.saved_tensors), None, None


class _Gradient(Function):
    """g w_i (p_i − e_y), with p the softmax."""

    @staticmethod
    def forward(g: Tensor, logits: Tensor, y: Tensor, w: Tensor) -> Tensor:
        out = torch.empty_like(logits)
        for rows in _chunks(logits):
            torch.mul(logits[rows].softmax(1), g * w[rows, None], out=out[rows])
        return out.scatter_add_(1, y[:, None], -(g * w)[:, None])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, u: Tensor) -> tuple[Tensor | None, ...]:
        """Return ⟨u, w (p − e_y)⟩ and g w p ∘ (u − ⟨p, u⟩)."""
        g, logits, y, w = ctx.saved_tensors
        out, along = torch.empty_like(logits), torch.empty_like(w)
        for rows in _chunks(logits):
            p = logits[rows].softmax(1)
            along[rows] = torch.linalg.vecdot(p, u[rows])
            torch.sub(u[rows], along[rows, None], out=out[rows]).mul_(p).mul_(g * w[rows, None])
        return (w * (along - u.gather(1, y[:, None])[:, 0])).sum(), out, None, None
