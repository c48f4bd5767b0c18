"""A table that is not set yet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from landscape.tables.numbers import Measured

Cell = str | int | float | Measured | None


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        title: what it shows; also its caption.
        columns: headings.
        rows: one cell per column: text, a whole number, a number (with its uncertainty: `Measured`), or `None` where there is
            nothing to say.
        note: what a reader needs to know, such as what ± means.
        significant: digits of numbers without an error.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    significant: int = 4

    @classmethod
    def of(cls, title: str, rows: Iterable[Mapping[str, Cell]], note: str = "", significant: int = 4) -> Table:
        """Return the table of one mapping per row, from headings to cells.

        >>> Table.of("", ({"a": "1"}, {"a": "2", "b": "3"})).rows
        (('1', None), ('2', '3'))
        """
        listed = list(rows)
        columns = dict.fromkeys(name for row in listed for name in row)
        cells = tuple(tuple(row.get(name) for name in columns) for row in listed)
        return cls(title, tuple(columns), cells, note, significant)

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers and nothing else, so that they are set flush right."""
        cells = list(zip(*self.rows, strict=True)) or [()] * len(self.columns)
        return tuple(
            any(cell is not None for cell in column) and not any(isinstance(cell, str) for cell in column)
            for column in cells
        )

    def filled(self) -> Table:
        """Return the table without the columns that are empty in every row.

        >>> Table("", ("a", "b"), (("1", None), ("2", None))).filled().columns
        ('a',)
        """
        kept = [i for i in range(len(self.columns)) if any(row[i] is not None for row in self.rows)]
        return self._of(kept) if self.rows else self

    def only(self, *columns: str) -> Table:
        """Return the table with some of its columns, in the order given; those it does not have are passed over."""
        return self._of([self.columns.index(name) for name in columns if name in self.columns])

    def head(self, most: int) -> Table:
        """Return the table with its first rows, and a note that says so where there are more."""
        if len(self.rows) <= most:
            return self
        note = f"{self.note} The first {most} of {len(self.rows)} rows.".strip()
        return replace(self, rows=self.rows[:most], note=note)

    def _of(self, kept: Sequence[int]) -> Table:
        return replace(
            self,
            columns=tuple(self.columns[i] for i in kept),
            rows=tuple(tuple(row[i] for i in kept) for row in self.rows),
        )


def as_measured(cell: float | Measured) -> Measured:
    """Return a bare number as one without an uncertainty."""
    return cell if isinstance(cell, Measured) else Measured(float(cell))
