"""Opening files of strangers: sizes are checked before anything is allocated, pickles and links are refused."""

from __future__ import annotations

import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from landscape.errors import LandscapeError
from landscape.store.safe import member, opened, read_dataset

LARGEST = 2**30
"""Bytes of the largest array or text that is read: planes are a thousand times smaller."""


@contextmanager
def hdf5(path: str | os.PathLike[str], what: str) -> Iterator[h5py.File]:
    """Open an HDF5 file for reading in a `with` block.

    Args:
        path: the file.
        what: what is expected, for the messages.

    Raises:
        LandscapeError: the file is missing, no HDF5 file, truncated or damaged.
    """
    file = readable(path, what)
    if not h5py.is_hdf5(file):
        raise LandscapeError(f"{file.name} is no HDF5 file, or its first bytes are damaged; expected {what}")
    with opened(file) as handle:
        yield handle


def numbers(file: h5py.Group, name: str) -> np.ndarray:
    """Return a dataset of plain numbers as float64.

    Raises:
        LandscapeError: it is missing, a link, holds something else or claims more than is stored.
    """
    found = member(file, name)
    if not isinstance(found, h5py.Dataset):
        raise LandscapeError(f"the file holds no array {name!r}; it is of another kind")
    return _as_float(read_dataset(found), name)


def npz(path: str | os.PathLike[str], what: str) -> dict[str, np.ndarray]:
    """Return the arrays of an ``.npz`` file as float64.

    Args:
        path: the file.
        what: what is expected, for the messages.

    Raises:
        LandscapeError: the file is missing, damaged, holds objects (pickles) or claims more than is stored.
    """
    file = readable(path, what)
    try:
        with zipfile.ZipFile(file) as archive:
            return {
                info.filename.removesuffix(".npy"): _as_float(_npy(archive, info), info.filename)
                for info in archive.infolist()
            }
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError, zlib.error) as error:
        if isinstance(error, LandscapeError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise LandscapeError(f"{file.name} cannot be read as {what}: {reason}") from error


def readable(path: str | os.PathLike[str], what: str) -> Path:
    """Return the path of an existing file.

    Raises:
        LandscapeError: there is none.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise LandscapeError(f"there is no file {file.name}; expected {what}")
    return file


def _npy(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """Read one array after comparing what its header claims with what the archive stores."""
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(stream)
    if dtype.hasobject:
        raise LandscapeError(f"the array {info.filename!r} holds Python objects, which are not read: they can run code")
    needed = math.prod(shape) * dtype.itemsize
    if needed > min(info.file_size, LARGEST) or info.file_size > 1032 * max(info.compress_size, 1):
        raise LandscapeError(f"the array {info.filename!r} claims {needed} bytes, the file holds fewer; it is damaged")
    with archive.open(info) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def _as_float(values: Any, name: str) -> np.ndarray:
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise LandscapeError(f"{name!r} holds {array.dtype} values, expected numbers")
    return array.astype(np.float64)
