"""The diagonal and the norm by multiplying every unit vector: the answer when the budget reaches P."""

from __future__ import annotations

import numpy as np
import torch

from landscape.spectra.orthonormal import host
from landscape.spectra.protocol import Products


def exact_diagonal(products: Products) -> tuple[np.ndarray, float]:
    """Return the diagonal (P,) and ‖A‖²_F from P products.

    >>> exact_diagonal(Products(torch.tensor([[1.0, 2.0], [2.0, 3.0]])))
    (array([1., 3.]), 18.0)
    """
    block = max(16, products.block_size)
    entries, squares = [], 0.0
    for start in range(0, products.size, block):
        index = torch.arange(start, min(start + block, products.size), device=products.device)
        units = torch.zeros(len(index), products.size, dtype=products.dtype, device=products.device)
        units[torch.arange(len(index)), index] = 1
        columns = products.rows(units).double()
        entries.append(host(columns[torch.arange(len(index)), index]))
        squares += float((columns * columns).sum())
        products.require_finite(squares)
    return np.concatenate(entries), squares
