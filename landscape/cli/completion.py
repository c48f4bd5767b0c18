"""Tab completion: a script for bash or zsh, written from the parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping

_SCRIPT = """\
# Tab completion of landscape: commands, options, their choices, and files.
_landscape() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} option= words= word
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        if [[ $word == -* ]]; then option=$word; fi
    done
    if [[ $COMP_CWORD == 1 ]]; then
        words={commands}
    elif [[ $current == -* ]]; then
        case ${{COMP_WORDS[1]}} in
{options}
        esac
    else
        case "${{COMP_WORDS[1]}} $previous" in
{one}
        esac
        case "${{COMP_WORDS[1]}} $option" in
{several}
        esac
    fi
    if [[ -n $words ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$current"))
    else
        COMPREPLY=($(compgen -f -- "$current"))
    fi
}}
complete -o filenames -F _landscape landscape
"""


def script(
    parser: argparse.ArgumentParser, shell: str, names: Mapping[tuple[str, str], Iterable[str]] | None = None
) -> str:
    """Return the script that a shell reads to complete the commands of a parser.

    Args:
        parser: with sub-commands.
        shell: ``bash``, or ``zsh``, which reads the same through its bash emulation.
        names: words offered for arguments that take others as well, by command and argument: ``("train", "recipe")``.

    >>> from landscape.cli.parser import build
    >>> "--which" in script(build(), "bash")
    True
    """
    commands = commands_of(parser)
    options: list[str] = []
    one: list[str] = []
    several: list[str] = []
    for name, command in commands.items():
        flags = [flag for action in command._actions for flag in action.option_strings]
        options.append(f"            {name}) words={_quoted(flags)} ;;")
        for action in command._actions:
            words = action.choices or (names or {}).get((name, action.dest))
            if words is None:
                continue
            # without an option before it, a positional argument follows the command or, if it may repeat, its like
            before = action.option_strings or ([""] if action.nargs == "+" else [name])
            cases = "|".join(f'"{name} {word}"' for word in before)
            (several if action.nargs == "+" else one).append(f"            {cases}) words={_quoted(words)} ;;")
    made = {"commands": _quoted(commands), "options": options, "one": one, "several": several}
    text = _SCRIPT.format(**{key: lines if isinstance(lines, str) else "\n".join(lines) for key, lines in made.items()})
    return text if shell == "bash" else f"autoload -Uz bashcompinit && bashcompinit\n{text}"


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of the sub-commands by name."""
    found = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


def _quoted(words: Iterable[object]) -> str:
    return "'" + " ".join(map(str, words)) + "'"
