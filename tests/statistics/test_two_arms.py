"""Tests between two arms of seeds: randomisation, Holm, intervals, superiority."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from landscape import LandscapeError
from landscape.statistics import (
    bootstrap_interval,
    holm,
    mean_difference,
    permutation_floor,
    permutation_p_values,
    permutation_test,
    sign_flip_p_values,
    sign_flip_test,
    superiority,
)

scores = st.integers(-50, 50).map(float)


@pytest.mark.parametrize(("n", "floor"), [(4, 0.029), (5, 0.0079), (6, 0.0022), (8, 1.6e-4)])
def test_the_published_floors_are_reached_by_separated_arms(n, floor):
    low, high = np.arange(n), np.arange(n) + 100.0
    test = permutation_test(low, high, fewest=4)
    assert test.exact
    assert test.p_value == pytest.approx(permutation_floor(n, n), rel=1e-12)
    assert test.p_value == test.floor
    assert float(f"{test.p_value:.2g}") == floor
    assert test.difference == 100.0


@given(arrays(float, 6, elements=scores), arrays(float, 7, elements=scores))
@settings(max_examples=20, deadline=None)
def test_the_exact_test_is_the_count_over_all_assignments(a, b):
    pooled = np.concatenate([a, b])
    sums = np.array([pooled[list(chosen)].sum() for chosen in itertools.combinations(range(13), 6)])
    expected = min(1.0, 2 * min((sums <= a.sum() + 1e-9).mean(), (sums >= a.sum() - 1e-9).mean()))
    assert permutation_test(a, b).p_value == pytest.approx(expected, rel=1e-12)
    assert permutation_p_values(a[None], b[None])[0] == pytest.approx(expected, rel=1e-12)


def test_the_null_is_rejected_at_the_nominal_rate_and_an_effect_far_more_often():
    rng = np.random.default_rng(0)
    null = permutation_p_values(rng.normal(size=(1000, 6)), rng.normal(size=(1000, 6)))
    effect = permutation_p_values(rng.normal(size=(200, 6)), rng.normal(2.0, size=(200, 6)))
    assert (null < 0.05).mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 1000)
    assert (effect < 0.05).mean() > 0.7


def test_beyond_the_limit_assignments_are_drawn_with_the_seed():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=11), rng.normal(0.8, size=11)
    drawn = permutation_test(a, b)
    assert (drawn.exact, drawn.arrangements) == (False, 99_999)
    assert drawn == permutation_test(a, b)
    assert drawn.p_value != permutation_test(a, b, seed=1).p_value
    # The drawn p value lies within its Monte-Carlo error.
    sums = _sums_of_subsets(np.concatenate([a, b]), 11)
    assert len(sums) == 705_432
    exact = 2 * min((sums <= a.sum() + 1e-9).mean(), (sums >= a.sum() - 1e-9).mean())
    assert drawn.p_value == pytest.approx(exact, abs=6 * np.sqrt(exact / 99_999))


def _sums_of_subsets(values, size):
    """Sums of every subset of that size: subsets of each half, joined."""
    half = len(values) // 2
    by_size = []
    for part in (values[:half], values[half:]):
        bits = (np.arange(2 ** len(part))[:, None] >> np.arange(len(part))) & 1
        by_size.append([bits[bits.sum(1) == k] @ part for k in range(len(part) + 1)])
    joined = [np.add.outer(by_size[0][k], by_size[1][size - k]).ravel() for k in range(half + 1)]
    return np.concatenate(joined)


def test_sign_flips_are_the_count_over_all_patterns():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=9), rng.normal(0.5, size=9)
    means = np.array([np.mean(np.array(s) * (b - a)) for s in itertools.product([1, -1], repeat=9)])
    observed = np.mean(b - a)
    test = sign_flip_test(a, b)
    assert test.p_value == pytest.approx((np.abs(means) >= abs(observed) - 1e-12).mean())
    assert test.difference == pytest.approx(observed)
    assert test.floor == 2 / 512
    assert sign_flip_p_values([a - b, b - a]) == pytest.approx([test.p_value] * 2)


def test_pairing_finds_what_independent_arms_hide():
    start = np.random.default_rng(0).normal(0, 10, size=9)
    assert sign_flip_test(start, start + 0.1).p_value == 2 / 512
    assert permutation_test(start, start + 0.1).p_value > 0.5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: permutation_test([np.nan] * 8, range(8)), "NaN or infinite"),
        (lambda: permutation_test(np.ones((8, 2)), range(8)), "expected a vector"),
        (lambda: sign_flip_test(range(9), range(10)), "do not pair up"),
        (lambda: permutation_p_values(np.ones((2, 8)), np.ones((3, 8))), "one row per comparison"),
        (lambda: permutation_p_values(np.ones((1, 20)), np.ones((1, 20))), "too many to enumerate"),
        (lambda: mean_difference([1.0, 2.0], [1.0], paired=True), "two or more in each"),
        (lambda: sign_flip_p_values(np.ones((1, 18))), "n ≤ 17"),
        (lambda: permutation_floor(0, 5), "at least one seed"),
        (lambda: holm([0.1, 1.2]), "must lie in"),
        (lambda: bootstrap_interval([1.0]), "at least 2"),
        (lambda: bootstrap_interval([1.0, 2.0], confidence=95), "between 0 and 1"),
        (lambda: permutation_test(range(5), range(8)), "at least 6"),
        (lambda: sign_flip_test(range(8), range(8)), "at least 9"),
        (lambda: superiority([], [1.0]), "at least 1"),
    ],
)
def test_wrong_input_says_what_to_do(call, message):
    with pytest.raises(LandscapeError, match=message):
        call()


def test_holm_keeps_order_and_controls_the_chance_of_any_false_claim():
    assert holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    p = np.random.default_rng(0).uniform(size=(4000, 3))
    assert np.mean([holm(row).min() < 0.05 for row in p]) == pytest.approx(0.05, abs=0.011)


def test_bootstrap_covers_the_mean_at_the_nominal_rate():
    rng = np.random.default_rng(5)
    covered = 0
    for seed in range(200):
        interval = bootstrap_interval(rng.normal(3.0, 1.0, size=30), resamples=500, seed=seed)
        covered += interval.low <= 3.0 <= interval.high
    assert 0.88 <= covered / 200 <= 0.99
    assert interval.standard_error == pytest.approx(1 / np.sqrt(30), rel=0.4)


def test_bootstrap_of_two_arms_is_of_their_difference():
    a, b = np.random.default_rng(6).normal(size=(2, 20))
    found = bootstrap_interval(a, b + 1)
    assert found.value == pytest.approx(1 + np.mean(b - a))
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt((a.var() + b.var()) / 20), rel=0.1)
    assert found == bootstrap_interval(a, b + 1)
    narrow = bootstrap_interval(a, b + 1, confidence=0.5)
    assert narrow.high - narrow.low == pytest.approx((found.high - found.low) * 0.674 / 1.96, rel=0.1)
    assert bootstrap_interval([2.0] * 5).standard_error == 0.0


@pytest.mark.parametrize("paired", [False, True])
def test_the_interval_of_a_difference_covers_it_in_95_of_100_repetitions(paired):
    """8 seeds per arm, with and without an error that all seeds of a repetition share: 95 ± 1 %, ± 3 % of the first 200."""
    rng = np.random.default_rng(7)
    start = rng.normal(0, 1, (4000, 8)) if paired else 0.0
    a, b = rng.normal(0, 0.02, (4000, 8)) + start, rng.normal(0.1, 0.06, (4000, 8)) + start
    common = rng.normal(0, 0.05, (4000, 1))
    for values, shared in ((b, 0.0), (b + common, 0.05)):
        low, high = mean_difference(a, values, paired=paired, shared=shared).interval()
        covered = (low <= 0.1) & (high >= 0.1)
        assert 0.92 <= covered[:200].mean() <= 0.98
        assert covered.mean() == pytest.approx(0.95, abs=0.01)
    low, high = mean_difference(a, b + common, paired=paired).interval()  # what leaving the shared error out does
    assert ((low <= 0.1) & (high >= 0.1)).mean() < 0.9


def test_a_difference_of_independent_seeds_is_welchs():
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=(3, 8)), rng.normal(1, 2, size=(3, 10))
    low, high = mean_difference(a, b).interval()
    expected = [stats.ttest_ind(y, x, equal_var=False).confidence_interval() for x, y in zip(a, b, strict=True)]
    assert low == pytest.approx([interval.low for interval in expected])
    assert high == pytest.approx([interval.high for interval in expected])
    exact = mean_difference([1.0, 1.0], [1.0, 1.0])
    assert (exact.interval(), float(exact.within(0.1)), bool(exact.beyond(0.1))) == ((0.0, 0.0), 0.0, False)


def test_superiority_is_the_share_of_pairs():
    a, b = np.array([1.0, 2.0, 5.0]), np.array([2.0, 3.0])
    assert superiority(a, b) == pytest.approx((1 + 0.5 + 0 + 1 + 1 + 0) / 6)
    assert superiority(a, b) + superiority(b, a) == pytest.approx(1.0)
