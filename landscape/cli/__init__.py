"""The shell: argument parsing, progress, exit codes."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Sequence
from typing import Any

from landscape.bars import progress
from landscape.errors import LandscapeError, LostProcessError

__all__ = ["main"]

TOGETHER = ("eigen", "slice", "score", "compare")
"""Commands that several processes, started by torchrun, do together; the first does the others alone."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 2 a wrong input (one line says which), 130 interrupted."""
    from landscape.cli.parser import build

    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # where the terminal knows no ±
    parsed = build().parse_args(arguments)
    rank = int(os.environ.get("RANK", "0")) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else 0
    if rank and parsed.command not in TOGETHER:
        return 0
    try:
        with progress(not parsed.quiet and sys.stderr.isatty() and not rank):
            printed = parsed.run(parsed)
    except LandscapeError as error:
        if not rank or isinstance(error, LostProcessError):  # what is wrong with all is said by one
            print(f"landscape {parsed.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        kept = "; ".join(getattr(interrupt, "__notes__", ["finished work is kept"]))
        print(f"landscape {parsed.command}: interrupted; {kept}", file=sys.stderr)
        return 130
    if rank:
        return 0
    try:
        print(json.dumps(_finite(printed.record), allow_nan=False) if parsed.json else printed.text, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):  # else the reader has seen enough
            print(f"landscape {parsed.command}: cannot write the output: {error.strerror}", file=sys.stderr)
            return 2
    return 0


def _finite(record: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(record, float):
        return record if math.isfinite(record) else None
    if isinstance(record, dict):
        return {key: _finite(value) for key, value in record.items()}
    if isinstance(record, list):
        return [_finite(value) for value in record]
    return record
