"""Tab completion: a script for bash or zsh, written from the parser by shtab."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping

import shtab


def script(
    parser: argparse.ArgumentParser, shell: str, names: Mapping[tuple[str, str], Iterable[str]] | None = None
) -> str:
    """Return the script that a shell reads to complete the commands of a parser.

    Args:
        parser: with sub-commands; its arguments without choices get files, or the names given for them.
        shell: ``bash`` or ``zsh``.
        names: words offered for arguments that take others as well, by command and argument: ``("train", "recipe")``.

    >>> from landscape.cli.parser import build
    >>> "--which" in script(build(), "bash")
    True
    """
    functions = []
    for command, made in commands_of(parser).items():
        for action in made._actions:
            if action.choices or action.nargs == 0:
                continue
            words = (names or {}).get((command, action.dest))
            if words is None:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
                continue
            function = f"_landscape_{command}_{action.dest}"
            offered = " ".join(words)
            functions.append(
                f'{function}() {{ local IFS=" "; compgen -W "{offered}" -- "$1"; }}'
                if shell == "bash"
                else f"{function}() {{ compadd {offered}; }}"
            )
            action.complete = {shell: function}  # type: ignore[attr-defined]
    return shtab.complete(parser, shell, root_prefix="landscape", preamble={shell: "\n".join(functions)})


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of the sub-commands by name."""
    found = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)
