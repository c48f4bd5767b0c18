"""The verdict on synthetic scores whose answer is known."""

import numpy as np
import pytest

from landscape.comparison import PRIMARY, compare_scores, decide
from landscape.comparison.decide import agreement
from landscape.results.comparison import Gate
from landscape.results.comparison import Test as Row

SEEDS = 8
NAMES = {"a": "A", "b": "B"}
PASSED = Gate("a", "b", "train loss", True, 0.0, 0.1)


def arm(shifts, seed, spread=0.02, radii=4):
    """log10 scores around the given shifts: (seed, score, radius)."""
    rng = np.random.default_rng(seed)
    level = np.array([1.0, -1.0, 0.5])[:, None] + np.linspace(0, 1, radii) + np.array(shifts)[:, None]
    return 10 ** (level + rng.normal(0, spread, (SEEDS, 3, 1)))


def verdict(shifts, *, spread=0.01, gates=(PASSED,), first=None, second=None, **options):
    x = arm([0, 0, 0], 0, spread) if first is None else first
    y = arm(shifts, 1, spread) if second is None else second
    tests = compare_scores("a", "b", PRIMARY, x, y, margin=0.05, level=0.05, fewest=6, **options)
    return decide("a", "b", gates, tests, level=0.05, names=NAMES), tests


