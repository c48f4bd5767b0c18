"""Reading HDF5 that a stranger may have written: nothing is executed, nothing outside the file is followed, and no size is
believed that the file could not fill. Whatever is wrong is a `LandscapeError` that says what.

`docs/study-file.md` says what a study defends against and what it does not.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from landscape.errors import LandscapeError
from landscape.store.values import from_attribute

_DEPTH = 12
_LARGEST = 2**28  # bytes of an array that may unfold from less than a sixteenth of its size
_HEAP = b"GCOL\x01\0\0\0"  # the signature and version of a collection of texts, in the HDF5 file format, III.E
_PLAIN = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING)
_H5_ERRORS = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)


@contextmanager
def opened(path: Path, *, expected: str = "a study file written by this package") -> Iterator[h5py.File]:
    """Open a file for reading within a `with` block; whatever HDF5 raises there becomes a `LandscapeError`."""
    _check_signature(path, expected)
    # through a file of our own: HDF5 refuses a second look at what the same process opened in another way
    with explained(path), open(path, "rb", buffering=0) as raw:
        check_not_edited(raw.fileno(), path)
        _check_heaps(raw.fileno(), path)
        with h5py.File(raw, "r") as file:
            yield file


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn the many exceptions of h5py into one `LandscapeError` that names the file and the reason."""
    try:
        yield
    except LandscapeError:
        raise
    except _H5_ERRORS as error:
        if "truncated file" in str(error):
            text = "is truncated: its end is missing"
        else:
            text = f"is damaged and cannot be read ({first_line(error)})"
        raise LandscapeError(f"{path.name} {text}; restore it from a copy") from error


def first_line(error: BaseException) -> str:
    """Return what an exception says, in one line without the paths of this machine."""
    text = str(error).strip() or type(error).__name__
    return re.sub(r"filename = '[^']*', ", "", text.splitlines()[0].strip("'\""))[:200]


def _check_heaps(fd: int, path: Path) -> None:
    """Raise when a heap of texts holds a free space of no length: one flipped bit makes it, and HDF5 never leaves it."""
    with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as content:
        start = content.find(_HEAP)
        while start >= 0:
            (size,) = struct.unpack_from("<Q", content, start + len(_HEAP))
            at, end = start + 16, min(start + size, len(content))
            while at + 16 <= end:
                index, length = struct.unpack_from("<H6xQ", content, at)
                if index == length == 0:
                    raise LandscapeError(f"{path.name} is damaged (its texts); restore it from a copy")
                at += 16 + (length + 7) // 8 * 8 if index else length
            start = content.find(_HEAP, start + 1)


def check_not_edited(fd: int, path: Path) -> None:
    """Raise when another program has an open file open for writing: what it writes may be half done, or lost in a copy."""
    if sys.platform == "win32":
        return  # there the file cannot even be opened
    import fcntl

    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(fd, fcntl.LOCK_UN)
    except BlockingIOError:
        raise LandscapeError(f"{path.name} is open for writing in another program; close it there first") from None
    except OSError:
        pass  # a file system without locks


def _check_signature(path: Path, expected: str) -> None:
    try:
        if path.is_dir():
            raise LandscapeError(f"{path.name} is a folder; expected {expected}")
        if h5py.is_hdf5(path):
            return
        with open(path, "rb") as file:
            what = "is no HDF5 file, or its first bytes are damaged" if os.fstat(file.fileno()).st_size else "is empty"
    except FileNotFoundError:
        raise LandscapeError(f"there is no file {path.name}; expected {expected}") from None
    except OSError as error:
        raise LandscapeError(f"cannot read {path.name}: {error.strerror}") from error
    raise LandscapeError(f"{path.name} {what}; expected {expected}")


def link_problem(group: h5py.Group, name: str) -> str | None:
    """Say why a member may not be followed, or `None` when it is an ordinary member."""
    if isinstance(group.get(name, getlink=True), h5py.HardLink):
        return None
    return f"'{group.name.rstrip('/')}/{name}' is a link to elsewhere, which is not followed"


def member(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset | None:
    """Return a member by its path below a group, following hard links only; `None` when it is absent."""
    for part in path.split("/"):
        if not isinstance(group, h5py.Group) or group.get(part, getlink=True, default=None) is None:
            return None
        if problem := link_problem(group, part):
            raise LandscapeError(f"{problem}; the file was not written by this package")
        group = group[part]
    return group


def walk(group: h5py.Group) -> Iterator[tuple[str, h5py.Group]]:
    """Yield (path, group) of all groups below one, parents first, each once whatever loops the file holds."""
    seen = {h5py.h5o.get_info(group.id).addr}
    stack = [("", group)]
    while stack:
        path, parent = stack.pop()
        if path:
            yield path, parent
        below = []
        for name in parent if path.count("/") < _DEPTH else ():
            if link_problem(parent, name) or parent.get(name, getclass=True) is not h5py.Group:
                continue
            child = parent[name]
            if (address := h5py.h5o.get_info(child.id).addr) not in seen:
                seen.add(address)
                below.append((f"{path}/{name}".lstrip("/"), child))
        stack.extend(reversed(below))


def read_dataset(dataset: Any) -> np.ndarray:
    """Return the values of a dataset after checking what it is and how large."""
    if not isinstance(dataset, h5py.Dataset):
        raise LandscapeError(f"{getattr(dataset, 'name', 'a part')!r} is missing or no dataset")
    if problem := dataset_problem(dataset):
        raise LandscapeError(f"{dataset.name!r} {problem}; it is not read")
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return np.asarray(dataset.asstr()[()], dtype=object)
    return np.asarray(dataset[()])


def dataset_problem(dataset: h5py.Dataset) -> str | None:
    """Say what is wrong with a dataset before anything is allocated for it, or `None`."""
    if dataset.id.get_type().get_class() not in _PLAIN and dataset.dtype != np.bool_:
        return f"holds {dataset.dtype} values, expected plain numbers or text"
    storage = dataset.id.get_create_plist()
    if storage.get_layout() == h5py.h5d.VIRTUAL or storage.get_external_count():
        return "keeps its values in other files"
    if dataset.shape is None:
        return "has no shape"
    text = h5py.check_string_dtype(dataset.dtype)
    width = 16 if text is not None and text.length is None else dataset.dtype.itemsize
    largest = max(math.prod(dataset.shape), math.prod(dataset.chunks or ())) * width
    if largest > _LARGEST and largest > 16 * (stored := dataset.id.get_storage_size()):
        return f"claims {largest} bytes but stores {stored}"
    return None


def read_attribute(owner: h5py.Group | h5py.Dataset, name: str, *, is_json: bool = False) -> Any:
    """Return one attribute as a Python value, or `None` when it is absent."""
    key = name.encode()
    if not h5py.h5a.exists(owner.id, key):
        return None
    attribute = h5py.h5a.open(owner.id, key)
    kind = attribute.get_type().get_class()
    if (
        (is_json and kind != h5py.h5t.STRING)
        or attribute.shape != ()
        or (kind not in _PLAIN and attribute.dtype != np.bool_)
    ):
        raise LandscapeError(f"the attribute {name!r} of {owner.name!r} is no single number or text")
    try:
        return from_attribute(owner.attrs[name], is_json)
    except LandscapeError as error:
        raise LandscapeError(f"the attribute {name!r} of {owner.name!r} cannot be read: {error}") from error
