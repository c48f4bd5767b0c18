"""Readers for files the user already has: MNIST's IDX files and their kin, and the binary version of CIFAR-10."""

from __future__ import annotations

import gzip
import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from landscape.datasets.split import Split, split_from_images
from landscape.errors import LandscapeError

_UNSIGNED_BYTE = 0x08
_RECORD = 1 + 3 * 32 * 32
_LIMIT = 1 << 30


def mnist_idx(folder: str | os.PathLike[str], *, standardize: bool = True, flatten: bool = False) -> Split:
    """Read the four IDX files of MNIST from a folder.

    Args:
        folder: holds ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the two ``t10k-`` files, each
            as it is or with ``.gz``.
        standardize: subtract the training mean and divide by the training standard deviation, one of each for all
            pixels (a border pixel inked in one image of 60,000 would be blown up by a scale of its own).
        flatten: inputs of shape (N, 784) rather than (N, 1, 28, 28).

    Returns:
        A `Split` of float32 inputs and int64 labels.

    Raises:
        LandscapeError: a file is missing, is not IDX of unsigned bytes, or its size is not what its header declares.

    Source: Y. LeCun, C. Cortes, C. Burges, *The MNIST database*, section "File formats".
    """
    root, parts = Path(folder), []
    for prefix in ("train", "t10k"):
        images = read_idx(_find(root, f"{prefix}-images-idx3-ubyte"), dimensions=3)
        parts.append((images[:, None], read_idx(_find(root, f"{prefix}-labels-idx1-ubyte"), dimensions=1)))
    how: dict[str, Any] = {"standardize": standardize, "flatten": flatten}
    return split_from_images("mnist-idx", *parts, maximum=255, pooled=(0, 2, 3), **how)


def read_idx(path: Path, *, dimensions: int) -> np.ndarray:
    """Read one IDX file of unsigned bytes, refusing a size that its header does not declare before allocating it.

    Args:
        path: the file; a name that ends in ``.gz`` is decompressed, never beyond the declared size.
        dimensions: number of axes expected: 1 for labels, 3 for images.

    Returns:
        A uint8 array.

    Raises:
        LandscapeError: not an IDX file of unsigned bytes with that many axes, or one that is shorter or longer.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as stream:
            shape = _header(stream, path.name, dimensions)
            size = math.prod(shape)
            if size > _LIMIT:
                raise LandscapeError(f"{path.name}: declares {size} bytes; expected at most {_LIMIT}; is it IDX?")
            if path.suffix != ".gz":
                _check_size(path.name, path.stat().st_size - 4 - 4 * dimensions, size)
            content = stream.read(size + 1)
    except (OSError, EOFError) as error:
        raise LandscapeError(f"{path.name}: cannot be read ({error}); fetch the file again") from error
    _check_size(path.name, len(content), size)
    return np.frombuffer(content, np.uint8).reshape(shape)


def _header(stream: BinaryIO | gzip.GzipFile, name: str, dimensions: int) -> tuple[int, ...]:
    head = stream.read(4 + 4 * dimensions)
    if len(head) < 4 + 4 * dimensions or head[:4] != bytes([0, 0, _UNSIGNED_BYTE, dimensions]):
        raise LandscapeError(
            f"{name}: starts with {head[:4].hex()}; expected an IDX header 000008{dimensions:02x} "
            f"(unsigned bytes, {dimensions} axes)"
        )
    return tuple(int(length) for length in np.frombuffer(head, ">u4", offset=4))


def _check_size(name: str, found: int, declared: int) -> None:
    if found != declared:
        what = f"{found} bytes" if found < declared else "more bytes"
        raise LandscapeError(f"{name}: {what} of data where the header declares {declared}; fetch the file again")


def _find(root: Path, name: str) -> Path:
    for candidate in (root / name, root / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise LandscapeError(f"{name} (or {name}.gz) is not in {root}; expected a folder with the four MNIST IDX files")


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
    images, labels = zip(*(_read_batch(root / f"data_batch_{number}.bin") for number in range(1, 6)), strict=True)
    train, test = (np.concatenate(images), np.concatenate(labels)), _read_batch(root / "test_batch.bin")
    how: dict[str, Any] = {"standardize": standardize, "flatten": flatten}
    return split_from_images("cifar10-binary", train, test, maximum=255, pooled=(0, 2, 3), **how)


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
