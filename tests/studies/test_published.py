"""Published tables are those of the stored studies."""

from pathlib import Path

import pytest

import landscape as ls
from landscape.comparison import PRIMARY
from landscape.studies.registry import experiments, markdown

ROOT = Path(__file__).parents[2]
STUDIES = sorted((ROOT / "data" / "experiments").glob("*.h5"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_published_table_is_that_of_its_study(path):
    """Which holds nothing but what the page cites, and is valid."""
    assert ls.store.validate(path) == []
    published = (ROOT / "benchmarks" / "results" / f"{path.stem}.md").read_text(encoding="utf-8")
    assert markdown(experiments()[path.stem], ls.open_study(path)[path.stem]) == published
    page = (ROOT / "docs" / "experiments" / f"{path.stem}.md").read_text(encoding="utf-8")
    assert f"data/experiments/{path.name}" in page
    assert all(f"`{entry}`" in page for entry in ls.open_study(path) if entry != path.stem)


def test_the_published_board_is_the_stored_one():
    board = ls.open_study(ROOT / "data" / "evidence.h5")["board"]
    assert board.table("markdown") in (ROOT / "docs" / "tables" / "leaderboard.md").read_text(encoding="utf-8")
    page = (ROOT / "docs" / "evidence.md").read_text(encoding="utf-8")
    assert all(board[row.score].range("psi") in page for row in board.rows if row.score in PRIMARY)
    measured = (ROOT / "benchmarks" / "results" / "overfitting.md").read_text(encoding="utf-8")
    assert measured[measured.index("| measure") :].strip() in page
