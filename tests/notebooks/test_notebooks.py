"""The main notebook runs top to bottom, in its quick mode."""

import sys
from pathlib import Path

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
sys.path.insert(0, str(NOTEBOOKS))


def test_main_job_notebook(monkeypatch):
    monkeypatch.setenv("LANDSCAPE_QUICK", "1")
    from run import run

    before = (NOTEBOOKS / "01_sgd_momentum_overfitted.ipynb").read_bytes()
    assert run(NOTEBOOKS / "01_sgd_momentum_overfitted.ipynb", write=False) > 0
    assert (NOTEBOOKS / "01_sgd_momentum_overfitted.ipynb").read_bytes() == before
