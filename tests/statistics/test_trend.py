"""One trend over a grid: the published example, exact floors, and p values that keep their promise under the null."""

import numpy as np
import pytest
from scipy import stats

from landscape.errors import LandscapeError, NotDefinedError
from landscape.statistics import trend_p_values, trend_test


def test_a_fall_is_a_rise_seen_from_the_other_end():
    table = np.random.default_rng(0).normal(size=(5, 4)) + 0.4 * np.arange(4)
    up, down = trend_test(table), trend_test(table[:, ::-1])
    assert up.p_value == down.p_value
    assert up.tau == -down.tau
    assert up.p_value == 2 * stats.page_trend_test(table, method="exact").pvalue
    assert trend_test(-table).tau == -up.tau


def test_what_a_seed_adds_to_all_its_levels_drops_out():
    rng = np.random.default_rng(1)
    table = rng.normal(size=(6, 5))
    assert trend_test(table + 100 * rng.normal(size=(6, 1))) == trend_test(table)


def test_tau_is_the_mean_over_seeds():
    assert trend_test([[1.0, 2, 3], [1, 2, 3], [3, 2, 1], [1, 3, 2]]).tau == pytest.approx((1 + 1 - 1 + 1 / 3) / 4)


def test_p_values_of_many_are_those_of_one_by_one():
    values = np.random.default_rng(3).normal(size=(5, 6, 4)) + 0.2 * np.arange(4)
    rises = [stats.page_trend_test(table, method="asymptotic").pvalue for table in values]
    assert trend_p_values(values) == pytest.approx([2 * min(p, 1 - p) for p in rises])


def test_seeds_with_a_hole_are_left_out():
    table = np.array([[1.0, 2, 3], [2, np.nan, 1], [0, 1, 2]])
    assert trend_test(table) == trend_test(table[[0, 2]])
    assert trend_test(table).seeds == 2


def test_without_a_trend_the_level_is_kept():
    values = np.random.default_rng(2).normal(size=(4000, 8, 7))
    rate = (trend_p_values(values) < 0.05).mean()
    assert 0.04 < rate < 0.06
    assert (trend_p_values(values + 0.3 * np.arange(7)) < 0.05).mean() > 0.95


def test_wrong_inputs():
    with pytest.raises(LandscapeError, match="expected \\(seeds, levels\\)"):
        trend_test([1, 2, 3])
    with pytest.raises(NotDefinedError, match="at least 2 seeds at 3 levels"):
        trend_test([[1, 2], [3, 4]])
    with pytest.raises(NotDefinedError, match="1 complete seeds"):
        trend_test([[1, 2, 3], [3, 4, np.nan]])
    with pytest.raises(LandscapeError, match="tests, seeds, levels"):
        trend_p_values([[1, 2, 3]])
    assert trend_test([[1, 1, 1], [1, 1, 1]]).tau == 0
