"""How many bytes are free, and how many a product may take."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from landscape.errors import LandscapeError


def free_bytes(device: torch.device) -> int:
    """Return the memory that is free on a device: what CUDA reports, or what the system could give without swapping."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2]
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
        free = [int(lines["MemAvailable"].split()[0]) * 1024] if "MemAvailable" in lines else free
    limit, used = Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")
    if limit.exists() and used.exists() and limit.read_text().strip().isdigit():  # a container's own limit
        free.append(int(limit.read_text()) - int(used.read_text()))
    return max(min(free), 0)


def budget(memory: float, device: torch.device) -> int:
    """Return the bytes that states and working memory may take.

    Args:
        memory: A fraction of what is free (a float of at most 1), or bytes.
        device: Where.

    Raises:
        LandscapeError: ``memory`` is not positive.

    >>> budget(2**20, torch.device("cpu"))
    1048576
    """
    if not memory > 0:
        raise LandscapeError(f"memory is {memory!r}, expected bytes or a fraction of what is free, above 0")
    if isinstance(memory, float) and memory <= 1:
        return int(memory * free_bytes(device))
    return int(memory)
