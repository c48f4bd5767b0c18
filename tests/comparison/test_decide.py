"""The verdict on synthetic scores whose answer is known."""

import numpy as np
import pytest

from landscape.comparison import PRIMARY, compare_scores, decide
from landscape.results.comparison import Gate

SEEDS = 8
NAMES = {"a": "A", "b": "B"}
PASSED = Gate("a", "b", "train loss", True, 0.0, 0.1)


def arm(shifts, seed, spread=0.02, radii=4):
    """log10 scores around the given shifts: (seed, score, radius)."""
    rng = np.random.default_rng(seed)
    level = np.array([1.0, -1.0, 0.5])[:, None] + np.linspace(0, 1, radii) + np.array(shifts)[:, None]
    return 10 ** (level + rng.normal(0, spread, (SEEDS, 3, 1)))


def verdict(shifts, *, spread=0.02, gates=(PASSED,), first=None, second=None):
    x = arm([0, 0, 0], 0, spread) if first is None else first
    y = arm(shifts, 1, spread) if second is None else second
    tests = compare_scores("a", "b", PRIMARY, x, y, margin=0.05, level=0.05, fewest=6)
    return decide("a", "b", gates, tests, level=0.05, names=NAMES), tests


@pytest.mark.parametrize(
    ("shifts", "expected"),
    [
        ([0.5, 0.5, 0.5], "spikier"),
        ([-0.5, -0.5, -0.5], "flatter"),
        ([0.0, 0.0, 0.0], "tie"),
        ([0.5, -0.5, 0.5], "mixed"),
        ([0.5, 0.001, 0.001], "inconclusive"),
    ],
)
def test_verdict_follows_the_shifts(shifts, expected):
    found, tests = verdict(shifts)
    assert found.verdict == expected
    assert found.text.startswith("B")
    for row, shift in zip(tests, shifts, strict=True):
        assert row.difference == pytest.approx(shift, abs=0.04)
        assert row.low <= row.difference <= row.high


def test_exact_p_value_reaches_its_floor_and_is_corrected():
    _, tests = verdict([0.5, 0.5, 0.5])
    assert [row.p_value for row in tests] == pytest.approx([2 / 12870] * 3)
    assert [row.p_holm for row in tests] == pytest.approx([6 / 12870] * 3)


def test_noise_is_inconclusive_and_never_a_tie():
    found, tests = verdict([0.0, 0.0, 0.0], spread=0.5)
    assert found.verdict == "inconclusive"
    assert not any(row.equivalent for row in tests)


def test_a_waived_gate_is_named_with_what_was_measured():
    waived = Gate("a", "b", "gradient", True, 3.25, 1.0, "waived")
    found, _ = verdict([0.5, 0.5, 0.5], gates=(PASSED, waived))
    assert found.verdict == "spikier"
    assert found.text.endswith("Waived by the user: gradient 3.25 (allowed 1).")
    accuracy = Gate("a", "b", "train accuracy", True, 0.0125, 0.005, "waived")
    assert verdict([0.5] * 3, gates=(PASSED, accuracy))[0].text.endswith("train accuracy 1.25 % apart (allowed 0.5 %).")
    assert "Waived" not in verdict([0.5, 0.5, 0.5])[0].text


def test_failed_gate_silences_the_scores():
    gate = Gate("a", "b", "train loss", False, 15.16, 0.1, "train both to the same cross-entropy")
    found, _ = verdict([0.5, 0.5, 0.5], gates=(gate,))
    assert found.verdict == "not comparable"
    assert "train loss 1,516 % apart, allowed 10 %" in found.text


def test_too_few_seeds_have_no_significance():
    found, tests = verdict([1, 1, 1], first=arm([0, 0, 0], 0)[:5], second=arm([1, 1, 1], 1)[:5])
    assert found.verdict == "inconclusive"
    assert "too few seeds" in found.text
    assert all(row.p_value is None for row in tests)


def test_a_sign_that_changes_with_the_radius_does_not_count():
    x, y = arm([0, 0, 0], 0), arm([0.5, 0.5, 0.5], 1)
    y[:, :2, 0] /= 10  # at the smallest radius the order is reversed
    found, tests = verdict(None, first=x, second=y)
    assert [row.sign_stable for row in tests] == [False, False, True]
    assert found.verdict == "inconclusive"


def test_missing_primary_score_is_said():
    x = arm([0, 0, 0], 0)
    y = arm([1, 1, 1], 1)
    y[:, 2] = np.nan
    found, _ = verdict(None, first=x, second=y)
    assert found.verdict == "inconclusive"
    assert "inverse-sigma-mag not defined" in found.text


def test_scores_that_are_not_positive_are_compared_as_they_are():
    rng = np.random.default_rng(0)
    x, y = rng.normal(-1, 0.1, (SEEDS, 1, 1)), rng.normal(0, 0.1, (SEEDS, 1, 1))
    (row,) = compare_scores("a", "b", ["lambda-min"], x, y, margin=0.05, level=0.05, fewest=6)
    assert row.scale == "raw"
    assert row.difference == pytest.approx(1, abs=0.2)
    assert not row.primary


def test_a_primary_score_that_fails_the_audit_carries_no_verdict():
    x, y = arm([0, 0, 0], 0), arm([0.5, 0.5, 0.5], 1)
    tests = compare_scores("a", "b", PRIMARY, x, y, margin=0.05, level=0.05, fewest=6)
    found = decide("a", "b", [PASSED], tests, level=0.05, names=NAMES, descriptive={"adaptive-average", "trace"})
    assert found.verdict == "inconclusive"
    assert "adaptive-average failed the invariance audit" in found.text


def test_logarithms_are_compared_by_their_difference_even_where_they_are_positive():
    x, y = np.full((8, 2, 1), 100.0), np.full((8, 2, 1), 130.0)
    volume, trace = compare_scores("a", "b", ["log-volume", "trace"], x, y, margin=0.05, level=0.05, fewest=6)
    assert (volume.scale, volume.difference, volume.sign_stable) == ("raw", 30.0, True)
    assert (trace.scale, trace.difference) == ("log10", pytest.approx(np.log10(1.3)))
