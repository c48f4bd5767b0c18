"""A file under HDF5 that remembers the first failure instead of passing it on.

When a write fails, HDF5 keeps the unwritten part, fails again on closing and once more when Python frees the object, each
time with a traceback. So it is told that all went well, and the caller asks afterwards whether it did.
"""

from __future__ import annotations

import io
from pathlib import Path


class WorkingFile(io.FileIO):
    """A file open for reading and writing whose failures are kept in ``failure``.

    Attributes:
        failure: the first `OSError` of a write, or `None`; what was written after it is lost.
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
