"""A durable append-only log: what was appended is there after a crash, and what is there was appended whole.

A record is its length (8 bytes), the CRC-32 of length and payload (4 bytes) and the payload; the first record is a
header. A reader takes records up to the first that is cut off or does not match its checksum, so it may run beside the
writer; a writer that resumes cuts the file there.

Each append waits for the disk (`fsync`), so that what it returned from outlives a crash of the machine. That takes
half a millisecond on the disk measured (``benchmarks/results/writing.md``): append rows, not numbers.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from landscape.errors import LandscapeError

_MAGIC = b"LSJRNL1\n"
_FRAME = struct.Struct("<QI")


class Journal:
    """An open journal that records can be appended to.

    Args:
        path: the file; created with its folder when absent.
        settings: what the records depend on, as JSON values. A journal written under other settings is refused.
        preamble: bytes stored once with the settings, for readers that know nothing else.

    Attributes:
        path: the file.
        records: the payloads found when it was opened, oldest first.
        dropped: bytes of a torn tail that were cut off.

    Raises:
        LandscapeError: the file is not a journal, has other settings, or cannot be written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "log"
    >>> with Journal(path, {"seed": 0}) as journal:
    ...     journal.append(b"first")
    >>> Journal(path, {"seed": 0}).records
    [b'first']
    """

    def __init__(self, path: str | os.PathLike[str], settings: Mapping[str, Any], preamble: bytes = b""):
        self.path = Path(path)
        self.records: list[bytes] = []
        self.dropped = 0
        header = _canonical(settings)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            found, self._end = _scan(self.path) if self.path.exists() else ([], 0)
            if not found:
                found, self._end = [header, preamble], _begin(self.path, header, preamble)
            if found[0] != header:
                raise LandscapeError(
                    f"the journal {self.path.name} belongs to a run with other settings "
                    f"({_difference(found[0], header)}); repeat that run, choose another name, or delete the journal to "
                    "start afresh"
                )
            self._fd = os.open(self.path, os.O_RDWR | getattr(os, "O_BINARY", 0))
            self.dropped = os.fstat(self._fd).st_size - self._end
            os.ftruncate(self._fd, self._end)
        except OSError as error:
            raise LandscapeError(f"cannot write the journal {self.path.name}: {error.strerror}") from error
        self.records = found[2:]

    def append(self, payload: bytes) -> None:
        """Add a record and return when it is on the disk.

        Raises:
            LandscapeError: it could not be written (a full disk); the journal is as it was before.
        """
        data = _framed(payload)
        view = memoryview(data)
        try:
            os.lseek(self._fd, self._end, os.SEEK_SET)
            while view:
                view = view[os.write(self._fd, view) :]
            os.fsync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, self._end)
            raise LandscapeError(
                f"cannot write the journal {self.path.name}: {error.strerror}; what was finished before is kept"
            ) from error
        self._end += len(data)

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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __del__(self) -> None:
        if getattr(self, "_fd", -1) >= 0:
            self.close()


def read_journal(path: str | os.PathLike[str]) -> tuple[dict[str, Any], bytes, list[bytes]]:
    """Return (settings, preamble, payloads) of a journal without changing it, also while another process appends.

    Raises:
        LandscapeError: the file is missing, not a journal, or was killed before its header was written.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "log"
    >>> Journal(path, {"seed": 3}, b"about").append(b"one")
    >>> read_journal(path)
    ({'seed': 3}, b'about', [b'one'])
    """
    path = Path(path)
    found, _ = _scan(path)
    if not found:
        raise LandscapeError(f"the journal {path.name} ends within its header: nothing was finished; delete it")
    try:
        settings = json.loads(found[0])
    except ValueError as error:
        raise LandscapeError(f"the journal {path.name} has a header that is not JSON; delete it") from error
    return settings, found[1], found[2:]


def fingerprint(settings: Mapping[str, Any]) -> str:
    """Return 64 hexadecimal digits that name a set of settings.

    >>> fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    True
    """
    return hashlib.sha256(_canonical(settings)).hexdigest()


def sync_folder(folder: Path) -> None:
    """Make a new or renamed file's name durable; a system that cannot open folders does so by itself."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _begin(path: Path, header: bytes, preamble: bytes) -> int:
    """Put a journal without records in its place, whole or not at all, and return its size."""
    fresh = path.with_name(f"{path.name}.new")
    content = _MAGIC + _framed(header) + _framed(preamble)
    try:
        with open(fresh, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    sync_folder(path.parent)
    return len(content)


def _framed(payload: bytes) -> bytes:
    length = struct.pack("<Q", len(payload))
    return length + struct.pack("<I", zlib.crc32(payload, zlib.crc32(length))) + payload


def _scan(path: Path) -> tuple[list[bytes], int]:
    """Return the whole records and the offset behind the last of them; fewer than header and preamble count as none."""
    found: list[bytes] = []
    try:
        with open(path, "rb") as file:
            magic = file.read(len(_MAGIC))
            if magic != _MAGIC[: len(magic)]:
                raise LandscapeError(f"{path.name} is not a journal of this package; delete it or choose another name")
            remaining, end = os.fstat(file.fileno()).st_size - len(_MAGIC), len(_MAGIC)
            for payload in _records(file, remaining):
                found.append(payload)
                end += _FRAME.size + len(payload)
    except OSError as error:
        raise LandscapeError(f"cannot read the journal {path.name}: {error.strerror}") from error
    return (found, end) if len(found) >= 2 else ([], 0)


def _records(file: Any, remaining: int) -> Iterator[bytes]:
    while remaining >= _FRAME.size:
        frame = file.read(_FRAME.size)
        if len(frame) < _FRAME.size:
            return
        length, checksum = _FRAME.unpack(frame)
        remaining -= _FRAME.size
        if length > remaining:  # torn, or a damaged length: never allocate what the file cannot hold
            return
        payload = file.read(length)
        if len(payload) < length or zlib.crc32(payload, zlib.crc32(frame[:8])) != checksum:
            return
        remaining -= length
        yield payload


def _canonical(settings: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(settings, sort_keys=True, separators=(",", ":")).encode()
    except (TypeError, ValueError) as error:
        raise LandscapeError(f"settings must be JSON values (numbers, text, lists, mappings): {error}") from error


def _difference(old: bytes, new: bytes) -> str:
    try:
        before, after = json.loads(old), json.loads(new)
        changed = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    except (ValueError, AttributeError):
        return "its header is damaged"
    return ", ".join(f"{key}: {before.get(key)!r} there, {after.get(key)!r} here" for key in changed[:3])
