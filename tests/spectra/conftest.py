"""Operators with known spectra."""

from collections.abc import Callable

import numpy as np
import pytest
import torch


def dense(eigenvalues, seed=0, dtype=torch.float64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    size = len(eigenvalues)
    vectors = torch.linalg.qr(torch.randn(size, size, dtype=torch.float64, generator=generator))[0]
    matrix = (vectors * torch.as_tensor(np.asarray(eigenvalues, dtype=float))) @ vectors.T
    return ((matrix + matrix.T) / 2).to(dtype)


@pytest.fixture
def matrix_with() -> Callable[..., torch.Tensor]:
    """Make a dense symmetric matrix (P, P) from its eigenvalues."""
    return dense


class Counting:
    """A dense matrix that counts the vectors it multiplies and may do something on each product."""

    name = "counting"

    def __init__(self, matrix: torch.Tensor, act: Callable[[int, torch.Tensor], torch.Tensor] | None = None) -> None:
        self.matrix, self.act, self.count = matrix, act, 0
        self.shape, self.dtype, self.device = matrix.shape, matrix.dtype, matrix.device

    def __matmul__(self, other: torch.Tensor) -> torch.Tensor:
        self.count += 1 if other.ndim == 1 else other.shape[1]
        product = self.matrix @ other
        return self.act(self.count, product) if self.act else product


@pytest.fixture
def counting() -> type[Counting]:
    """Make an operator that counts, and that a test can break."""
    return Counting
