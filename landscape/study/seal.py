"""A checksum behind the end of a finished file, so that damage is told before HDF5 parses it.

HDF5 ignores what follows its last byte, and cuts it off when another program edits the file: a file without a seal is
one edited elsewhere, a file whose seal does not match was damaged.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from landscape.errors import LandscapeError

_SEAL = struct.Struct("<16sQII")
_MAGIC = b"landscape-seal-1"


def sealed_size(path: Path) -> int | None:
    """Return the number of bytes that the seal covers, or `None` when the file has none."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size < _SEAL.size:
            return None
        file.seek(size - _SEAL.size)
        magic, covered, _, _ = _SEAL.unpack(file.read(_SEAL.size))
    if magic != _MAGIC:
        return None
    return int(covered)


def seal(path: Path) -> None:
    """Append the checksum of a finished file and wait until all of it is on the disk."""
    size = path.stat().st_size
    with open(path, "r+b") as file:
        record = _SEAL.pack(_MAGIC, size, _checksum(path, size), 0)
        file.seek(size)
        file.write(record)
        file.flush()
        os.fsync(file.fileno())


def check_seal(path: Path) -> bool:
    """Compare a file with its seal and return whether it has one; a file without passes.

    Raises:
        LandscapeError: bytes were changed, lost or inserted since it was written.
    """
    covered = sealed_size(path)
    if covered is None:
        return False
    with open(path, "rb") as file:
        file.seek(-_SEAL.size, os.SEEK_END)
        start = file.tell()
        expected = _SEAL.unpack(file.read(_SEAL.size))[2]
    if covered != start or _checksum(path, covered) != expected:
        raise LandscapeError(
            f"{path.name} is damaged: its bytes changed since it was written (checksum mismatch); restore it from a copy"
        )
    return True


def unseal(path: Path) -> None:
    """Cut the seal off a working copy that is about to be changed."""
    covered = sealed_size(path)
    if covered is not None:
        os.truncate(path, covered)


def _checksum(path: Path, size: int) -> int:
    crc, buffer = 0, bytearray(1 << 20)
    view = memoryview(buffer)
    with open(path, "rb", buffering=0) as file:
        while size > 0 and (count := file.readinto(view[: min(size, len(buffer))])):
            crc = zlib.crc32(view[:count], crc)
            size -= count
    return crc
