"""The whole spectrum of a small operator."""

from __future__ import annotations

import numpy as np
import torch

from landscape.operators import Operator


def spectrum(op: Operator) -> np.ndarray:
    """Return all eigenvalues of a small operator, (P,), ascending, from P products."""
    dense = op.dense().double()
    values: np.ndarray = torch.linalg.eigvalsh((dense + dense.T) / 2).cpu().numpy()
    return values
