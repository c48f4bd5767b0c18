"""Tables read off the schema of any result."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from landscape.export.row_tables import row_tables
from landscape.results import Estimate, Result, rows
from landscape.results.numbers import Measured


@dataclass(frozen=True)
class Run:
    name: str
    width: int
    value: float
    standard_error: float
    trace: float | None
    trace_error: float
    fitted: bool
    parts: tuple[int, ...]
    empty: str = ""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Runs(Result):
    kind: ClassVar[str] = "runs"
    location: ClassVar[str] = "experiments/{entry}"
    first_runs: tuple[Run, ...] = rows(Run)
    others: tuple[Run, ...] | None = rows(Run, optional=True)


def test_columns_of_errors_become_uncertainties_and_empty_ones_are_left_out():
    run = Run("a", 3, 1.5, 0.1, 2.0, 0.2, True, (1, 2))
    [table] = row_tables(Runs(first_runs=(run, run)))
    assert table.title == "First runs"
    assert table.columns == ("name", "width", "value", "trace", "fitted", "parts")
    assert table.rows[0] == ("a", Measured(3.0), Measured(1.5, 0.1), Measured(2.0, 0.2), "yes", "1, 2")


def test_long_tables_are_cut_and_say_so():
    run = Run("a", 3, 1.5, 0.1, None, 0.2, True, ())
    first, second = row_tables(Runs(first_runs=(run,) * 5, others=(run,)), most=2)
    assert (len(first.rows), first.note) == (2, "The first 2 of 5 rows.")
    assert (len(second.rows), second.note) == (1, "")


def test_results_without_rows_are_shown_by_their_summary():
    one = Estimate(value=2.0, standard_error=0.1, matvecs=3, method="xtrace", quantity="trace")
    [table] = row_tables(one)
    assert ("method", "xtrace") in table.rows


def test_numbers_of_any_type_are_numbers():
    run = Run("a", np.int64(3), np.float32(1.5), 0.0, float("nan"), 0.2, np.bool_(False), ())
    [table] = row_tables(Runs(first_runs=(run,)))
    assert table.rows[0][1] == Measured(3.0)
    assert table.rows[0][4] == "no"
