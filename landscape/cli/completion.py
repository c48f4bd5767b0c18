"""Tab completion: a script for bash or zsh, written from the parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterable

_SCRIPT = """\
# Tab completion of landscape: commands, options, their choices, and files.
_landscape() {{
    local current=${{COMP_WORDS[COMP_CWORD]}} previous=${{COMP_WORDS[COMP_CWORD-1]}} words=
    if [[ $COMP_CWORD == 1 ]]; then
        words={commands}
    else
        case "${{COMP_WORDS[1]}} $previous" in
{choices}
        esac
        if [[ -z $words ]]; then
            case ${{COMP_WORDS[1]}} in
{options}
            esac
            [[ $current == -* ]] || words=
        fi
    fi
    if [[ -n $words ]]; then
        COMPREPLY=($(compgen -W "$words" -- "$current"))
    else
        COMPREPLY=($(compgen -f -- "$current"))
    fi
}}
complete -o filenames -F _landscape landscape
"""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script that a shell reads to complete the commands of a parser.

    Args:
        parser: with sub-commands.
        shell: ``bash``, or ``zsh``, which reads the same through its bash emulation.

    >>> from landscape.cli.parser import build
    >>> "--which" in script(build(), "bash")
    True
    """
    commands = commands_of(parser)
    choices, options = [], []
    for name, command in commands.items():
        flags = [flag for action in command._actions for flag in action.option_strings]
        options.append(f"                {name}) words={_quoted(flags)} ;;")
        positional = [action for action in command._actions if action.choices and not action.option_strings]
        if positional:
            choices.append(f'            "{name} {name}") words={_quoted(positional[0].choices or ())} ;;')
        for action in command._actions:
            if action.choices and action.option_strings:
                cases = "|".join(f'"{name} {flag}"' for flag in action.option_strings)
                choices.append(f"            {cases}) words={_quoted(action.choices)} ;;")
    text = _SCRIPT.format(commands=_quoted(commands), choices="\n".join(choices), options="\n".join(options))
    return text if shell == "bash" else f"autoload -Uz bashcompinit && bashcompinit\n{text}"


def commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Return the parsers of the sub-commands by name."""
    found = next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return dict(found.choices)


def _quoted(words: Iterable[object]) -> str:
    return "'" + " ".join(map(str, words)) + "'"
