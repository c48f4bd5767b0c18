"""A checksum behind the end of a finished file, so that damage is told before HDF5 parses it.

HDF5 ignores what follows its last byte, and cuts it off when another program edits the file: a file without a seal is
one edited elsewhere, a file whose seal does not match was damaged.
"""

from __future__ import annotations

import os
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path

from landscape.errors import LandscapeError

_SEAL = struct.Struct("<16sQII")
_MAGIC = b"landscape-seal-1"


def seal(path: Path) -> None:
    """Append the checksum of a finished file and wait until all of it is on the disk."""
    with open(path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        record = _SEAL.pack(_MAGIC, size, _checksum(file, size), 0)
        file.seek(size)
        file.write(record)
        file.flush()
        os.fsync(file.fileno())


def check_seal(path: Path) -> bool:
    """Compare a file with its seal and return whether it has one; a file without passes.

    The file is opened once, so that a writer may put a newer one in its place meanwhile.

    Raises:
        LandscapeError: bytes were changed, lost or inserted since it was written.
    """
    with open(path, "rb") as file:
        found = _read_seal(file)
        if found is None:
            return False
        start, covered, expected = found
        if covered != start or _checksum(file, covered) != expected:
            raise LandscapeError(
                f"{path.name} is damaged: its bytes changed since it was written (checksum mismatch); restore it from a copy"
            )
    return True


def unseal(path: Path) -> None:
    """Cut the seal off a working copy that is about to be changed."""
    with open(path, "r+b") as file:
        found = _read_seal(file)
        if found is not None:
            file.truncate(found[1])


def _read_seal(file: BufferedIOBase) -> tuple[int, int, int] | None:
    """Return where the seal starts, how many bytes it covers and their checksum, or `None` when the file has none."""
    start = os.fstat(file.fileno()).st_size - _SEAL.size
    if start < 0:
        return None
    file.seek(start)
    magic, covered, checksum, _ = _SEAL.unpack(file.read(_SEAL.size))
    return (start, covered, checksum) if magic == _MAGIC else None


def _checksum(file: BufferedIOBase, size: int) -> int:
    crc, buffer = 0, bytearray(1 << 20)
    view = memoryview(buffer)
    file.seek(0)
    while size > 0 and (count := file.readinto(view[: min(size, len(buffer))])):
        crc = zlib.crc32(view[:count], crc)
        size -= count
    return crc
