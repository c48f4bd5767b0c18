"""Reader for the binary version of CIFAR-10 that the user already has (the pickled version is never read)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from landscape.datasets.split import Split, split_from_images
from landscape.errors import LandscapeError

_RECORD = 1 + 3 * 32 * 32
_TRAIN = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
_LIMIT = 1 << 30


def cifar10_binary(folder: str | os.PathLike[str], *, standardize: bool = True, flatten: bool = False) -> Split:
    """Read ``data_batch_1.bin`` … ``data_batch_5.bin`` and ``test_batch.bin`` from a folder.

    Args:
        folder: the unpacked ``cifar-10-batches-bin``.
        standardize: subtract each channel's training mean and divide by its training standard deviation.
        flatten: inputs of shape (N, 3072) rather than (N, 3, 32, 32).

    Returns:
        A `Split` of float32 inputs and int64 labels.

    Raises:
        LandscapeError: a file is missing, is not a whole number of 3,073-byte records, or holds a label above 9.

    Source: A. Krizhevsky, *Learning multiple layers of features from tiny images*, 2009; "binary version".
    """
    root = Path(folder)
    train = [_read_batch(root / name) for name in _TRAIN]
    return split_from_images(
        "cifar10-binary",
        (np.concatenate([images for images, _ in train]), np.concatenate([labels for _, labels in train])),
        _read_batch(root / "test_batch.bin"),
        maximum=255,
        classes=10,
        pooled=(0, 2, 3),
        standardize=standardize,
        flatten=flatten,
        arguments={"standardize": standardize, "flatten": flatten},
    )


def _read_batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    if not path.is_file():
        raise LandscapeError(
            f"{path.name} is not in {path.parent}; expected the files of CIFAR-10's binary version "
            "(the Python version is pickled and is not read)"
        )
    size = path.stat().st_size
    if size == 0 or size % _RECORD or size > _LIMIT:
        raise LandscapeError(f"{path.name}: {size} bytes; expected records of {_RECORD} (a label, 3 × 32 × 32 pixels)")
    records = np.fromfile(path, np.uint8).reshape(-1, _RECORD)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]
