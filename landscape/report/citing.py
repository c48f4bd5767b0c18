"""Text with citations, written once and set as HTML, LaTeX or plain text.

A citation is ``[@key]`` or ``[@one;@other]``, where keys are those of the bibliography.
"""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable

from landscape import bibliography
from landscape.tables import escape

_CITATION = re.compile(r" ?\[@([^\]]+)\]")


def cite(keys: Iterable[str]) -> str:
    """Return the citation of some keys, with a space before; empty for none.

    >>> cite(["dinh2017sharp", "holm1979simple"]), cite([])
    (' [@dinh2017sharp;@holm1979simple]', '')
    """
    chosen = list(dict.fromkeys(keys))
    return f" [@{';@'.join(chosen)}]" if chosen else ""


def cited(text: str) -> tuple[str, ...]:
    """Return the keys that a text cites, in their order.

    >>> cited("A [@holm1979simple] and B [@dinh2017sharp;@holm1979simple].")
    ('holm1979simple', 'dinh2017sharp')
    """
    return tuple(dict.fromkeys(key for found in _CITATION.findall(text) for key in _keys(found)))


def to_latex(text: str) -> str:
    r"""Return a text as LaTeX.

    >>> print(to_latex("50 % of it [@dinh2017sharp;@holm1979simple]."))
    50 \% of it~\cite{dinh2017sharp,holm1979simple}.
    """
    return _set(text, escape, lambda keys: rf"~\cite{{{','.join(keys)}}}")


def to_html(text: str, numbers: dict[str, int]) -> str:
    """Return a text as HTML whose citations are linked numbers, as given for each key."""
    return _set(text, html.escape, lambda keys: " [" + ", ".join(_link(key, numbers[key]) for key in keys) + "]")


def to_text(text: str) -> str:
    """Return a text whose citations are names and years.

    >>> to_text("As before [@dinh2017sharp].")
    'As before (Dinh et al. 2017).'
    """
    entries = bibliography.entries()
    return _set(
        text, str, lambda keys: " (" + "; ".join(f"{entries[key].authors} {entries[key]['year']}" for key in keys) + ")"
    )


def _set(text: str, plain: Callable[[str], str], citation: Callable[[list[str]], str]) -> str:
    parts = _CITATION.split(text)
    return "".join(plain(part) if i % 2 == 0 else citation(_keys(part)) for i, part in enumerate(parts))


def _keys(found: str) -> list[str]:
    return [key.strip().removeprefix("@") for key in found.split(";")]


def _link(key: str, number: int) -> str:
    return f'<a href="#ref-{html.escape(key)}">{number}</a>'
