"""Files of `torch.save` read as records: what a pickle says of its objects is written down, and nothing in it is called.

A pickle is a program: it names functions and classes and calls them. Here every name stands for a `Record`, which keeps its
arguments and its state and does nothing, so that no code of the file's choice runs and no class of this process is touched.
Tensors are then read from the archive by what their records say of them.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import struct
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from landscape.errors import LandscapeError

CONVERT = (
    "in the environment that wrote it, load it with torch.load(path, weights_only=False) if you trust it, and save "
    "torch.save(model.state_dict(), 'weights.pt'), then pass that file"
)
# Nothing would run, but a file that names these was made to do harm, and its numbers are not to be trusted either.
_HARMFUL = {
    *("os", "posix", "nt", "sys", "subprocess", "shutil", "socket", "importlib", "runpy", "ctypes", "pty", "code", "webbrowser"),
    *(f"{module}.{name}" for module in ("builtins", "__builtin__")
      for name in ("eval", "exec", "compile", "open", "__import__", "input", "breakpoint", "execfile")),
}  # fmt: skip
_STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16,
    "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128,
}  # fmt: skip
_TYPES = {str(kind): kind for kind in vars(torch).values() if isinstance(kind, torch.dtype)}
_DENSE = {f"torch._utils._rebuild_tensor{version}" for version in ("", "_v2", "_v3")}
_SPECIAL = {"_rebuild_qtensor": "quantised", "_rebuild_sparse_tensor": "sparse"}
_SPAN = 2**22
"""Bytes of a file that are read at a time where a part of a tensor is wanted."""
_PLAIN = re.compile(
    r"torch\.(\w+|(storage|cuda)\.\w+|(_utils|_tensor|serialization)\._\w+|nn\.parameter\.\w+)$|(collections|_codecs)\."
    r"|(builtins|__builtin__)\.(object|complex|bytearray|bytes|slice|range|set|frozenset|list|dict|tuple|int|long|float|str|unicode|bool)$"
)


class Record:
    """What a pickle says of one object: the name of its class or function, the arguments, the state, the items.

    >>> import argparse
    >>> tree, names = read_records(pickle.dumps({"args": argparse.Namespace(lr=0.1)}))
    >>> tree["args"].name, tree["args"].state
    ('argparse.Namespace', {'lr': 0.1})
    """

    name: ClassVar[str] = ""
    args: tuple[Any, ...]
    state: Any
    pairs: list[tuple[Any, Any]]

    def __new__(cls, *args: Any, **keywords: Any) -> Record:
        """Keep the arguments; what the name stands for is neither imported nor called."""
        record = super().__new__(cls)
        record.args, record.state, record.pairs = args, None, []
        return record

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, key: Any, value: Any) -> None:
        self.pairs.append((key, value))

    def append(self, value: Any) -> None:
        """Pass over the items of a list or a set."""

    add = append

    def __getitem__(self, field: str) -> Any:
        """Return a field of an object that was stored by its attributes."""
        return self.state[field]


class _Recorder(pickle.Unpickler):
    """Hands out a class of records for every name, and never looks a name up."""

    def __init__(self, content: bytes):
        super().__init__(io.BytesIO(content), encoding="utf-8", errors="replace")
        self.kinds: dict[str, type[Record]] = {}

    def find_class(self, module: str, name: str) -> type[Record]:
        full = f"{module}.{name}"
        if full not in self.kinds:
            self.kinds[full] = type("Record", (Record,), {"name": full})
        return self.kinds[full]

    def persistent_load(self, pid: Any) -> Any:
        return pid


def read_records(content: bytes) -> tuple[Any, tuple[str, ...]]:
    """Return what a pickle holds, with a `Record` for every object that is no plain container, and the names it uses.

    Raises:
        LandscapeError: it names functions that reach out of the process.
        pickle.UnpicklingError: it is damaged, or made to take memory.
    """
    for position, (code, argument, _) in enumerate(pickletools.genops(content)):
        # a place in the memo beyond the objects read so far makes the unpickler take memory up to it, 32 GB in ten bytes
        if code.name.startswith("EXT") or ("PUT" in code.name and int(argument or 0) > position):
            raise pickle.UnpicklingError(f"{code.name} {argument} at operation {position}")
    recorder = _Recorder(content)
    tree = recorder.load()
    harmful = next((name for name in recorder.kinds if name in _HARMFUL or name.split(".")[0] in _HARMFUL), None)
    if harmful is not None:
        raise LandscapeError(
            f"the file names {harmful}, which is not allowed: reading it otherwise would run code from the file; {CONVERT}"
        )
    return tree, tuple(recorder.kinds)


def entries(value: Any) -> Mapping[Any, Any] | None:
    """Return what a mapping holds, also one of an unknown class; `None` for what is no mapping."""
    if isinstance(value, Record):
        return dict(value.pairs) if value.pairs or value.name == "collections.OrderedDict" else None
    return value if isinstance(value, Mapping) else None


def is_tensor(value: Any) -> bool:
    """Whether a value is a tensor, or the record of one."""
    return isinstance(value, Tensor) or (
        isinstance(value, Record) and value.name.startswith(("torch._utils._rebuild", "torch._tensor._rebuild"))
    )


def data_type(kind: Any) -> torch.dtype:
    """Return the dtype that a name such as ``torch.uint16`` in a pickle stands for."""
    return _TYPES[kind.name]


class Archive:
    """The zip archive that `torch.save` writes: the records of its objects, and its tensors, each read when asked for.

    Args:
        file: the open archive.
        size: bytes of the file. One that unfolds to more than twice of them is refused before it is unfolded.

    Attributes:
        tree: what was saved.
        skipped: names of the classes and functions in it that are neither containers nor tensors.
    """

    def __init__(self, file: zipfile.ZipFile, size: int):
        members = {info.filename: info.file_size for info in file.infolist()}
        if sum(members.values()) > 2 * size:
            raise LandscapeError(
                f"its parts claim {sum(members.values())} bytes in a file of {size}; torch.save never compresses, save it again"
            )
        pickled = next((name for name in members if name.endswith("/data.pkl")), "data.pkl")
        self._file, self._root, self._read = file, pickled.removesuffix("data.pkl"), dict[str, Tensor]()
        if f"{self._root}constants.pkl" in members:
            raise LandscapeError("it is a TorchScript archive; pass torch.jit.load(path).state_dict()")
        order = f"{self._root}byteorder"
        self._swapped = order in members and file.read(order) == b"big"
        self.tree, names = read_records(file.read(pickled))
        self.skipped = sorted(name for name in names if not _PLAIN.match(name))

    def tensor(self, value: Any) -> Tensor:
        """Return the tensor of a record.

        Raises:
            LandscapeError: it is sparse, quantised, or of another kind than a dense array.
        """
        if isinstance(value, Tensor):
            return value
        key, dtype, offset, size, stride = self._array(value)
        return torch.as_strided(self._storage(key, dtype), size, stride, offset)

    def shape(self, value: Any) -> tuple[int, ...]:
        """Return the shape of the tensor of a record."""
        return self._array(value)[3]

    def copy_part(self, value: Any, box: Sequence[tuple[int, int]], target: Tensor) -> None:
        """Copy a part of the tensor of a record, (start, length) along each dimension; little more of the file is read.

        Rows that lie apart are read together with what lies between them, at most `_SPAN` bytes at a time.

        Raises:
            LandscapeError: as `tensor`.
        """
        key, dtype, offset, size, stride = self._array(value)
        if all((0, length) == pair for length, pair in zip(size, box, strict=True)):
            target.copy_(self.tensor(value))  # all of it, with its checksum
            return
        last = sum((length - 1) * step for (_, length), step in zip(box, stride, strict=True))
        several = [dim for dim, (_, length) in enumerate(box) if length > 1]
        if several and (last + 1) * dtype.itemsize > _SPAN:
            widest = max(several, key=lambda dim: stride[dim])
            start, length = box[widest]
            for first, many in ((start, length // 2), (start + length // 2, length - length // 2)):
                half = [*box[:widest], (first, many), *box[widest + 1 :]]
                self.copy_part(value, half, target.narrow(widest, first - start, many))
            return
        first = offset + sum(start * step for (start, _), step in zip(box, stride, strict=True))
        numbers = self._numbers(key, dtype, first, last + 1)
        target.copy_(torch.as_strided(numbers, [length for _, length in box], stride))

    def _array(self, value: Any) -> tuple[str, torch.dtype, int, tuple[int, ...], tuple[int, ...]]:
        """Return storage, type, offset, shape and strides of a dense array."""
        kind, args = value.name, value.args
        while kind not in _DENSE:
            what = kind.split(".")[-1]
            if what.startswith("_rebuild_parameter"):
                kind, args = args[0].name, args[0].args
            elif what == "_rebuild_from_type_v2":
                kind, args = args[0].name, args[2]
            else:
                what = args[0].name.split(".")[-1] if what == "_rebuild_wrapper_subclass" else what
                raise LandscapeError(f"a weight is {_SPECIAL.get(what, what)}; save dense floating-point weights")
        (_, storage, key, *_), offset, size, stride = args[:4]
        if kind.endswith("_v3"):
            dtype = data_type(args[6])
        else:
            dtype = _STORAGES[storage.name.split(".")[-1]]
            if len(args) > 6 and args[6]:
                raise LandscapeError("a weight is a conjugate or negated view; save its values")
        return str(key), dtype, offset, lengths(size), lengths(stride)

    def _storage(self, key: str, dtype: torch.dtype) -> Tensor:
        if key not in self._read:
            content = torch.empty(self._file.getinfo(f"{self._root}data/{key}").file_size, dtype=torch.uint8)
            with self._file.open(f"{self._root}data/{key}") as part:
                part.readinto(content.numpy())  # type: ignore[attr-defined]
            self._read[key] = content
        return self._as(self._read[key], dtype)

    def _numbers(self, key: str, dtype: torch.dtype, first: int, many: int) -> Tensor:
        """Return some numbers of a storage, read where they lie."""
        info, file = self._file.getinfo(f"{self._root}data/{key}"), self._file.fp
        content = torch.empty(many * dtype.itemsize, dtype=torch.uint8)
        if first < 0 or first * dtype.itemsize + len(content) > info.file_size or info.compress_type or file is None:
            raise LandscapeError(
                "a weight does not lie in the numbers stored for it; torch.save never compresses, save it again"
            )
        file.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
        file.seek(info.header_offset + 30 + name + extra + first * dtype.itemsize)
        content.numpy()[:] = np.frombuffer(file.read(len(content)), np.uint8)
        return self._as(content, dtype)

    def _as(self, raw: Tensor, dtype: torch.dtype) -> Tensor:
        raw = raw[: len(raw) // dtype.itemsize * dtype.itemsize]
        return (raw.view(-1, dtype.itemsize).flip(1).flatten() if self._swapped else raw).view(dtype)


def lengths(size: Any) -> tuple[int, ...]:
    """Return the numbers of a shape, stored as a tuple or as the record of a `torch.Size`."""
    numbers = tuple(
        size.args[0] if isinstance(size, Record) and size.args else () if isinstance(size, Record) else size
    )
    if not all(isinstance(number, int) and number >= 0 for number in numbers):
        raise pickle.UnpicklingError(f"{numbers} is no shape")
    return numbers
