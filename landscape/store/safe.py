"""Reading HDF5 from strangers: nothing outside the file is followed, no size is believed before it is checked.

Only hard links are followed (no soft, external or user-defined ones), only plain numbers and text are read (no object
or compound types, references, virtual or external storage), filters are those we write, and an array is allocated
only when the bytes stored can hold it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from landscape.errors import LandscapeError
from landscape.store.text import from_attribute

_DEPTH = 12
_RATIO = 1032  # deflate cannot expand further
_LARGEST = 2**30  # bytes of an array that unfolds from less than a sixteenth of its size
_FILTERS = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}
_H5_ERRORS = (OSError, KeyError, RuntimeError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading within a `with` block; whatever HDF5 raises there becomes a `LandscapeError`.

    Raises:
        LandscapeError: the file is missing, foreign, truncated or damaged; the message says which.
    """
    _check_signature(path)
    # through a file of our own: HDF5 refuses a second look at what the same process opened in another way
    with explained(path), open(path, "rb", buffering=0) as raw, h5py.File(raw, "r") as file:
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
            text = "is truncated: its end is missing; restore it from a copy"
        elif "already open for write" in str(error):
            text = "is open for writing elsewhere: close it there, or run h5clear -s on it when that program died"
        else:
            text = f"is damaged and cannot be read ({first_line(error)}); restore it from a copy"
        raise LandscapeError(f"{path.name} {text}") from error


def first_line(error: BaseException) -> str:
    """Return what an exception says, in one line without the paths of this machine."""
    text = str(error).strip() or type(error).__name__
    return re.sub(r"filename = '[^']*', ", "", text.splitlines()[0].strip("'\""))[:200]


def _check_signature(path: Path) -> None:
    if path.is_dir():
        raise LandscapeError(f"{path.name} is a folder; expected a study file such as 'study.h5'")
    try:
        if h5py.is_hdf5(path):
            return
        with open(path, "rb") as file:
            start = file.read(8)
    except FileNotFoundError:
        raise LandscapeError(f"there is no file {path.name}; expected a study file written by this package") from None
    except OSError as error:
        raise LandscapeError(f"cannot read {path.name}: {error.strerror}") from error
    what = "is empty" if not start else "is no HDF5 file, or its first bytes are damaged"
    raise LandscapeError(f"{path.name} {what}; expected a study file written by this package")


def link_problem(group: h5py.Group, name: str) -> str | None:
    """Say why a member may not be followed, or `None` when it is an ordinary member."""
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.HardLink):
        return None
    return f"'{group.name.rstrip('/')}/{name}' is a link to elsewhere, which is not followed"


def member(group: h5py.Group, path: str) -> h5py.Group | h5py.Dataset | None:
    """Return a member by its path below a group, following hard links only; `None` when it is absent.

    Raises:
        LandscapeError: a part of the path is a soft, external or user-defined link.
    """
    for part in path.split("/"):
        if not isinstance(group, h5py.Group) or group.get(part, getlink=True, default=None) is None:
            return None
        if problem := link_problem(group, part):
            raise LandscapeError(f"{problem}; the file was not written by this package")
        group = group[part]
    return group


def walk(group: h5py.Group) -> Iterator[tuple[str, h5py.Group]]:
    """Yield (path, group) of all groups below one, each once, whatever loops the file holds."""
    seen = {h5py.h5o.get_info(group.id).addr}
    stack = [(group, "", 0)]
    while stack:
        parent, path, depth = stack.pop()
        below = []
        for name in parent if depth < _DEPTH else ():
            if link_problem(parent, name) or parent.get(name, getclass=True) is not h5py.Group:
                continue
            child = parent[name]
            address = h5py.h5o.get_info(child.id).addr
            if address not in seen:
                seen.add(address)
                below.append((child, f"{path}/{name}".lstrip("/"), depth + 1))
        for child, below_path, _ in below:
            yield below_path, child
        stack.extend(reversed(below))


def read_dataset(dataset: Any) -> np.ndarray:
    """Return the values of a dataset after checking what it is and how large.

    Raises:
        LandscapeError: its type, storage, filters or size are not those of a plain stored array.
    """
    if not isinstance(dataset, h5py.Dataset):
        raise LandscapeError(f"{getattr(dataset, 'name', 'a part')!r} is missing or no dataset")
    if problem := dataset_problem(dataset):
        raise LandscapeError(f"{dataset.name!r} {problem}; it is not read")
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return np.asarray(dataset.asstr()[()], dtype=object)
    return np.asarray(dataset[()])


def dataset_problem(dataset: h5py.Dataset) -> str | None:
    """Say what is wrong with a dataset before anything is allocated for it, or `None`."""
    kind = dataset.id.get_type().get_class()
    text = h5py.check_string_dtype(dataset.dtype)
    if kind not in (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING) and dataset.dtype != np.bool_:
        return f"holds {dataset.dtype} values, expected plain numbers or text"
    storage = dataset.id.get_create_plist()
    if storage.get_layout() == h5py.h5d.VIRTUAL or storage.get_external_count():
        return "keeps its values in other files"
    used = {storage.get_filter(i)[0] for i in range(storage.get_nfilters())}
    if used - _FILTERS:
        return f"uses HDF5 filters {sorted(used - _FILTERS)} that this package does not write"
    if dataset.shape is None:
        return "has no shape"
    return _size_problem(dataset, bool(used), text is not None and text.length is None)


def _size_problem(dataset: h5py.Dataset, filtered: bool, pointers: bool) -> str | None:
    width = 16 if pointers else dataset.dtype.itemsize
    needed, stored = math.prod(dataset.shape) * width, dataset.id.get_storage_size()
    if needed == 0:
        return None
    if (not filtered and needed > stored) or (filtered and needed > stored * _RATIO + 65536):
        return f"claims {needed} bytes but stores {stored}"
    if needed > _LARGEST and needed > 16 * stored:
        return f"would unfold {stored} bytes to {needed}"
    if dataset.chunks and (chunk := math.prod(dataset.chunks) * width) > max(_LARGEST, 2 * needed):
        return f"has chunks of {chunk} bytes"
    return None


def read_attribute(owner: h5py.Group | h5py.Dataset, name: str, *, is_json: bool = False) -> Any:
    """Return one attribute as a Python value, or `None` when it is absent.

    Raises:
        LandscapeError: it is not a single number, truth value or text.
    """
    key = name.encode()
    if not h5py.h5a.exists(owner.id, key):
        return None
    attribute = h5py.h5a.open(owner.id, key)
    kind = attribute.get_type().get_class()
    allowed = (h5py.h5t.INTEGER, h5py.h5t.FLOAT, h5py.h5t.STRING)
    if (
        (is_json and kind != h5py.h5t.STRING)
        or attribute.shape != ()
        or (kind not in allowed and attribute.dtype != np.bool_)
    ):
        raise LandscapeError(f"the attribute {name!r} of {owner.name!r} is no single number or text")
    try:
        return from_attribute(owner.attrs[name], is_json)
    except LandscapeError as error:
        raise LandscapeError(f"the attribute {name!r} of {owner.name!r} cannot be read: {error}") from error
