"""Evidence over many models: ranks, designs, sign errors, increments, regret."""

import itertools

import numpy as np
import pytest
from scipy import stats

from landscape import LandscapeError, NotDefinedError
from landscape.statistics import (
    conditional_independence,
    granulated_kendall,
    hoeffding_weight,
    increment,
    informative_gap,
    kendall,
    robust_sign_error,
    selection_regret,
    smallest_significant_tau,
)

GRID = {
    "lr": np.repeat([0.01, 0.1, 1.0], 6),
    "width": np.tile(np.repeat([8, 16, 32], 2), 3),
    "depth": np.tile([1, 2], 9),
}


@pytest.mark.parametrize(
    ("models", "tau"),
    [(5, 1.0), (6, 0.867), (8, 0.643), (10, 0.511), (12, 0.455), (15, 0.390), (20, 0.326), (30, 0.255), (50, 0.192)],
)
def test_smallest_significant_tau_is_the_published_table(models, tau):
    assert round(smallest_significant_tau(models), 3) == tau


def test_smallest_significant_tau_by_counting_every_permutation():
    ranks = range(6)
    taus = np.array([stats.kendalltau(ranks, p).statistic for p in itertools.permutations(ranks)])
    levels = np.unique(np.round(np.abs(taus), 9))
    expected = min(t for t in levels if (np.abs(taus) >= t - 1e-6).mean() <= 0.05)
    assert smallest_significant_tau(6) == pytest.approx(expected, abs=1e-8)
    assert smallest_significant_tau(4) == float("inf")


def test_kendall_is_exact_without_ties_and_says_so_with_them():
    assert kendall([1, 2, 3, 4], [4, 3, 2, 1]).p_value == pytest.approx(2 / 24)
    tied = kendall([1, 1, 2, 3, 4], [1, 2, 3, 4, 5])
    assert not tied.exact
    assert tied.tau == pytest.approx(9 / np.sqrt(10 * 9))
    with pytest.raises(NotDefinedError, match="values that vary"):
        kendall([1, 1, 1], [1, 2, 3])


def test_granulated_kendall_sees_through_a_confounder():
    rng = np.random.default_rng(0)
    gap = np.log(GRID["lr"]) + 0.1 * rng.normal(size=18)
    score = np.log(GRID["lr"]) * 10 + rng.permutation(18) * 0.1
    result = granulated_kendall(GRID, score, gap)
    assert kendall(score, gap).tau > 0.5
    assert result.axes["lr"] == 1.0
    assert abs(result.axes["width"]) < 0.6
    assert result.cells == {"lr": 6, "width": 6, "depth": 9}
    assert result.psi == pytest.approx(np.mean(list(result.axes.values())))


def test_granulated_kendall_averages_seeds_and_counts_a_constant_score_as_nothing():
    grid = {"lr": [1, 1, 2, 2]}
    assert granulated_kendall(grid, [1, 5, 2, 3], [0, 1, 2, 3]).axes == {"lr": -1.0}
    assert granulated_kendall(grid, [1, 1, 1, 1], [0, 1, 2, 3]).psi == 0.0
    with pytest.raises(NotDefinedError, match="factorial"):
        granulated_kendall({"lr": [1, 2], "width": [1, 2]}, [1, 2], [1, 2])


def test_conditional_independence_is_one_for_the_outcome_itself_and_zero_for_what_a_hyperparameter_explains():
    rng = np.random.default_rng(1)
    gap = rng.normal(size=18)
    itself = conditional_independence(GRID, gap, gap)
    assert itself.value == pytest.approx(1.0)
    lr = np.repeat([1.0, 2.0, 3.0], 60)
    explained = conditional_independence({"lr": lr}, 10 * lr + rng.normal(size=180), 10 * lr + rng.normal(size=180))
    assert explained.by_subset[()] > 0.3
    assert explained.value < 0.01
    assert explained.given == ("lr",)


def test_conditional_independence_by_hand():
    # Three runs; sign tables over the six ordered pairs: orders agree in two of the three unordered pairs.
    result = conditional_independence({"lr": [1, 1, 1]}, [1, 2, 3], [1, 3, 2], largest=0)
    joint = np.array([[2, 1], [1, 2]]) / 6
    expected = np.log(2) - (stats.entropy(joint.ravel()) - np.log(2))
    assert result.value == pytest.approx(expected / np.log(2))
    with pytest.raises(NotDefinedError, match="never varies"):
        conditional_independence({"lr": [1, 1, 1]}, [1, 2, 3], [1, 1, 1])


@pytest.mark.parametrize(
    ("size", "gap"), [(10_000, 0.0196), (4_000, 0.031), (1_000, 0.062), (797, 0.069), (360, 0.103)]
)
def test_gaps_that_carry_weight_are_the_published_table(size, gap):
    assert informative_gap(size) == pytest.approx(gap, abs=5e-4)
    assert hoeffding_weight(informative_gap(size), size) == pytest.approx(0.5)
    assert hoeffding_weight(0.01, 360) == 0.0


