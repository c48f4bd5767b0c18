"""What identifies the function a result was measured on, and the machine."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape._version import __version__
from landscape.function.function import Function
from landscape.hashing import fingerprint, fingerprint_of_parts


def environment() -> dict[str, str]:
    """Return the versions that decide numbers.

    >>> sorted(environment())
    ['numpy', 'package', 'python', 'torch']
    """
    return {
        "package": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def identity(function: Function, theta: Tensor) -> dict[str, Any]:
    """Return versions, device and dtype, and what identifies a network at theta (P,): its kind and its weights."""
    names, device = function.names, function.device
    return {
        **environment(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "dtype": str(function.dtype).removeprefix("torch."),
        "model": type(function.model).__qualname__,
        "parameters": function.size,
        "selection": "all" if len(names) == sum(1 for _ in function.model.parameters()) else list(names),
        "weights_sha256": weights_sha256(function, theta),
    }


def weights_sha256(function: Function, theta: Tensor) -> str:
    """Hash theta (P,) and what the network holds besides; of a sharded network one parameter at a time."""
    if function.shards is None:
        return fingerprint(theta, *function.fixed.values())
    return fingerprint_of_parts(theta.dtype, function.size, function.shards.one_by_one(theta), *function.fixed.values())
