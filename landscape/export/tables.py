"""Tables of results, made once for LaTeX and HTML alike: numbers with their uncertainties, nothing set yet."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from landscape.results import Comparison, Eigenpairs, Estimate, Result, Scores
from landscape.results.comparison import Gate, Test, waived
from landscape.results.numbers import Measured, over_seeds

Pair = TypeVar("Pair", Gate, Test)


Cell = str | Measured | None


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        title: what it shows; also its caption.
        columns: headings.
        rows: one cell a column: text, a number, or `None` where there is nothing to say.
        note: what a reader needs to know, such as what ± means.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


def tables(result: Result) -> tuple[Table, ...]:
    """Return the tables of scores, a comparison, eigenpairs or an estimate; none of other results.

    Args:
        result: any result; `landscape.export.row_tables.row_tables` has tables of the others.

    >>> from landscape.results import Score
    >>> [made] = tables(Scores(rows=(Score(name="trace", value=2.0, standard_error=0.1),)))
    >>> made.columns[:2], made.rows[0][:2]
    (('score', 'value'), ('trace', Measured(value=2.0, error=0.1)))
    """
    if isinstance(result, Scores):
        return (scores(result),)
    if isinstance(result, Comparison):
        made = (metrics(result), means(result), *tests(result), *gates(result), audited(result))
        return tuple(table for table in made if table.rows)
    if isinstance(result, Eigenpairs):
        return (eigenpairs(result),)
    if isinstance(result, Estimate):
        return (estimate(result),)
    return ()


def scores(result: Scores) -> Table:
    """Return the scores of one checkpoint: value ± standard error, radius, invariances, status."""
    rows = tuple(
        (
            row.name,
            Measured(row.value, row.standard_error) if row.defined else None,
            None if row.radius is None else Measured(row.radius),
            row.invariant_to,
            row.status,
        )
        for row in result.rows
    )
    return Table("Sharpness scores", ("score", "value", "radius", "invariant to", "status"), rows,
                 "± is the Monte-Carlo standard error; values without it are deterministic.")  # fmt: skip


def metrics(result: Comparison) -> Table:
    """Return losses and accuracies of the recipes: mean ± standard deviation over seeds."""
    rows = tuple((name, *map(over_seeds, values)) for name, values in result.metrics.items())
    return Table("Loss and accuracy", ("metric", *result.long_names), rows, "± is the standard deviation over seeds.")


def means(result: Comparison) -> Table:
    """Return every score of the recipes: mean ± standard deviation over seeds, geometric mean over radii."""
    rows = tuple(
        (name, *map(over_seeds, result.score(name).values()))
        for name in result.scores
        if f"train/{name}" not in result.metrics  # loss and accuracy have a table of their own
    )
    note = "Geometric mean over radii; ± is the standard deviation over seeds. Higher is sharper."
    return Table("Scores by recipe", ("score", *result.long_names), rows, note)


def tests(result: Comparison) -> tuple[Table, ...]:
    """Return the differences between recipes with their intervals and p values, one table a pair."""
    columns = ("score", "scale", "difference", "95 % interval", "p", "p (Holm)", "superiority")
    note = "Positive differences: the first recipe is sharper. Intervals by bootstrap over seeds, p exact."
    return tuple(
        filled(Table(f"Differences: {pair}", columns, tuple(map(_test, rows)), note))
        for pair, rows in by_pair(result, result.tests).items()
    )


def _test(row: Test) -> tuple[Cell, ...]:
    return (
        row.score + (" (primary)" if row.primary else ""),
        row.scale,
        Measured(row.difference),
        interval(row.low, row.high),
        None if row.p_value is None else Measured(row.p_value),
        None if row.p_holm is None else Measured(row.p_holm),
        Measured(row.superiority),
    )


def gates(result: Comparison) -> tuple[Table, ...]:
    """Return the conditions for comparing, with what was measured and allowed, one table a pair."""
    columns = ("gate", "outcome", "measured", "limit", "note")
    return tuple(
        Table(
            f"Gates: {pair}",
            columns,
            tuple(
                (row.gate, _outcome(row), Measured(row.value), Measured(row.limit), "" if waived(row) else row.note)
                for row in rows
            ),
        )
        for pair, rows in by_pair(result, result.gates).items()
    )


def _outcome(row: Gate) -> str:
    if waived(row):
        return "waived"
    return "passed" if row.passed else "failed"


def by_pair(result: Comparison, rows: Iterable[Pair]) -> dict[str, list[Pair]]:
    """Group gates or tests by their pair of recipes, in words."""
    names = dict(zip(result.recipes, result.long_names, strict=True))
    found: dict[str, list[Pair]] = {}
    for row in rows:
        found.setdefault(f"{names[row.b]} against {names[row.a]}", []).append(row)
    return found


def filled(table: Table) -> Table:
    """Return a table without the columns that are empty in every row.

    >>> filled(Table("", ("a", "b"), (("1", None), ("2", None)))).columns
    ('a',)
    """
    kept = [i for i in range(len(table.columns)) if any(row[i] is not None for row in table.rows)]
    return replace(
        table,
        columns=tuple(table.columns[i] for i in kept),
        rows=tuple(tuple(row[i] for i in kept) for row in table.rows),
    )


def audited(result: Comparison) -> Table:
    """Return how the primary scores took transformations of the networks: S(T(w)) / S(w), farthest from 1 over radii."""
    names = dict(zip(result.recipes, result.long_names, strict=True))
    transformations = tuple(dict.fromkeys(row.transformation for row in result.audited))
    rows = []
    for recipe, score in dict.fromkeys((row.recipe, row.score) for row in result.audited):
        mine = {row.transformation: row for row in result.audited if (row.recipe, row.score) == (recipe, score)}
        found = (mine.get(name) for name in transformations)
        cells = (None if row is None or not math.isfinite(row.ratio) else Measured(row.ratio) for row in found)
        moved = [row.transformation for row in mine.values() if row.verdict == "not invariant"]
        rows.append((names[recipe], score, *cells, ", ".join(moved) or "none"))
    note = "S(T(w)) / S(w) of the first checkpoint; a score that moves beyond its error describes only."
    return filled(Table("Audit", ("recipe", "score", *transformations, "moved by"), tuple(rows), note))


def eigenpairs(result: Eigenpairs) -> Table:
    """Return eigenvalues ± measured residuals."""
    rows = tuple(
        (str(rank), Measured(float(value), float(residual)))
        for rank, (value, residual) in enumerate(zip(result.values, result.residuals, strict=True), start=1)
    )
    note = f"± is the measured residual ‖Av − λv‖; {result.matvecs} products" + (
        "." if result.converged else "; not all pairs converged."
    )
    return Table(f"Eigenvalues of the {result.operator} ({result.which})", ("rank", "eigenvalue"), rows, note)


def estimate(result: Estimate) -> Table:
    """Return one estimate ± its standard error."""
    of = f" of the {result.operator}" if result.operator else ""
    cells = (result.quantity, Measured(result.value, result.standard_error), result.method, str(result.matvecs))
    return Table(f"{result.quantity}{of}", ("quantity", "value", "method", "products"), (cells,))


def interval(low: float, high: float) -> str | None:
    """Write an interval, or `None` when it is not known.

    >>> interval(-0.5, 0.25)
    '[−0.5, 0.25]'
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        return None
    return f"[{low:.3g}, {high:.3g}]".replace("-", "−")