def test_sign_error_averages_what_its_worst_environment_shows():
    lr, width = np.repeat([1, 1, 2, 2], 4), np.repeat([1, 2, 1, 2], 4)
    gap = 0.3 * lr + 0.1 * width
    score = 3.0 * lr - width  # right about lr, wrong about width
    result = robust_sign_error({"lr": lr, "width": width}, score, gap, test_size=10_000)
    assert result.axes == {"lr": 0.0, "width": 1.0}
    assert (result.mean, result.largest, result.environments, result.dropped) == (0.5, 1.0, 4, 0)


def test_sign_error_drops_environments_below_the_noise_of_the_test_set():
    lr, width = np.repeat([1, 1, 2, 2], 4), np.repeat([1, 2, 1, 2], 4)
    gap = 0.3 * lr + 0.1 * width
    result = robust_sign_error({"lr": lr, "width": width}, gap, gap, test_size=360)
    assert result.dropped == 2  # differences of 0.1 say nothing with 360 examples
    assert result.axes == {"lr": 0.0}
    with pytest.raises(NotDefinedError, match="too little weight"):
        robust_sign_error({"lr": lr[::4], "width": width[::4]}, gap[::4], gap[::4], test_size=10_000)


def test_sign_error_weighs_pairs_by_hoeffding():
    lr = np.repeat([1, 2], 4)
    score = np.array([0, 0, 0, 9, 1, 1, 1, 1.0])
    gap = np.array([0.10, 0.10, 0.10, 0.47, 0.5, 0.5, 0.5, 0.5])
    weights = [hoeffding_weight(0.4, 10_000) - 0.5] * 12 + [hoeffding_weight(0.03, 10_000) - 0.5] * 4
    expected = sum(weights[12:]) / sum(weights)
    assert 0 < expected < 0.25
    assert robust_sign_error({"lr": lr}, score, gap, test_size=10_000).mean == pytest.approx(expected)


def test_increment_finds_what_the_baseline_misses_and_nothing_in_noise():
    rng = np.random.default_rng(2)
    groups = np.arange(120) // 3
    base = rng.normal(size=(120, 3))
    score = rng.normal(size=120) + 3 * base[:, 0]
    gap = base @ [1.0, 2.0, -1.0] + (score - 3 * base[:, 0]) + 0.1 * rng.normal(size=120)
    found = increment(score, gap, base, groups)
    assert found.shown
    assert found.partial_correlation > 0.95
    assert found.full_error < 0.1 * found.baseline_error
    noise = increment(3 * base[:, 0] + rng.normal(size=120), gap - score + 3 * base[:, 0], base, groups)
    assert not noise.shown
    assert noise.raw_correlation > 0.3 > abs(noise.partial_correlation)
    assert found == increment(score, gap, base, groups)


def test_increment_keeps_groups_whole():
    # A value shared within a group and unrelated to the outcome elsewhere predicts only if groups are split.
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(30), 4)
    one_hot = (groups[:, None] == np.arange(30)).astype(float)
    gap = rng.normal(size=30)[groups]
    result = increment(rng.normal(size=120), gap, one_hot, groups, folds=5)
    assert result.baseline_error > 0.5 * gap.var()


def test_regret_of_choosing_by_a_score():
    perfect = selection_regret([1, 2, 3], [0.1, 0.2, 0.3])
    assert (perfect.regret, perfect.chosen) == (0.0, 0)
    tied = selection_regret([1, 1, 2], [0.0, 0.5, 0.25])
    assert tied.regret == 0.25
    assert selection_regret([2, 1], [0.0, 1.0]).at_worst == 1.0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kendall([1, 2, 3, 4], [1, 2, 3]), "do not pair up"),
        (lambda: kendall([1, 2], [1, 2]), "at least 3"),
        (lambda: smallest_significant_tau(1), "at least 2"),
        (lambda: granulated_kendall({}, [1, 2], [1, 2]), "design is empty"),
        (lambda: granulated_kendall({"lr": [1]}, [1, 2], [1, 2]), "1 values for 2 runs"),
        (lambda: hoeffding_weight(0.1, 0), "number of examples"),
        (lambda: informative_gap(0), "number of examples"),
        (lambda: increment([1, 2, 3], [1, 2, 3], [[1], [2], [3]], [0, 0, 1]), "cannot make 5 folds"),
        (lambda: increment(range(6), range(6), np.eye(6), range(6), folds=2), "cannot fit"),
        (lambda: increment([1, 2, 3], [1, 2, 3], [[1], [np.nan], [3]], [0, 1, 2]), "baseline holds NaN"),
        (lambda: selection_regret([1], [1]), "at least 2"),
    ],
)
def test_wrong_input_says_what_to_do(call, message):
    with pytest.raises(LandscapeError, match=message):
        call()
