"""The numbers of every public call on the twelve networks are those that were recorded."""

import subprocess
import sys
from pathlib import Path

import pytest
import record

HERE = Path(__file__).parent


@pytest.mark.slow
def test_the_recorded_numbers_come_out_again(tmp_path):
    """In a process of its own, with one thread from the start."""
    subprocess.run([sys.executable, HERE / "record.py", "--out", tmp_path / "new.json"], check=True)
    differences, summary = record.compare(record.read(HERE / "numbers.json.gz"), record.read(tmp_path / "new.json"))
    print(summary)
    assert not differences, "\n".join([*differences, summary])


def test_a_changed_number_is_found():
    part = {"tolerance": 1e-12, "calls": {"trace": {"value": 1.0, "samples": record.digest(record.np.arange(9.0))}}}
    old = {"only": "*", "parts": {"mlp/spectra": part}}
    for field, value, differs in [("value", 1 + 1e-14, False), ("value", 1 + 1e-9, True), ("value", 1, True)]:
        new = {
            "only": "*",
            "parts": {"mlp/spectra": {**part, "calls": {"trace": {**part["calls"]["trace"], field: value}}}},
        }
        lines, _ = record.compare(old, new)
        assert bool(lines) == differs
        assert not differs or "mlp/spectra | trace | value" in lines[0]
        assert record.compare(old, new, rtol=0.0)[0]
    swapped = record.digest(record.np.array([0.0, 1, 2, 4, 3, 5, 6, 7, 8]))
    assert not record.apart(part["calls"]["trace"]["samples"], swapped, 1e-12)[1]
    assert record.compare(old, {"only": "*", "parts": {}})[0]
