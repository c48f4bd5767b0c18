"""Operations whose derivatives in PyTorch are missing or wrong, replaced by ones that are right while products are computed.

Found with torch 2.13 by comparing products with dense matrices: the double backward of the fused weight normalisation is wrong
(no error; the Hessian comes out asymmetric), forward over reverse mode fails on `mse_loss` (and ends the process when
traced), and `huber_loss`, `soft_margin_loss` have no forward mode for their gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode


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


def weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    """`torch._weight_norm` from elementary operations: v g / ‖v‖."""
    return v * (g / torch.norm_except_dim(v, 2, dim))


_REPLACED: dict[Any, Callable[..., Tensor]] = {
    F.mse_loss: mse_loss,
    F.huber_loss: huber_loss,
    F.soft_margin_loss: soft_margin_loss,
    torch._weight_norm: weight_norm,
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
