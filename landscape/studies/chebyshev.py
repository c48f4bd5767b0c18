"""The smallest problem on which training reaches the edge of stability: one hidden layer learns a Chebyshev polynomial."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from landscape.datasets.split import Pair
from landscape.errors import LandscapeError
from landscape.models.common import seeded

GAIN = 1.9
"""Of the Xavier initialisation of the first layer, so that tanh is not linear at the start."""


def chebyshev_data(degree: int, points: int = 20) -> Pair:
    """Return points evenly spaced on [−1, 1] and the Chebyshev polynomial of the first kind there.

    Args:
        degree: k of T_k.
        points: N.

    Returns:
        Inputs (N, 1) and targets (N, 1), in float32.

    Raises:
        LandscapeError: a negative degree, or fewer than two points.

    Source: Cohen et al. 2021 (arXiv 2103.00065), appendix; their data set ``chebyshev-k-20``.

    >>> X, y = chebyshev_data(3)
    >>> bool(torch.allclose(y, 4 * X**3 - 3 * X, atol=1e-6)), tuple(X.shape)
    (True, (20, 1))
    """
    if degree < 0 or points < 2:
        raise LandscapeError(f"degree={degree}, points={points}; expected a degree of at least 0 and two points")
    X = np.linspace(-1.0, 1.0, points)
    y = np.polynomial.Chebyshev.basis(degree)(X)
    return torch.from_numpy(X).float()[:, None], torch.from_numpy(y).float()[:, None]


def chebyshev_network(hidden: int = 10, *, seed: int = 0) -> nn.Sequential:
    """Build one hidden tanh layer: Xavier normal weights (gain 1.9 in the first layer), no bias at the output.

    Args:
        hidden: units h; P = 3h.
        seed: of the weights.

    Returns:
        A module from (N, 1) to (N, 1).

    Source: Cohen et al. 2021 (arXiv 2103.00065), the network of their Chebyshev experiments.

    >>> sum(p.numel() for p in chebyshev_network().parameters())
    30
    """
    with seeded(seed):
        first, last = nn.Linear(1, hidden), nn.Linear(hidden, 1, bias=False)
        nn.init.xavier_normal_(first.weight, gain=GAIN)
        nn.init.zeros_(first.bias)
        nn.init.xavier_normal_(last.weight)
    return nn.Sequential(first, nn.Tanh(), last)


def half_squared_error(output: Tensor, target: Tensor) -> Tensor:
    """Return ½‖f(x) − y‖², summed over outputs, averaged over examples.

    >>> float(half_squared_error(torch.tensor([[3.0], [1.0]]), torch.zeros(2, 1)))
    2.5
    """
    return 0.5 * (output - target).square().sum() / len(output)
