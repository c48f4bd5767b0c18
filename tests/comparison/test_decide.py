"""The verdict on synthetic scores whose answer is known."""

import numpy as np
import pytest

from landscape.comparison import PRIMARY, compare_scores, decide
from landscape.comparison.decide import agreement
from landscape.results.comparison import Gate
from landscape.results.comparison import Test as Row

SEEDS = 8
NAMES = {"a": "A", "b": "B"}
RULE = {"margin": 0.05, "level": 0.05, "fewest": 6}
PASSED = Gate("a", "b", "train loss", True, 0.0, 0.1)


def arm(shifts, seed, spread=0.02, radii=4):
    """log10 scores around the given shifts: (seed, score, radius)."""
    rng = np.random.default_rng(seed)
    level = np.array([1.0, -1.0, 0.5])[:, None] + np.linspace(0, 1, radii) + np.array(shifts)[:, None]
    return 10 ** (level + rng.normal(0, spread, (SEEDS, 3, 1)))


def verdict(shifts, *, spread=0.01, gates=(PASSED,), first=None, second=None, **options):
    x = arm([0, 0, 0], 0, spread) if first is None else first
    y = arm(shifts, 1, spread) if second is None else second
    tests = compare_scores("a", "b", PRIMARY, x, y, **RULE, **options)
    return decide("a", "b", gates, tests, level=0.05, names=NAMES), tests


def passed(gate, value, limit=1.0, note="waived"):
    return Gate("a", "b", gate, True, value, limit, note)


X, Y = arm([0, 0, 0], 0), arm([0.5, 0.5, 0.5], 1)
TURNED = Y * np.where(np.arange(4) == 0, [[0.1], [0.1], [1]], 1)  # at the smallest radius the order of two is reversed
MISSING = np.where(np.arange(3)[:, None] == 2, np.nan, Y)
STARTS = 10 ** np.random.default_rng(2).normal(0, 1, (SEEDS, 1, 1))
PAIRS = {"first": X * STARTS, "second": arm([0.3, 0.3, 0.3], 1) * STARTS}
RADII = np.tile([0.1, 0.2, 0.4, 0.8], (3, 1))
FLAT = np.minimum(RADII**2, 0.3)
SATURATED = {"first": X * FLAT, "second": Y * FLAT * [1, 1, 1, 0.1]}
LOSS = Gate("a", "b", "train loss", False, 15.16, 0.1, "train both to the same cross-entropy")
VERDICTS = {
    # what: (shifts of three scores, options; verdict, what its text says)
    "up": ([0.5, 0.5, 0.5], {}, "spikier", "B is spikier than A at matched loss"),
    "down": ([-0.5, -0.5, -0.5], {}, "flatter", "B is flatter than A"),
    "equal": ([0.0, 0.0, 0.0], {}, "tie", "tie within the declared margin"),
    "both ways": ([0.5, -0.5, 0.5], {}, "mixed", "scores that differ disagree"),
    "one only": ([0.5, 0.001, 0.001], {}, "inconclusive", "B against A is inconclusive"),
    "little": ([0.03, 0.03, 0.03], {}, "different, negligibly", "by less than the declared margin"),
    "near": ([0.045] * 3, {}, "inconclusive", "significant, but possibly by less than the margin ("),
    "noise": ([0.0] * 3, {"spread": 0.5}, "inconclusive", "neither a difference nor a tie is shown"),
    "contrary": ([0.5, 0.5, -0.02], {"spread": 0.05}, "inconclusive",
                 "no difference in inverse-sigma-mag, which points the other way if anywhere"),
    "a waived gate": ([0.5] * 3, {"gates": (PASSED, passed("gradient", 3.25))}, "spikier",
                      "Waived by the user: gradient 3.25 (allowed 1)."),
    "a waived difference": ([0.5] * 3, {"gates": (PASSED, passed("train accuracy", 0.0125, 0.005))}, "spikier",
                            "train accuracy 1.25 % apart (allowed 0.5 %)."),
    "a failed gate": ([0.5] * 3, {"gates": (LOSS,)}, "not comparable", "train loss 1,516 % apart, allowed 10 %"),
    "few seeds": (None, {"first": X[:5], "second": Y[:5]}, "inconclusive", "too few seeds"),
    "a sign that changes": (None, {"second": TURNED}, "inconclusive",
                            "signs that change with the radius (adaptive-worst-symmetric, adaptive-average)"),
    "a missing score": (None, {"second": MISSING}, "inconclusive", "inverse-sigma-mag not measured or not defined"),
    "what independent seeds hide": (None, PAIRS, "inconclusive", ""),
    "what pairs see": (None, PAIRS | {"paired": True}, "spikier", ""),
    "six pairs": (None, {name: x[:6] for name, x in PAIRS.items()} | {"paired": True}, "inconclusive", "too few pairs"),
    "saturated": (None, SATURATED, "inconclusive", "signs that change with the radius"),
    "saturated without a vote": (None, SATURATED | {"radii": RADII}, "spikier", "saturated at 0.8: no vote"),
    "itself": (None, {"second": X, "paired": True}, "tie", ""),
}  # fmt: skip


