"""A check of the heaps that hold text, which HDF5 lacks: an empty entry makes it read the same place for ever.

The HDF5 library walks a global heap entry by entry and trusts each one's size; an unused entry of size zero, from a
flipped bit or from malice, ends in an endless loop (seen with HDF5 2.0 in one of some five thousand mutated files).
Layout: HDF5 File Format Specification 3.0, III.E "Disk Format: Level 1E - Global Heap".
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from landscape.errors import LandscapeError

_SIGNATURE = b"GCOL\x01\0\0\0"
_SIZE = struct.Struct("<Q")
_ENTRY = struct.Struct("<HHIQ")
_HEADER = len(_SIGNATURE) + _SIZE.size


def check_heaps(path: Path) -> None:
    """Walk every global heap of an HDF5 file.

    Raises:
        LandscapeError: HDF5 would not survive it; the message says why.
    """
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if problem := heap_problem(content):
            raise LandscapeError(f"{path.name} is damaged: {problem}")


def heap_problem(content: bytes | mmap.mmap) -> str | None:
    """Say what is wrong with the heaps of the HDF5 file that some bytes are, or `None`."""
    if len(content) < 16 or not _plain(content[:16]):
        return "it has an unusual HDF5 header"
    at = content.find(_SIGNATURE)
    while at >= 0:
        if not _sound(content, at):
            return "a heap of text holds an entry of impossible size"
        at = content.find(_SIGNATURE, at + 1)
    return None


def _plain(start: bytes) -> bool:
    """Whether the file begins with a superblock whose addresses and lengths take 8 bytes."""
    version = start[8]
    sizes = start[13:15] if version < 2 else start[9:11]
    return start[:8] == b"\x89HDF\r\n\x1a\n" and sizes == b"\x08\x08"


def _sound(content: bytes | mmap.mmap, start: int) -> bool:
    if start + _HEADER > len(content):
        return True  # cut off: HDF5 tells that by itself, here and below
    (size,) = _SIZE.unpack_from(content, start + len(_SIGNATURE))
    at, end = start + _HEADER, start + size
    if end > len(content):
        return True
    while at + _ENTRY.size <= end:
        index, _, _, length = _ENTRY.unpack_from(content, at)
        # the entry with index 0 is the unused rest, and its size includes its own header
        step = length if index == 0 else _ENTRY.size + -(-length // 8) * 8
        if step < _ENTRY.size or at + step > end:
            return False
        at += step
    return True
