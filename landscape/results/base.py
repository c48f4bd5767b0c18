"""What every result is: a frozen dataclass that saves, draws, tabulates and prints itself as its schema says."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from textwrap import indent
from typing import Any, ClassVar, Self

from landscape.errors import LandscapeError
from landscape.lazy import verb
from landscape.results.schema import describe, plain, volatile
from landscape.results.tabulate import columns_of, holds_rows, summary_of, summary_table, tables_of
from landscape.tables import Table, hanging, render
from landscape.tables.html import card, lines_of

KINDS: dict[str, type[Result]] = {}
"""Every result class by the slug that a study file stores; a class is entered when it is defined."""
_FEW = 24
"""Rows of a table that stand below the key numbers in print."""
_MOST = 200
"""Rows of a table that a notebook unfolds."""


def expect_result(value: Any, what: str, kind: type[Result]) -> None:
    """Raise unless what the user passed is a result of a kind.

    Args:
        value: what the user passed.
        what: what takes it, for the message.
        kind: the class.

    Raises:
        LandscapeError: it is something else.

    >>> expect_result(3, "csv", Result)
    Traceback (most recent call last):
        ...
    landscape.errors.LandscapeError: csv got int, expected a result; of a study, study["name"]
    """
    if not isinstance(value, kind):
        expected = 'a result; of a study, study["name"]' if kind is Result else f"a {kind.__name__}"
        raise LandscapeError(f"{what} got {type(value).__name__}, expected {expected}")


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Result:
    """The base of every result: provenance, cost in seconds, saving, drawing and printing.

    Attributes:
        provenance: what produced the result: versions, device, dtype, fingerprints of parameters, data and loss.
        seconds: wall-clock time of the computation.
    """

    kind: ClassVar[str]
    """The slug stored in the file that names this class."""
    location: ClassVar[str]
    """Where the study file keeps it: ``checkpoints/{owner}/eigen/{entry}`` or ``comparisons/{entry}``."""
    along: ClassVar[str] = ""
    """The dimension that the table has one row for; empty: that of the first vector."""
    index: ClassVar[str] = ""
    """What the number of a row is called in a table of vectors; empty: rows are not numbered."""
    note: ClassVar[str] = ""
    """What a reader of the table needs to know, such as what ± means."""

    provenance: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = volatile(0.0)

    def __init_subclass__(cls) -> None:
        if "kind" in vars(cls):
            KINDS[cls.kind] = cls

    def save(self, path: Any, name: str, *, overwrite: bool = False) -> None:
        """Write this result into a study file under ``name`` (``"sgd-0/top5"``: checkpoint, then entry).

        Args:
            path: the study file; created when absent, replaced atomically when present.
            name: ``owner/entry`` for what belongs to one checkpoint, ``entry`` for what belongs to several.
            overwrite: replace a different result of that name; without it that is an error.

        Raises:
            LandscapeError: the name is taken by something different, or the file cannot be written.
        """
        verb("save")(self, path, name, overwrite=overwrite)

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw this result with matplotlib and return the axes (see `landscape.plots`)."""
        return verb("plot")(self, ax=ax, **options)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain lists, numbers and strings, ready for JSON (NaN and inf are kept as floats)."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    def tables(self) -> tuple[Table, ...]:
        """Return the tables of this result, read off its schema, the main one first; none of them is set yet."""
        return tuple(tables_of(self))

    def table(self, style: str = "text") -> str:
        """Return the main table: one line per eigenvalue, layer, point, score …; else the numbers that the result prints.

        Args:
            style: ``text`` (aligned columns), ``markdown``, ``html`` or ``latex``.

        Raises:
            LandscapeError: another style.
        """
        return render(self.tables()[0], style)

    def columns(self) -> dict[str, Any]:
        """Return the main table with all digits, as columns of one length by name.

        Where `table` sums up what is too long to read (a grid, a density, a diagonal, seeds and radii), this has every row.
        """
        return columns_of(self)

    def to_pandas(self) -> Any:
        """Return `columns` as a `pandas.DataFrame`.

        Raises:
            LandscapeError: pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ModuleNotFoundError:
            raise LandscapeError(
                "to_pandas needs pandas, which is not installed; pip install pandas, or use .columns()"
            ) from None
        return DataFrame(self.columns())

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    @property
    def title(self) -> str:
        """What the main table shows: the first sentence of the class."""
        return (type(self).__doc__ or type(self).__name__).partition("\n")[0].rstrip(".")

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield (label, text) pairs: the few numbers worth reading first."""
        yield from summary_of(self)

    def __repr__(self) -> str:
        lines = list(self.summary())
        width = max((len(label) for label, _ in lines), default=0)
        text = "\n".join([type(self).__name__, *(hanging(f"  {label:<{width}}  ", text) for label, text in lines)])
        if type(self).summary is not Result.summary or not holds_rows(self):
            return text
        return f"{text}\n{indent(render(self.tables()[0].head(_FEW)), '  ')}"  # its rows are what it is

    def _repr_html_(self) -> str:
        text = self.table()
        repeats = text == render(summary_table(self))  # what is shown above it anyhow
        details = {} if repeats else {"table": "\n".join(text.splitlines()[: _MOST + 2])}
        if self.provenance:
            details["provenance"] = lines_of({key: describe(value) for key, value in self.provenance.items()})
        return card(type(self).__name__, self.summary(), self._picture(), details)

    def _picture(self) -> bytes | None:
        """Draw the result small; without a figure, or when drawing fails, the numbers stand alone."""
        try:
            picture: bytes | None = verb("thumbnail")(self)
            return picture
        except Exception:  # a repr that raises would hide the result
            return None
