"""Files that are complete or absent, and written by one process at a time."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

from landscape.errors import LandscapeError

_HDF5 = b"\x89HDF\r\n\x1a\n"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""What a file system without `flock` answers: NFS without its lock daemon, Lustre mounted without ``-o flock``."""


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield the path of a fresh file in a `with` block; it takes the place of ``path`` when the block ends well.

    After an exception the fresh file is removed and ``path`` is as it was. Folders are made.

    Args:
        path: the file to write.

    Raises:
        LandscapeError: the place is a folder or a study file, cannot be written, or the disk is full.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> with replacing(folder / "a.txt") as fresh:
    ...     _ = fresh.write_text("done")
    >>> [file.name for file in folder.iterdir()]
    ['a.txt']
    """
    target = ordinary(path)
    if target.is_dir():
        raise LandscapeError(f"{target.name} is a folder; give the name of a file in it")
    if _is_study(target):
        raise LandscapeError(f"{target.name} is a study, which this would replace; give the name of another file")
    fresh = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")  # some writers go by the suffix
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield fresh
        put_in_place(fresh, target)
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise LandscapeError(f"cannot write {target.name}: {reason}; choose a folder that can be written") from error
    finally:
        if fresh.exists():
            fresh.unlink()


def ordinary(path: str | os.PathLike[str]) -> Path:
    """Return where a file is or would be, links followed: the one a link points to is read or replaced, not the link.

    Raises:
        LandscapeError: it is no path, there is a pipe or a device, or links lead in a circle.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise LandscapeError(f"the file is {path!r}, expected its path, such as 'study.h5'")
    given = Path(path).expanduser()
    try:
        if given.exists() and not (given.is_file() or given.is_dir()):
            raise LandscapeError(f"{given.name} is a pipe or a device; give the name of a file")
        return given.resolve()
    except (RuntimeError, OSError) as error:
        raise LandscapeError(
            f"cannot use {given.name}: {str(error).splitlines()[0]}; give the name of a file"
        ) from error


def put_in_place(fresh: Path, target: Path) -> None:
    """Rename a finished file over another and return when both its bytes and its name are on the disk."""
    with open(fresh, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(fresh, target)
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make a new, renamed or removed file's name durable; a system that cannot open folders does so by itself."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_text(path: str | os.PathLike[str], text: str) -> Path:
    """Write a text file in UTF-8 and return its path.

    Raises:
        LandscapeError: the place cannot be written.

    >>> import tempfile
    >>> write_text(Path(tempfile.mkdtemp()) / "a.txt", "µ").read_text(encoding="utf-8")
    'µ'
    """
    with replacing(path) as fresh:
        fresh.write_text(text, encoding="utf-8", newline="\n")
    return Path(path).expanduser()


@contextmanager
def locked(path: Path, *, wait: float = 10.0) -> Iterator[None]:
    """Hold the only right to write ``path`` within a `with` block, through a file ``path.lock`` beside it.

    Args:
        path: the file to be written.
        wait: seconds to wait for another writer.

    Raises:
        LandscapeError: another process still writes after that time, or the folder cannot be written.
    """
    lock = _acquired(path, wait)
    try:
        yield
    finally:
        # Removed while it is still held: who waits for it sees that it lost its name, and makes a new one. Windows
        # cannot remove an open file; an unlocked one left behind does no harm.
        with suppress(OSError):
            os.unlink(lock.lock_file)
        lock.release()


def _acquired(path: Path, wait: float) -> BaseFileLock:
    """Lock by the operating system, which releases at the holder's death; without that, by a file that names its holder."""
    try:  # for an answer to the point: the library waits for a place that cannot be written as if it were taken
        os.close(os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT, 0o666))
    except OSError as error:
        raise LandscapeError(
            f"cannot write beside {path.name}: {error.strerror}; choose a folder that exists and can be written"
        ) from error
    native = FileLock(path.with_name(path.name + ".lock"), timeout=wait, poll_interval=0.02, fallback_to_soft=False)
    try:
        try:
            native.acquire()
            return native
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        with suppress(OSError):
            os.unlink(native.lock_file)
        soft = SoftFileLock(path.with_name(path.name + ".softlock"), timeout=wait, poll_interval=0.02)
        soft.acquire()
        return soft
    except Timeout:
        raise LandscapeError(
            f"{path.name} is being written by another process; wait for it to finish, or write to another file"
        ) from None


def _is_study(path: Path) -> bool:
    """Whether a file holds results of many computations, which nothing but `landscape.store` may write."""
    try:
        with open(path, "rb") as file:
            if file.read(len(_HDF5)) != _HDF5:
                return False
        import h5py  # the others that come here write no HDF5

        with h5py.File(path, "r") as study:
            return str(study.attrs.get("format")) == "landscape-study"
    except OSError:
        return False


class WorkingFile(io.FileIO):
    """A file under HDF5 that remembers the first failure instead of passing it on; what was written after it is lost.

    When a write fails, HDF5 keeps the unwritten part, fails again on closing and once more when Python frees the object, each
    time with a traceback. So it is told that all went well, and the caller asks afterwards whether it did.
    """

    def __init__(self, path: Path, *, fresh: bool):
        super().__init__(path, "w+b" if fresh else "r+b")
        self.failure: OSError | None = None

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write all of the data."""
        view = memoryview(data).cast("B")
        size = len(view)
        try:
            while self.failure is None and view:
                view = view[super().write(view) or 0 :]
        except OSError as error:
            self.failure = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Cut or extend the file."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return size or 0

    def check(self) -> None:
        """Raise the first failure.

        Raises:
            OSError: a write failed since the file was opened.
        """
        if self.failure is not None:
            raise self.failure