@pytest.mark.parametrize(
    ("shifts", "expected"),
    [
        ([0.5, 0.5, 0.5], "spikier"),
        ([-0.5, -0.5, -0.5], "flatter"),
        ([0.0, 0.0, 0.0], "tie"),
        ([0.5, -0.5, 0.5], "mixed"),
        ([0.5, 0.001, 0.001], "inconclusive"),
        ([0.03, 0.03, 0.03], "different, negligibly"),
        ([0.045, 0.045, 0.045], "inconclusive"),
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
    assert "inverse-sigma-mag not measured or not defined" in found.text


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


def test_a_score_that_is_not_positive_everywhere_keeps_all_of_its_seeds():
    x, y = np.full((8, 1, 2), 2.0), np.full((8, 1, 2), 3.0)
    y[:2, 0, 1] = -1.0  # no logarithm: the mean over radii is arithmetic in both arms
    (row,) = compare_scores("a", "b", ["trace"], x, y, margin=0.05, level=0.05, fewest=6)
    assert (row.scale, row.seeds_b, row.difference) == ("raw", 8, pytest.approx((6 * 3 + 2 * 1) / 8 - 2))


def test_an_inconclusive_verdict_says_why():
    near, _ = verdict([0.045, 0.045, 0.045])
    assert "significant, but possibly by less than the margin (" in near.text
    y = arm([0.5, 0.5, 0.5], 1)
    y[:, :2, 0] /= 10
    assert (
        "signs that change with the radius (adaptive-worst-symmetric, adaptive-average)"
        in verdict(None, second=y)[0].text
    )
    contrary = verdict([0.5, 0.5, -0.02], spread=0.05)[0]
    assert contrary.verdict == "inconclusive"
    assert "no difference in inverse-sigma-mag, which points the other way if anywhere" in contrary.text


def test_seven_pairs_are_needed_and_pairs_see_what_independent_seeds_hide():
    start = np.random.default_rng(2).normal(0, 1, (SEEDS, 1, 1))
    x, y = arm([0, 0, 0], 0) * 10**start, arm([0.3, 0.3, 0.3], 1) * 10**start
    assert verdict(None, first=x, second=y)[0].verdict == "inconclusive"
    found, tests = verdict(None, first=x, second=y, paired=True)
    assert found.verdict == "spikier"
    assert [row.p_value for row in tests] == [2 / 2**8] * 3
    few, tests = verdict(None, first=x[:6], second=y[:6], paired=True)
    assert "too few pairs" in few.text
    assert tests[0].p_value is None


def test_a_saturated_radius_has_no_vote_and_is_named():
    radii = np.tile([0.1, 0.2, 0.4, 0.8], (3, 1))
    x = arm([0, 0, 0], 0) * np.minimum(radii**2, 0.3)
    y = arm([0.5, 0.5, 0.5], 1) * np.minimum(radii**2, 0.3)
    y[:, :, 3] /= 100
    assert verdict(None, first=x, second=y)[1][0].sign_stable is False
    found, tests = verdict(None, first=x, second=y, radii=radii)
    assert [row.sign_stable for row in tests] == [True] * 3
    assert "saturated at 0.8: no vote" in found.text


def test_the_error_of_shared_draws_widens_the_interval():
    x, y = arm([0, 0, 0], 0), arm([0.3, 0.3, 0.3], 1)
    errors = (0.1 * x, 0.1 * y)
    narrow, wide = verdict(None, first=x, second=y)[1][0], verdict(None, first=x, second=y, errors=errors)[1][0]
    shared = 2**0.5 * 0.1 / np.log(10)
    assert (wide.high - wide.low) / 2 == pytest.approx(
        ((narrow.high - narrow.low) ** 2 / 4 + (2 * shared) ** 2) ** 0.5, rel=0.1
    )


def test_curvature_does_not_speak_where_no_point_is_critical():
    x, y = arm([0, 0, 0], 0), arm([0.5, 0.5, 0.5], 1)
    names = [*PRIMARY, "trace"]
    x, y = (np.concatenate([z, z[:, :1]], axis=1) for z in (x, y))
    tests = compare_scores("a", "b", names, x, y, margin=0.05, level=0.05, fewest=6)
    for value, said in ((0.5, True), (3.0, False), (np.nan, False)):
        gate = Gate("a", "b", "gradient", True, value, 1.0, "reported: …")
        assert ("curvature agrees" in decide("a", "b", [gate], tests, level=0.05, names=NAMES).text) == said


def test_identical_arms_tie_and_arms_without_a_difference_are_not_called_different():
    """Runs of the same weights share most of their score, as those that differ in nothing but the order of data do."""
    same, _ = verdict(None, first=arm([0, 0, 0], 0), second=arm([0, 0, 0], 0), paired=True)
    assert same.verdict == "tie"
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(200):
        start, orders = rng.normal(0, 0.1, (SEEDS, 3, 1)), rng.normal(0, 0.05, (2, SEEDS, 3, 1))
        found, _ = verdict(None, first=10 ** (start + orders[0]), second=10 ** (start + orders[1]), paired=True)
        called += found.verdict in ("spikier", "flatter", "mixed", "different, negligibly")
    assert called <= 10


def row(score, difference, spread=0.1, *, primary=False, scale="log10"):
    low, high = difference - spread, difference + spread
    return Row("a", "b", score, primary, scale, difference, low, high, 0.01, None, 1.0, False, True, 8, 8)


@pytest.mark.parametrize(
    ("rows", "verdict", "expected"),
    [
        ([row("trace", 0.5), row("lambda-max", 0.4)], "spikier", {"curvature": "agrees"}),
        ([row("trace", 0.5), row("lambda-max", 0.4)], "flatter", {"curvature": "disagrees"}),
        ([row("trace", 0.5), row("lambda-max", -0.4)], "spikier", {"curvature": "divided"}),
        ([row("trace", 0.5), row("lambda-max", 0.05)], "spikier", {"curvature": "agrees"}),
        ([row("trace", 0.05)], "spikier", {"curvature": "undecided"}),
        ([row("trace", 0.04, 0.001)], "tie", {"curvature": "agrees"}),
        ([row("trace", 0.5)], "tie", {"curvature": "disagrees"}),
        ([row("pruned", -0.5)], "spikier", {"compressibility": "agrees"}),  # fewer weights can go: sharper
        ([row("log-volume", 3.0, 0.5, scale="raw")], "spikier", {"volume": "agrees"}),
        ([row("trace", 0.5, float("nan"))], "spikier", {"curvature": "agrees"}),  # one seed has no interval
        ([row("margin", 0.5), row("adaptive-average", 0.5, primary=True)], "spikier", {}),
        ([row("trace", 0.5)], "inconclusive", {}),
    ],
)
def test_families_by_the_signs_of_their_scores(rows, verdict, expected):
    assert agreement(rows, verdict, margin=0.05) == expected
