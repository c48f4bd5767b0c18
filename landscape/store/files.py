"""Files that are complete or absent: written beside their place, then renamed over it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from landscape.errors import LandscapeError

_HDF5 = b"\x89HDF\r\n\x1a\n"


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
    target = Path(path).expanduser()
    if target.is_dir():
        raise LandscapeError(f"{target.resolve().name} is a folder; give the name of a file in it")
    if _is_study(target):
        raise LandscapeError(f"{target.name} is a study, which this would replace; give the name of another file")
    fresh = target.with_name(f".{target.stem}.{os.getpid()}.part{target.suffix}")  # some writers go by the suffix
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield fresh
        os.replace(fresh, target)
    except OSError as error:
        reason = error.strerror or str(error).splitlines()[0]
        raise LandscapeError(f"cannot write {target.name}: {reason}; choose a folder that can be written") from error
    finally:
        if fresh.exists():
            fresh.unlink()


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
