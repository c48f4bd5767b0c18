"""Operations whose derivatives in PyTorch are missing or wrong, replaced by ones that are right while products are computed.

Found with torch 2.13 by comparing products with dense matrices: the double backward of the fused weight normalisation is wrong
(no error; the Hessian comes out asymmetric), `embedding_bag`, `cdist`, `pdist`, `hardsigmoid`, `multi_margin_loss` and `ctc_loss`
have no second derivative, those of a norm and of `sinc` are NaN or missing at zero, forward over reverse mode fails on `mse_loss`
(it ends the process in a trace), and `huber_loss`, `soft_margin_loss` have no forward mode for their gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from landscape.function.guard import inside_transform


def _reduced(values: Tensor, weight: Tensor | None, reduction: str) -> Tensor:
    weighted = values if weight is None else values * weight
    if reduction == "none":
        return weighted
    if reduction == "sum":
        return weighted.sum()
    return weighted.mean() if weight is None else weighted.sum() / weight.expand_as(values).sum()


def mse_loss(
    input: Tensor,
    target: Tensor,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
    weight: Tensor | None = None,
) -> Tensor:
    """`torch.nn.functional.mse_loss` from elementary operations."""
    return _reduced((input - target).square(), weight, reduction)


def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    """`torch.nn.functional.huber_loss` from elementary operations."""
    distance = (input - target).abs()
    values = torch.where(distance <= delta, distance.square() / 2, delta * (distance - delta / 2))
    return _reduced(values, weight, reduction)


def soft_margin_loss(
    input: Tensor, target: Tensor, size_average: None = None, reduce: None = None, reduction: str = "mean"
) -> Tensor:
    """`torch.nn.functional.soft_margin_loss` from elementary operations."""
    return _reduced(F.softplus(-target * input), None, reduction)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """`torch.nn.functional.hardsigmoid` from elementary operations."""
    return (input + 3).clamp(0, 6) / 6


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """`torch._weight_norm` from elementary operations: v g / ‖v‖."""
    return v * (g / torch.norm_except_dim(v, 2, dim))


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """`torch.nn.functional.embedding_bag` for sums and means, by looking up and adding."""
    if mode == "max":
        rest = (scale_grad_by_freq, mode, sparse, per_sample_weights, include_last_offset, padding_idx)
        return F.embedding_bag(input, weight, offsets, max_norm, norm_type, *rest)
    if offsets is None:
        bags, many = torch.arange(len(input), device=input.device).repeat_interleave(input.shape[1]), len(input)
    else:
        many = len(offsets) - include_last_offset
        places = torch.arange(len(input), device=input.device)
        bags = torch.searchsorted(offsets[:many].to(places.dtype), places, right=True) - 1
    words = input.flatten()
    counted = torch.ones_like(words, dtype=weight.dtype)
    if padding_idx is not None:
        counted = (words != padding_idx % len(weight)).to(weight.dtype)
    each = counted if per_sample_weights is None else counted * per_sample_weights.flatten()
    vectors = F.embedding(words, weight, None, max_norm, norm_type) * each[:, None]
    total = vectors.new_zeros(many, weight.shape[1]).index_add(0, bags, vectors)
    if mode == "sum":
        return total
    return total / counted.new_zeros(many).index_add(0, bags, counted).clamp_min(1)[:, None]


def euclidean(differences: Tensor, dim: Any = -1, keepdim: bool = False) -> Tensor:
    """The norm ‖x‖₂; where it is zero it has no derivative, and counts as flat, as in PyTorch's first derivative."""
    square = differences.square().sum(dim, keepdim=keepdim)
    zero = square == 0
    return torch.where(zero, 0, torch.where(zero, 1, square).sqrt())


def cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "") -> Tensor:
    """`torch.cdist` from differences, whatever the number of rows."""
    differences = x1.unsqueeze(-2) - x2.unsqueeze(-3)
    return euclidean(differences) if p == 2 else torch.linalg.vector_norm(differences, p, dim=-1)


def pdist(input: Tensor, p: float = 2.0) -> Tensor:
    """`torch.pdist` from differences."""
    rows, columns = torch.triu_indices(len(input), len(input), 1, device=input.device)
    differences = input[rows] - input[columns]
    return euclidean(differences) if p == 2 else torch.linalg.vector_norm(differences, p, dim=-1)


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """`torch.nn.functional.multi_margin_loss` from elementary operations."""
    own = target.unsqueeze(-1)
    gaps = (margin - input.gather(-1, own) + input).clamp_min(0) ** p
    if weight is not None:
        gaps = gaps * weight[own]
    values = gaps.scatter(-1, own, 0.0).sum(-1) / input.shape[-1]
    return _reduced(values, None, reduction)


def ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor | Sequence[int],
    target_lengths: Tensor | Sequence[int],
    blank: int = 0,
    reduction: str = "mean",
    zero_infinity: bool = False,
) -> Tensor:
    """`torch.nn.functional.ctc_loss` by the forward recursion, equations 6 to 8 of Graves et al. 2006, in logarithms."""
    steps, lengths = (torch.as_tensor(n, device=log_probs.device).reshape(-1) for n in (input_lengths, target_lengths))
    if log_probs.ndim == 2:
        log_probs = log_probs.unsqueeze(1)
    if targets.ndim == 1:
        targets = nn.utils.rnn.pad_sequence(list(targets.split(lengths.tolist())), batch_first=True)
    many, longest = targets.shape
    symbols = targets.new_full((many, 2 * longest + 1), blank)
    symbols[:, 1::2] = targets
    repeats = symbols.roll(2, 1) == symbols
    repeats[:, :2] = True
    never = torch.finfo(log_probs.dtype).min / 4  # an infinite number has no derivative
    emitted = log_probs.gather(2, symbols.expand(len(log_probs), -1, -1))
    alpha = emitted[0].index_fill(1, torch.arange(2, symbols.shape[1], device=symbols.device), never)
    for t in range(1, len(log_probs)):
        one, two = (F.pad(alpha, (by, 0), value=never)[:, : alpha.shape[1]] for by in (1, 2))
        onwards = torch.stack([alpha, one, two.masked_fill(repeats, never)]).logsumexp(0) + emitted[t]
        alpha = torch.where((t < steps)[:, None], onwards.clamp_min(never), alpha)
    ends = torch.stack([2 * lengths, (2 * lengths - 1).clamp_min(0)], 1)
    last = alpha.gather(1, ends).masked_fill(torch.stack([lengths < 0, lengths == 0], 1), never)
    losses = -last.logsumexp(1)
    losses = torch.where(losses < -never / 2, losses, 0.0 if zero_infinity else torch.inf)
    return (losses / lengths.clamp_min(1)).mean() if reduction == "mean" else _reduced(losses, None, reduction)


def sinc(input: Tensor) -> Tensor:
    """`torch.sinc`; around zero by its series, which has derivatives there."""
    z = torch.pi * input
    near = z.abs() < 0.03  # where the next term of the second derivative is 1e-13
    square = torch.where(near, z, 0).square()
    series = 1 - square / 6 * (1 - square / 20 * (1 - square / 42))
    away = torch.where(near, 1, z)
    return torch.where(near, series, away.sin() / away)


def norm(
    input: Tensor, p: Any = "fro", dim: Any = None, keepdim: bool = False, out: None = None, dtype: Any = None
) -> Tensor:
    """`torch.norm`; a Euclidean norm of zero is flat there, also in the second derivative."""
    value = torch.norm(input, p, dim, keepdim, out, dtype)
    if (
        not isinstance(p, int | float | str)
        or p not in ("fro", 2, 2.0)
        or inside_transform()
        or bool((value != 0).all())
    ):
        return value
    everything = tuple(range(input.ndim))
    return euclidean(input if dtype is None else input.to(dtype), everything if dim is None else dim, keepdim)


def vector_norm(x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """`torch.linalg.vector_norm`, as `norm`."""
    return (
        norm(x, ord, dim, keepdim, None, dtype)
        if ord == 2
        else torch.linalg.vector_norm(x, ord, dim, keepdim, dtype=dtype)
    )


_REPLACED: dict[Any, Callable[..., Tensor]] = {
    F.mse_loss: mse_loss,
    F.huber_loss: huber_loss,
    F.soft_margin_loss: soft_margin_loss,
    F.multi_margin_loss: multi_margin_loss,
    F.ctc_loss: ctc_loss,
    F.embedding_bag: embedding_bag,
    torch.cdist: cdist,
    torch.pdist: pdist,
    F.pdist: pdist,
    torch.norm: norm,
    Tensor.norm: norm,
    torch.linalg.vector_norm: vector_norm,
    torch._weight_norm: weight_norm,
    F.hardsigmoid: hardsigmoid,
    torch.sinc: sinc,
    Tensor.sinc: sinc,
}


class Rewrites(TorchFunctionMode):
    """Inside this block, calls of the operations above run their replacements.

    >>> with Rewrites():
    ...     F.mse_loss(torch.zeros(2), torch.tensor([1.0, 3.0]))
    tensor(5.)
    """

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call the replacement where there is one."""
        return _REPLACED.get(func, func)(*args, **(kwargs or {}))
