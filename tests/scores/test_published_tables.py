"""The tables in the docs are those that the package makes now."""

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def maker():
    spec = importlib.util.spec_from_file_location("make_tables", DOCS / "make_tables.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(table):
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in table.splitlines() if line[:1] == "|"]


def same(one, other):
    """Text, or numbers that differ by what another machine's rounding may do to their last digit."""
    try:
        return float(one) == pytest.approx(float(other), rel=0.02)
    except ValueError:
        return one == other


def assert_same(committed, made):
    assert len(cells(committed)) == len(cells(made)) > 3
    for row, fresh in zip(cells(committed)[2:], cells(made)[2:], strict=True):
        assert len(row) == len(fresh)
        assert all(map(same, row, fresh)), (row, fresh, "run python docs/make_tables.py")


def test_register(maker):
    committed = (DOCS / "tables" / "scores.md").read_text()
    assert committed == maker.scores()
    assert len(cells(committed)) == len(maker.REGISTRY) + 2


def test_invariance(maker):
    assert_same((DOCS / "tables" / "invariance.md").read_text(), maker.invariance())


def test_temperature_of_the_shipped_networks(maker):
    shipped, _, digits = (DOCS / "tables" / "temperature.md").read_text().partition(maker.DIGITS)
    assert_same(shipped, maker.temperature())
    assert [row[0] for row in cells(digits)[2:]] == list(maker.ON_DIGITS)


@pytest.mark.slow
def test_temperature_of_the_digits(maker):
    _, _, committed = (DOCS / "tables" / "temperature.md").read_text().partition(maker.DIGITS)
    assert_same(committed, maker.digits())
