"""The papers behind scores, estimators, directions and tests: one BibTeX file for reports, cards and the documentation.

``keywords`` in ``bibliography.bib`` name what a paper is cited for: methods of estimators (``xtrace``), kinds of
directions (``filter``), operators (``hessian``), transformations (``T1``) and tests (``holm``). Scores name their papers
in the registry, as ``Keskar et al. 2017, arXiv 1609.04836``, which `cited_in` finds.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files

from landscape.errors import LandscapeError

_ENTRY = re.compile(r"^@(\w+)\{([^,]+),\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^  (\w+) = \{(.*)\},$", re.MULTILINE)


@dataclass(frozen=True)
class Entry:
    """One paper or book.

    Attributes:
        key: what it is cited by.
        kind: BibTeX's kind: ``article``, ``inproceedings`` …
        fields: BibTeX's fields as (name, text) pairs.
    """

    key: str
    kind: str
    fields: tuple[tuple[str, str], ...]

    def __getitem__(self, name: str) -> str:
        """Return a field as plain text, without braces; empty when absent."""
        text = dict(self.fields).get(name, "")
        return re.sub(r"[{}]", "", text).replace(r"\&", "&").replace("--", "–").replace("``", "“").replace("''", "”")

    @property
    def topics(self) -> tuple[str, ...]:
        """What it is cited for."""
        return tuple(part.strip() for part in self["keywords"].split(",") if part.strip())

    @property
    def authors(self) -> str:
        """Family names: ``Li et al.`` for more than three authors.

        >>> entry("dinh2017sharp").authors, entry("croce2020reliable").authors
        ('Dinh et al.', 'Croce and Hein')
        """
        names = [name.partition(",")[0].strip() for name in self["author"].split(" and ")]
        if len(names) > 3:
            return f"{names[0]} et al."
        return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)

    def text(self) -> str:
        """Return the reference in one line.

        >>> entry("hochreiter1997flat").text()
        'Hochreiter and Schmidhuber (1997). Flat Minima. Neural Computation 9:1–42.'
        """
        where = self["booktitle"] or self["journal"] or self["publisher"] or (f"arXiv {self['eprint']}")
        pages = f" {self['volume']}:{self['pages']}" if self["volume"] else ""
        title = self["title"].rstrip(".")
        return f"{self.authors} ({self['year']}). {title}{'' if title.endswith('?') else '.'} {where}{pages}."

    def bibtex(self) -> str:
        """Return the BibTeX entry, without our keywords."""
        kept = "".join(f"  {name} = {{{text}}},\n" for name, text in self.fields if name != "keywords")
        return f"@{self.kind}{{{self.key},\n{kept}}}\n"


@functools.cache
def entries() -> dict[str, Entry]:
    """Return all entries by key.

    >>> entries()["li2018visualizing"]["year"]
    '2018'
    """
    text = files("landscape").joinpath("bibliography.bib").read_text(encoding="utf-8")
    found = [Entry(key, kind, tuple(_FIELD.findall(body))) for kind, key, body in _ENTRY.findall(text)]
    return {entry.key: entry for entry in found}


def entry(key: str) -> Entry:
    """Return an entry by its key.

    Raises:
        LandscapeError: there is none.
    """
    try:
        return entries()[key]
    except KeyError:
        raise LandscapeError(f"the bibliography has no entry {key!r}; it has {', '.join(entries())}") from None


def cited_for(topic: str) -> tuple[str, ...]:
    """Return the keys of what is cited for a method, operator, kind of direction, transformation or test.

    >>> cited_for("xtrace"), cited_for("weather")
    (('epperly2024xtrace',), ())
    """
    return tuple(found.key for found in entries().values() if topic.lower() in map(str.lower, found.topics))


def cited_in(text: str) -> tuple[str, ...]:
    """Return the keys of what a text names, part by part between semicolons: by arXiv number, else by author and year.

    >>> cited_in("Keskar et al. 2017, arXiv 1609.04836, eq. 4"), cited_in("Hutchinson 1990; the mean rise under noise")
    (('keskar2017large',), ('hutchinson1990stochastic',))
    """
    keys: dict[str, None] = {}
    for part in text.split(";"):
        numbers = set(re.findall(r"\d{4}\.\d{5}", part))
        for found in entries().values():
            if found["eprint"] in numbers if numbers else _by_author(part, found):
                keys[found.key] = None
    return tuple(keys)


def _by_author(text: str, found: Entry) -> bool:
    family = re.escape(found["author"].partition(",")[0])
    return re.search(rf"\b{family}\b.{{0,60}}\b{found['year']}\b", text) is not None


def bibtex(keys: Iterable[str] | None = None) -> str:
    """Return BibTeX text of some entries, in the order of their keys; `None`: of all.

    Raises:
        LandscapeError: an unknown key.

    >>> bibtex(["dinh2017sharp"]).splitlines()[0]
    '@inproceedings{dinh2017sharp,'
    """
    chosen = sorted(set(entries() if keys is None else keys))
    return "\n".join(entry(key).bibtex() for key in chosen)
