"""Logits of fixed length: a loss that no temperature can lower."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landscape.errors import NotDefinedError


def normalize_logits(logits: Tensor, *, dim: int = 1) -> Tensor:
    r"""Centre the logits of each example and scale them to unit length.

    $z \to (z - \bar z) / \max(\lVert z - \bar z \rVert_2, 10^{-10})$.

    Args:
        logits: (N, C, …).
        dim: the dimension of the classes.

    Returns:
        Logits of the same shape.

    Raises:
        NotDefinedError: fewer than two classes.

    Source: Andriushchenko et al. 2023 (arXiv 2302.07011), §4.1.

    >>> normalize_logits(torch.tensor([[3.0, 1.0]])).tolist()
    [[0.7071067690849304, -0.7071067690849304]]
    """
    if not -logits.ndim <= dim < logits.ndim or logits.shape[dim] < 2:
        raise NotDefinedError(
            f"Logit normalisation needs at least two classes along dimension {dim}, and logits have shape "
            f"{tuple(logits.shape)}: it is not defined for regression."
        )
    centred = logits - logits.mean(dim=dim, keepdim=True)
    length = torch.linalg.vector_norm(centred, dim=dim, keepdim=True)
    return centred / length.clamp_min(1e-10)


def normalized_cross_entropy(logits: Tensor, target: Tensor, **options: Any) -> Tensor:
    r"""Return the cross-entropy of normalised logits.

    It lies in a fixed band, from $\log(1 + (C-1) e^{-\sqrt{C/(C-1)}})$ for perfect predictions: 0.21762 for C = 2,
    0.46226 for 3, 1.41987 for 10 and 3.61730 for 100; a network without preference has log C.

    Args:
        logits: (N, C, …).
        target: class indices (N, …).
        options: of `torch.nn.functional.cross_entropy`, such as ``reduction``.

    Returns:
        The loss.

    Raises:
        NotDefinedError: fewer than two classes.

    Source: Andriushchenko et al. 2023 (arXiv 2302.07011), §4.1.

    >>> round(normalized_cross_entropy(torch.tensor([[9.0, -9.0]]), torch.tensor([0])).item(), 5)
    0.21762
    """
    return F.cross_entropy(normalize_logits(logits), target, **options)


class LogitNormalized(nn.Module):
    """A network whose logits are normalised; the wrapped one is used as it is, not copied.

    >>> net = LogitNormalized(nn.Linear(2, 3))
    >>> round(net(torch.ones(1, 2)).norm().item(), 5)
    1.0
    """

    def __init__(self, model: nn.Module, *, dim: int = 1) -> None:
        super().__init__()
        self.model, self.dim = model, dim

    def forward(self, *inputs: Any, **options: Any) -> Tensor:
        """Return the wrapped network's logits, normalised."""
        return normalize_logits(self.model(*inputs, **options), dim=self.dim)
