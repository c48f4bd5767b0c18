"""What identifies the function a result was measured on, and the machine."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from landscape._version import __version__
from landscape.hashing import fingerprint

if TYPE_CHECKING:
    from landscape.function.objective import Objective


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


def provenance(objective: Objective) -> dict[str, Any]:
    """Return versions, device and dtype, fingerprints of weights and data, and the loss in words."""
    names, device = objective.names, objective.device
    return {
        **environment(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "dtype": str(objective.dtype).removeprefix("torch."),
        "model": type(objective.model).__qualname__,
        "parameters": objective.size,
        "selection": "all" if len(names) == sum(1 for _ in objective.model.parameters()) else list(names),
        "weights_sha256": fingerprint(objective.theta, *objective.fixed.values()),
        "data_sha256": objective.batches.fingerprint(),
        "examples": objective.n,
        "loss": objective.loss_name,
        "mode": objective.mode,
    }
