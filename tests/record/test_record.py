"""All public calls on the twelve networks give the numbers that were recorded."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import record

HERE = Path(__file__).parent


@pytest.mark.slow
def test_the_recorded_numbers_come_out_again(tmp_path):
    """In a process of its own, with one thread from the start."""
    subprocess.run([sys.executable, HERE / "record.py", "--out", tmp_path / "new.json"], check=True)
    found = list(record.differences(record.read(HERE / "numbers.json.gz"), record.read(tmp_path / "new.json")))
    print(record.report(found))
    assert all(within for *_, within in found), record.report(found)


@pytest.mark.parametrize(
    ("value", "samples", "within"),
    [
        (1 + 1e-14, range(9), True),
        (1 + 1e-9, range(9), False),
        (1, range(9), False),
        (1.0, [0, 1, 2, 4, 3, *range(5, 9)], False),
    ],
)
def test_a_changed_number_is_found(value, samples, within):
    def one(value, samples):
        calls = {"trace": {"value": value, "samples": record.digest(np.array(samples, dtype=float))}}
        return {"only": "*", "parts": {"mlp/spectra": {"tolerance": 1e-12, "calls": calls}}}

    old, new = one(1.0, range(9)), one(value, samples)
    assert [found[-1] for found in record.differences(old, new)] == [within]
    assert [found[-1] for found in record.differences(old, new, rtol=0.0)] == [False]
    assert "mlp/spectra | trace | " in record.report(list(record.differences(old, new)))
    assert not list(record.differences(new, new))
