"""Fingerprints of tensors, equal for equal values, whatever the device, the memory layout or the batches; and of versions."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from landscape._version import __version__


def tensor_bytes(tensor: Tensor) -> bytes:
    """Return the values of a tensor as bytes, in C order; of a sparse one its indices and values."""
    if tensor.layout is not torch.strided:
        sparse = tensor.detach().to_sparse_coo().coalesce()
        return tensor_bytes(sparse.indices()) + tensor_bytes(sparse.values())
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def fingerprint(*tensors: Tensor) -> str:
    """Hash tensors: the sha256 of each one's dtype, shape and bytes, in the order given.

    Args:
        tensors: any dense tensors, on any device.

    Returns:
        64 hexadecimal digits. Equal for equal values, shapes and dtypes, whatever the device or memory layout.

    >>> fingerprint(torch.zeros(2))[:8], fingerprint(torch.zeros(2, 1))[:8]
    ('21ff1b76', '302c9b09')
    """
    digest = hashlib.sha256()
    update(digest, tensors)
    return digest.hexdigest()


def fingerprint_of_parts(dtype: torch.dtype, size: int, parts: Iterable[Tensor], *tensors: Tensor) -> str:
    """Return the `fingerprint` of a vector (size,) given in parts, and of further tensors.

    >>> fingerprint_of_parts(torch.float32, 2, [torch.zeros(1), torch.zeros(1)]) == fingerprint(torch.zeros(2))
    True
    """
    digest = hashlib.sha256(f"{dtype}({size},)".encode())
    for part in parts:
        digest.update(tensor_bytes(part))
    update(digest, tensors)
    return digest.hexdigest()


def update(digest: hashlib._Hash, tensors: Iterable[Tensor]) -> None:
    """Go on with a `fingerprint`: dtype, shape and bytes of each of further tensors."""
    for tensor in tensors:
        digest.update(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor_bytes(tensor))


def batched_fingerprint(batches: Iterable[Sequence[Tensor]]) -> str:
    """Hash a data set given batch by batch; how it is cut into batches makes no difference.

    Args:
        batches: the tensors of each batch, always in the same order; the first dimension is the example.

    >>> x = torch.arange(6.0).reshape(3, 2)
    >>> batched_fingerprint([[x]]) == batched_fingerprint([[x[:1]], [x[1:]]])
    True
    """
    columns: dict[int, hashlib._Hash] = {}
    for tensors in batches:
        for position, tensor in enumerate(tensors):
            if position not in columns:
                columns[position] = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape[1:])}".encode())
            columns[position].update(tensor_bytes(tensor))
    whole = hashlib.sha256()
    for column in columns.values():
        whole.update(column.digest())
    return whole.hexdigest()


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
