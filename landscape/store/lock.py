"""One writer at a time: a lock that the operating system releases when its holder dies."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from landscape.errors import LandscapeError


@contextmanager
def locked(path: Path, *, wait: float = 10.0) -> Iterator[None]:
    """Hold the only right to write ``path`` within a `with` block, through a file ``path.lock`` beside it.

    Args:
        path: the file to be written.
        wait: seconds to wait for another writer.

    Raises:
        LandscapeError: another process still writes after that time, or the folder cannot be written.
    """
    file = path.with_name(path.name + ".lock")
    fd = _acquire(file, time.monotonic() + wait)
    try:
        yield
    finally:
        with suppress(OSError):  # Windows cannot remove an open file; an unlocked one left behind does no harm
            file.unlink(missing_ok=True)
        os.close(fd)


def check_not_edited(path: Path) -> None:
    """Raise when another program, such as h5py, has a file open for writing, as far as the system tells.

    Raises:
        LandscapeError: it has; what it writes may be half done, and would be lost in a copy.
    """
    if sys.platform == "win32":
        return  # there the file cannot even be opened
    import fcntl

    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LandscapeError(f"{path.name} is open for writing in another program; close it there first") from None
    except OSError:
        pass  # a file system without locks
    finally:
        os.close(fd)


def _acquire(file: Path, deadline: float) -> int:
    while True:
        try:
            fd = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise LandscapeError(
                f"cannot write beside {file.stem}: {error.strerror}; choose a folder that exists and can be written"
            ) from error
        if _try_lock(fd) and _still_named(fd, file):
            with suppress(OSError):  # a full disk: the lock holds, only its holder has no name
                os.ftruncate(fd, 0)
                os.write(fd, f"process {os.getpid()} on {socket.gethostname()}".encode())
            return fd
        os.close(fd)
        if time.monotonic() >= deadline:
            raise LandscapeError(
                f"{file.stem} is being written by {_holder(file)}; wait for it to finish, or write to another file"
            )
        time.sleep(0.02)


def _try_lock(fd: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _still_named(fd: int, file: Path) -> bool:
    """Whether the locked file still has its name: the last holder may have removed it while we waited."""
    try:
        return os.path.samestat(os.fstat(fd), os.stat(file))
    except FileNotFoundError:
        return False


def _holder(file: Path) -> str:
    try:
        return file.read_text() or "another process"
    except OSError:
        return "another process"
