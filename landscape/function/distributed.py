"""Folders that `torch.distributed.checkpoint` writes: tensors, or parts of them, from the pieces that the metadata lists."""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.function.pickled import Archive, Record, data_type, lengths, read_records

_BUFFER = 4096  # bytes read at a time where little is wanted, such as the directory of an archive


Box = tuple[tuple[int, int], ...]
"""Start and length of a part of a tensor along each of its dimensions."""
Parts = Mapping[str, tuple[tuple[int, ...], Box]]
"""By name, the shape that a tensor is to have, and the part of it that is wanted."""


def read_distributed(
    folder: Path,
    chosen: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    parts: Parts | None = None,
) -> dict[str, Tensor]:
    """Return the tensors of a folder.

    Args:
        folder: with a file ``.metadata``.
        chosen: is given all names and returns those wanted, under their new names.
        parts: what is wanted, by new name; of others all is. Of a piece only the rows that overlap are read.
    """
    metadata, _ = read_records((folder / ".metadata").read_bytes())
    where = {
        (index["fqn"], lengths(index.state.get("offset") or ())): place
        for index, place in metadata["storage_data"].items()
    }
    found = {
        name: (name, entry)
        for name, entry in metadata["state_dict_metadata"].items()
        if "chunks" in (entry.state or ())
    }
    wanted, parts = chosen(found), parts or {}
    for name, (_, entry) in wanted.items():
        if name in parts and (shape := lengths(entry["size"])) != parts[name][0]:
            raise LandscapeError(
                f"{name!r} has shape {shape}, the model's {parts[name][0]}; build the model it was saved from"
            )
    boxes = {name: box for name, (_, box) in parts.items()}
    return {new: _assembled(folder, name, entry, where, boxes.get(new)) for new, (name, entry) in wanted.items()}


def inside(folder: Path, name: str) -> Path:
    """Return a file in a folder, refusing names that lead out of it or to another index."""
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()) or path.suffix == ".json":
        raise LandscapeError(f"it names a part {name!r} outside its folder; it is not followed")
    if not path.is_file():
        raise LandscapeError(f"it lacks its part {name!r}; copy the whole folder")
    return path


def _assembled(
    folder: Path, name: str, entry: Record, where: Mapping[tuple[str, tuple[int, ...]], Record], box: Box | None
) -> Tensor:
    shape = lengths(entry["size"])
    chunks = [(lengths(chunk["offsets"]), lengths(chunk["sizes"])) for chunk in entry["chunks"]]
    places = [where[name, offsets] for offsets, _ in chunks]
    files = [_checked_file(folder, place) for place in places]
    size, stored = math.prod(shape), sum(math.prod(sizes) for _, sizes in chunks)
    held = sum(place["length"] for place in places)
    if size != stored or size > held:  # before memory is taken for it
        raise LandscapeError(f"{name!r} claims {size} numbers, its pieces hold {stored} in {held} bytes")
    box = tuple((0, length) for length in shape) if box is None else box
    part = torch.zeros([length for _, length in box], dtype=data_type(entry["properties"].state[0]))
    for (offsets, sizes), place, path in zip(chunks, places, files, strict=True):
        # where piece and part overlap, along each dimension: first and last position in the whole tensor
        low = [max(start, offset) for (start, _), offset in zip(box, offsets, strict=True)]
        high = [min(start + n, offset + m) for (start, n), offset, m in zip(box, offsets, sizes, strict=True)]
        if any(a >= b for a, b in zip(low, high, strict=True)):
            continue
        wanted = tuple((a - offset, b - a) for a, b, offset in zip(low, high, offsets, strict=True))
        target = part[tuple(slice(a - start, b - start) for a, b, (start, _) in zip(low, high, box, strict=True))]
        with open(path, "rb", buffering=0) as file:
            window = io.BufferedReader(_Window(file, place["offset"], place["length"]), _BUFFER)
            with zipfile.ZipFile(window) as archive:
                saved = Archive(archive, place["length"])
                if saved.shape(saved.tree) != sizes:
                    raise LandscapeError(f"a piece of {name!r} is not the tensor its metadata describes")
                saved.copy_part(saved.tree, wanted, target)
    return part


class _Window(io.RawIOBase):
    """A part of a file, as a file."""

    def __init__(self, file: io.RawIOBase | Any, start: int, length: int):
        self._file, self._start, self._length, self._at = file, start, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._at)
        many = self._file.readinto(memoryview(buffer)[: max(0, self._length - self._at)]) or 0
        self._at += many
        return many


def _checked_file(folder: Path, place: Record) -> Path:
    """Return the file of a piece after checking that the piece lies within it."""
    if place.state.get("transform_descriptors"):
        raise LandscapeError("it stores its pieces transformed; save it without storage extensions")
    path = inside(folder, place["relative_path"])
    if place["offset"] < 0 or place["length"] < 0 or place["offset"] + place["length"] > path.stat().st_size:
        raise LandscapeError(f"{path.name} is truncated: a piece of the checkpoint lies beyond its end")
    return path
