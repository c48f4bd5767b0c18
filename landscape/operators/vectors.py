"""What goes into a product and what comes out: numpy in, numpy out; torch in, torch out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.errors import LandscapeError

HALF = (torch.float16, torch.bfloat16)


def received(
    V: Any, size: int, dtype: torch.dtype, device: torch.device, name: str
) -> tuple[Tensor, Callable[[Tensor], Any]]:
    """Check vectors and bring them to the operator.

    Args:
        V: A vector (P,) or columns (P, K); a tensor of the operator's dtype on its device (half-precision operators also
            take float32 and float64), or a real numpy array.
        size: P.
        dtype: The operator's dtype.
        device: The operator's device.
        name: The operator in messages.

    Returns:
        The columns (P, K), and a function that hands a product (P, K) back in the form of ``V``.

    Raises:
        LandscapeError: The type, shape, dtype or device is wrong.
    """
    if isinstance(V, np.ndarray):
        if not np.issubdtype(V.dtype, np.floating):
            raise LandscapeError(f"the vectors for the {name} are {V.dtype}, expected real floating point")
        columns = torch.as_tensor(V, device=device).to(dtype)
    elif isinstance(V, Tensor):
        allowed = (dtype, torch.float32, torch.float64) if dtype in HALF else (dtype,)
        if V.dtype not in allowed:
            raise LandscapeError(
                f"the vectors for the {name} are {V.dtype}, expected {dtype}; use V.to(operator.dtype)"
            )
        if V.device != device:
            raise LandscapeError(
                f"the vectors for the {name} are on {V.device}, expected {device}; use V.to('{device}')"
            )
        columns = V.detach()
    else:
        raise LandscapeError(f"the {name} multiplies torch tensors and numpy arrays, not {type(V).__name__}")
    if columns.ndim not in (1, 2) or columns.shape[0] != size:
        raise LandscapeError(
            f"the vectors for the {name} have shape {tuple(V.shape)}, expected ({size},) or ({size}, K)"
        )
    flat = columns.ndim == 1

    def hand_back(product: Tensor) -> Any:
        product = product[:, 0] if flat else product
        if isinstance(V, np.ndarray):
            return product.cpu().double().numpy().astype(V.dtype, copy=False)
        return product.to(V.dtype)

    return columns[:, None] if flat else columns, hand_back