@pytest.mark.parametrize(("shifts", "options", "expected", "says"), VERDICTS.values(), ids=VERDICTS)
def test_the_verdict_and_what_it_says(shifts, options, expected, says):
    spread = options.get("spread", 0.01 if shifts else 0.02)
    found, tests = verdict(shifts, **{"spread": spread, "first": None if shifts else X, **options})
    assert found.verdict == expected
    assert says in found.text
    assert ("Waived" in found.text) == ("Waived" in says or "(allowed" in says)
    assert all(row.low <= row.difference <= row.high for row in tests)
    if shifts and spread < 0.1:
        assert [row.difference for row in tests] == pytest.approx(shifts, abs=0.04)
    if "too few" in says:
        assert [row.p_value for row in tests] == [None] * 3
    if expected == "tie":
        assert all(row.equivalent for row in tests)


def test_exact_p_values_reach_their_floor_and_are_corrected():
    _, tests = verdict([0.5, 0.5, 0.5])
    assert [row.p_value for row in tests] == pytest.approx([2 / 12870] * 3)
    assert [row.p_holm for row in tests] == pytest.approx([6 / 12870] * 3)
    assert [row.p_value for row in verdict(None, **PAIRS, paired=True)[1]] == [2 / 2**8] * 3
    assert [row.sign_stable for row in verdict(None, first=X, second=TURNED)[1]] == [False, False, True]


def test_a_primary_score_that_fails_the_audit_carries_no_verdict():
    tests = compare_scores("a", "b", PRIMARY, X, Y, **RULE)
    found = decide("a", "b", [PASSED], tests, level=0.05, names=NAMES, descriptive={"adaptive-average", "trace"})
    assert found.verdict == "inconclusive"
    assert "adaptive-average failed the invariance audit" in found.text


@pytest.mark.parametrize(
    ("score", "first", "second", "scale", "difference"),
    [
        ("lambda-min", [-1.0], [0.5], "raw", 1.5),
        ("log-volume", [100.0], [130.0], "raw", 30.0),  # a logarithm already, even where it is positive
        ("trace", [100.0], [130.0], "log10", np.log10(1.3)),
        ("trace", [2.0, 2.0], [[3.0, -1.0]] * 2 + [[3.0, 3.0]] * 6, "raw", (6 * 3 + 2 * 1) / 8 - 2),  # no logarithm
    ],
)
def test_the_scale_that_a_score_is_compared_on(score, first, second, scale, difference):
    x, y = (np.broadcast_to(values, (8, len(first)))[:, None] for values in (first, second))
    (row,) = compare_scores("a", "b", [score], x, y, **RULE)
    assert (row.scale, row.seeds_b, row.primary) == (scale, 8, False)
    assert row.difference == pytest.approx(difference)


def test_the_error_of_shared_draws_widens_the_interval():
    y = arm([0.3, 0.3, 0.3], 1)
    narrow, wide = (verdict(None, first=X, second=y, errors=e)[1][0] for e in (None, (0.1 * X, 0.1 * y)))
    shared = 2**0.5 * 0.1 / np.log(10)
    expected = ((narrow.high - narrow.low) ** 2 / 4 + (2 * shared) ** 2) ** 0.5
    assert (wide.high - wide.low) / 2 == pytest.approx(expected, rel=0.1)


def test_curvature_does_not_speak_where_no_point_is_critical():
    x, y = (np.concatenate([z, z[:, :1]], axis=1) for z in (X, Y))
    tests = compare_scores("a", "b", [*PRIMARY, "trace"], x, y, **RULE)
    for value, said in ((0.5, True), (3.0, False), (np.nan, False)):
        gate = passed("gradient", value, note="reported: …")
        assert ("curvature agrees" in decide("a", "b", [gate], tests, level=0.05, names=NAMES).text) == said


def test_arms_without_a_difference_are_not_called_different():
    """Runs of the same weights share most of their score, as those that differ in nothing but the order of data do."""
    rng, called = np.random.default_rng(0), 0
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
