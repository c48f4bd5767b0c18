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


def test_what_the_deciding_scores_survive_is_printed_alike_wherever_it_is_printed(maker):
    """The short table is the largest of each network's scores; every cell is below 1 %, which is bold."""
    committed = (DOCS / "tables" / "survival.md").read_text()
    short = [place.read_text().split("<!-- survival -->")[1].split("<!-- end -->")[0] for place in maker.PRINTED]
    assert short[0] == short[1]
    assert len(cells(short[0])) == 7
    assert "**" not in committed + short[0]
    assert (
        {row[0] for row in cells(short[0])[2:]}
        == {row[0] for row in cells(committed)[2:]}
        == set(maker.survival.NETWORKS)
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["MLP", "patch transformer, pre-norm", "ResNet-8 with batch norm"])
def test_the_deciding_scores_survive_what_is_printed(maker, kind):
    reports = {kind: maker.survival.audits([kind])[kind]}
    committed = [row for row in cells((DOCS / "tables" / "survival.md").read_text()) if row[0] == kind]
    for row, fresh in zip(committed, cells(maker.survival.page(reports))[2:], strict=True):
        assert [cell == "—" for cell in row] == [cell == "—" for cell in fresh]
        assert not any("**" in cell for cell in fresh)
