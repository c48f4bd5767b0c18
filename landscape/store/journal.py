"""A durable append-only log: what was appended is there after a crash, and what is there was appended whole.

A record is its length (8 bytes), the CRC-32 of length and payload (4 bytes) and the payload; the first record is the
identity of the computation. A reader takes records up to the first that is cut off or does not match its checksum, so
it may run beside the writer; a writer that resumes cuts the file there.

Each append waits for the disk (`fsync`), so that what it returned from outlives a crash of the machine. That takes
half a millisecond on the disk measured (``benchmarks/results/writing.md``): append rows, not numbers.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from landscape.errors import LandscapeError
from landscape.store.files import put_in_place, sync_folder
from landscape.store.identity import canonical, difference

_MAGIC = b"LSJRNL2\n"
_FRAME = struct.Struct("<QI")

Payload = Sequence[bytes | memoryview]
"""A record in pieces, so that large arrays need not be copied together."""


class Journal:
    """An open journal that records can be appended to, made with its folder when absent.

    The identity is what the records depend on, as JSON values. ``records`` are the payloads found when it was opened, oldest
    first, ``size`` the bytes of the file.

    Raises:
        LandscapeError: the file is not a journal, has another identity, or cannot be written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "log"
    >>> journal = Journal(path, {"seed": 0})
    >>> journal.append([b"first"])
    >>> journal.close()
    >>> bytes(Journal(path, {"seed": 0}).records[0])
    b'first'
    """

    def __init__(self, path: Path, identity: Mapping[str, Any]):
        self.path, self._header, self._fd = path, canonical(identity).encode(), -1
        found = _scan(path) if path.exists() else []
        if found and bytes(found[0]) != self._header:
            raise LandscapeError(
                f"{path.name} in {path.parent.name} belongs to another computation "
                f"({_difference(found[0], self._header)}); repeat that one, choose another name, or delete the file to "
                "start afresh"
            )
        self.records = found[1:]
        if found:
            self._open(len(_MAGIC) + sum(_FRAME.size + len(record) for record in found))
        else:
            self.rewrite([])

    def append(self, payload: Payload) -> None:
        """Add a record and return when it is on the disk.

        Raises:
            LandscapeError: it could not be written (a full disk); the journal is as it was before.
        """
        try:
            os.lseek(self._fd, self.size, os.SEEK_SET)
            written = _write(self._fd, _framed(payload))
            os.fsync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, self.size)
            raise self._unwritten(error) from error
        self.size += written

    def rewrite(self, payloads: Iterable[Payload]) -> None:
        """Put other records in the place of those that are there: all of them, or none."""
        fresh = self.path.with_name(f"{self.path.name}.new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            fd = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0), 0o666)
            try:
                size = _write(fd, [_MAGIC, *_framed([self._header])])
                size += sum(_write(fd, _framed(payload)) for payload in payloads)
            finally:
                os.close(fd)
            put_in_place(fresh, self.path)
        except OSError as error:
            raise self._unwritten(error) from error
        finally:
            fresh.unlink(missing_ok=True)
        self._open(size)

    def close(self) -> None:
        """Close the file; the records stay."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def delete(self) -> None:
        """Close and remove the file, once its records are stored elsewhere."""
        self.close()
        self.path.unlink(missing_ok=True)
        sync_folder(self.path.parent)

    def _open(self, size: int) -> None:
        self.close()
        try:
            self._fd = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
            os.ftruncate(self._fd, size)
        except OSError as error:
            raise self._unwritten(error) from error
        self.size = size

    def _unwritten(self, error: OSError) -> LandscapeError:
        return LandscapeError(f"cannot write {self.path.name}: {error.strerror}; what was finished before is kept")

    def __del__(self) -> None:
        self.close()


def read_journal(path: Path, count: int | None = None) -> tuple[dict[str, Any], list[bytearray]]:
    """Return (identity, payloads) of a journal, all or so many from the first on, also while another process appends.

    Raises:
        LandscapeError: the file is missing, not a journal, or damaged in its header.
    """
    found = _scan(path, None if count is None else count + 1)
    try:
        return json.loads(found[0]), found[1:]
    except (IndexError, ValueError) as error:
        raise LandscapeError(f"{path.name} ends within its header: nothing was finished; delete it") from error


def _write(fd: int, pieces: Iterable[bytes | memoryview]) -> int:
    size = 0
    for piece in pieces:
        view = memoryview(piece).cast("B")
        size += len(view)
        while view:
            view = view[os.write(fd, view) :]
    return size


def _framed(payload: Payload) -> list[bytes | memoryview]:
    length = struct.pack("<Q", sum(memoryview(piece).nbytes for piece in payload))
    checksum = zlib.crc32(length)
    for piece in payload:
        checksum = zlib.crc32(piece, checksum)
    return [length, struct.pack("<I", checksum), *payload]


def _scan(path: Path, count: int | None = None) -> list[bytearray]:
    """Return the whole records from the first on, identity included."""
    found: list[bytearray] = []
    try:
        with open(path, "rb") as file:
            magic, remaining = file.read(len(_MAGIC)), os.fstat(file.fileno()).st_size - len(_MAGIC)
            if magic != _MAGIC[: len(magic)]:
                raise LandscapeError(f"{path.name} is not a journal of this package; delete it or choose another name")
            while len(found) != count and remaining >= _FRAME.size:
                frame = file.read(_FRAME.size)
                length, checksum = _FRAME.unpack(frame)
                remaining -= _FRAME.size + length
                if remaining < 0:  # torn, or a damaged length: never allocate what the file cannot hold
                    break
                record = bytearray(length)
                if file.readinto(record) < length or zlib.crc32(record, zlib.crc32(frame[:8])) != checksum:
                    break
                found.append(record)
    except (OSError, struct.error) as error:
        raise LandscapeError(f"cannot read {path.name}: {error}") from error
    return found


def _difference(before: bytes | bytearray, now: bytes) -> str:
    try:
        return difference(json.loads(before), json.loads(now))
    except (ValueError, AttributeError):
        return "its header is damaged"
