"""One process for every benchmark of CPU time: one thread, no progress bars, and an allocator that keeps its memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

SETTINGS = {
    "LANDSCAPE_PROGRESS": "0",
    "OMP_NUM_THREADS": "1",
    # by default glibc returns large freed blocks at once and pays for them again in page faults
    "MALLOC_TRIM_THRESHOLD_": "4294967296",
    "MALLOC_MMAP_THRESHOLD_": "4294967296",
}


def run_settled(main: Callable[[], None]) -> None:
    """Run a benchmark with these settings, which are read when a process starts; the environment's own come first."""
    if not SETTINGS.keys() <= os.environ.keys():
        os.execve(sys.executable, [sys.executable, *sys.argv], {**SETTINGS, **os.environ})
    main()
