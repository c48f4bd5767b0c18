"""The shell: argument parsing, progress, exit codes."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from landscape.bars import progress
from landscape.errors import LandscapeError

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 0 done, 2 a wrong input (one line says which), 130 interrupted."""
    from landscape.cli.parser import build

    parsed = build().parse_args(arguments)
    try:
        with progress(not parsed.quiet and sys.stderr.isatty()):
            printed = parsed.run(parsed)
    except LandscapeError as error:
        print(f"landscape {parsed.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"landscape {parsed.command}: interrupted; finished work is kept", file=sys.stderr)
        return 130
    print(json.dumps(printed.record) if parsed.json else printed.text)
    return 0
