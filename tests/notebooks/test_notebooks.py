"""The notebooks are committed with their outputs and run top to bottom."""

import sys
from pathlib import Path

import nbformat
import pytest

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
sys.path.insert(0, str(NOTEBOOKS))


@pytest.mark.slow  # `make notebooks` runs them in full
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_notebook_runs_in_its_quick_mode(path, monkeypatch):
    check(path, monkeypatch)


def check(path, monkeypatch):
    monkeypatch.setenv("LANDSCAPE_QUICK", "1")
    from run import run

    before = path.read_bytes()
    assert run(path, write=False) > 0
    assert path.read_bytes() == before


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_outputs_are_kept_and_small(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert path.stat().st_size < 500_000
    assert all(cell.execution_count for cell in cells), "run `make notebooks`"
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert "error" not in kinds
    pictures = [o for cell in cells for o in cell.outputs if "image/png" in o.get("data", {})]
    assert pictures
    assert all(len(picture.data["image/png"]) < 150_000 for picture in pictures)


def test_there_are_ten_in_order():
    assert [path.stem[:2] for path in PATHS] == [f"{number:02d}" for number in range(1, 11)]
