"""Evidence over many models: ranks, designs, sign errors, what is known within cells, regret."""

import itertools

import numpy as np
import pytest
from scipy import stats

from landscape import LandscapeError, NotDefinedError
from landscape.statistics import (
    Cells,
    conditional_information,
    granulated,
    hoeffding_weight,
    kendall,
    selection_regret,
    sign_errors,
    within_cells,
)

GRID = {
    "lr": np.repeat([0.01, 0.1, 1.0], 6),
    "width": np.tile(np.repeat([8, 16, 32], 2), 3),
    "depth": np.tile([1, 2], 9),
}


def test_kendall_is_exact_without_ties_and_says_so_with_them():
    assert kendall([1, 2, 3, 4], [4, 3, 2, 1]).p_value == pytest.approx(2 / 24)
    tied = kendall([1, 1, 2, 3, 4], [1, 2, 3, 4, 5])
    assert not tied.exact
    assert tied.tau == pytest.approx(9 / np.sqrt(10 * 9))
    with pytest.raises(NotDefinedError, match="values that vary"):
        kendall([1, 1, 1], [1, 2, 3])


@pytest.mark.parametrize("ties", [False, True])
def test_kendall_of_one_stratum_is_that_of_scipy(ties):
    x, y = np.random.default_rng(0).normal(size=(2, 40))
    x, y = (np.round(x), np.round(y)) if ties else (x, y)
    expected = stats.kendalltau(x, y, method="asymptotic" if ties else "exact")
    found = kendall(x, y)
    assert (found.tau, found.p_value) == pytest.approx((expected.statistic, expected.pvalue))


def test_kendall_over_strata_by_counting_every_permutation():
    y, strata = np.array([1, 3, 2, 4, 1, 2, 3.0]), np.array([0, 0, 0, 0, 1, 1, 1])
    pairs = np.triu(strata[:, None] == strata, 1)

    def total(x):
        return (np.sign(np.subtract.outer(x, x)) * np.sign(np.subtract.outer(y, y)))[pairs].sum()

    null = [total(np.array(a + b)) for a in itertools.permutations(range(4)) for b in itertools.permutations(range(3))]
    x = np.array([0, 1, 2, 3, 0, 2, 1.0])
    found = kendall(x, y, strata)
    assert found.exact
    assert found.tau == total(x) / pairs.sum()
    assert found.p_value == pytest.approx(np.mean(np.abs(null) >= total(x)))


def test_granulated_tau_sees_through_a_confounder():
    rng = np.random.default_rng(0)
    gap = np.log(GRID["lr"]) + 0.1 * rng.normal(size=18)
    score = np.log(GRID["lr"]) * 10 + rng.permutation(18) * 0.1
    cells = Cells.of_design(GRID)
    axes = dict(zip(cells.axes, granulated(cells, *cells.means(score, gap))[0], strict=True))
    assert kendall(score, gap).tau > 0.5
    assert axes["lr"] == 1.0
    assert abs(axes["width"]) < 0.6
    lines = [stats.kendalltau(score[i::2][j::3], gap[i::2][j::3]).statistic for i in range(2) for j in range(3)]
    assert axes["lr"] == pytest.approx(np.mean(lines))


def test_granulated_tau_averages_seeds_and_counts_a_constant_score_as_nothing():
    cells = Cells.of_design({"lr": [1, 1, 2, 2]})
    assert granulated(cells, *cells.means([1, 5, 2, 3], [0, 1, 2, 3])) == -1.0
    assert granulated(cells, *cells.means([1, 1, 1, 1], [0, 1, 2, 3])) == 0.0
    assert np.isnan(granulated(cells, *cells.means([1, 2, 3, 4], [1, 1, 1, 1])))
    assert np.isnan(granulated(Cells.of_design({"lr": [1, 2], "width": [1, 2]}), np.arange(2.0), np.arange(2.0))).all()


def test_strata_are_not_compared_and_weights_count_cells_twice():
    cells = Cells.of_design({"data": "aabb", "lr": [1, 2, 1, 2]}, strata=("data",))
    score, gap = np.array([1.0, 2.0, 9.0, 8.0]), np.arange(4.0)
    weights = np.array([[1.0, 1, 1, 1], [2, 1, 1, 1], [1, 1, 0, 3]])
    assert granulated(cells, score, gap, weights)[:, 0].tolist() == pytest.approx([0.0, 1 / 3, 1.0])
    drawn = cells.resamples(500)
    assert (drawn[:, :2].sum(axis=1) == 2).all()
    assert abs(drawn.mean() - 1) < 1e-12


def test_conditional_information_is_one_for_the_outcome_itself_and_nothing_where_a_factor_explains_it():
    rng = np.random.default_rng(1)
    cells, gap = Cells.of_design(GRID), rng.normal(size=18)
    assert min(share[0] for share in conditional_information(cells, gap, gap).values()) == pytest.approx(1.0)
    assert {len(known) for known in conditional_information(cells, gap, gap, largest=1)} == {0, 1}
    lr, width = np.repeat(np.arange(3), 40), np.tile(np.arange(40), 3)
    explained = Cells.of_design({"lr": lr, "width": width})
    shares = conditional_information(explained, *(10 * lr + rng.normal(size=(2, 120))))
    assert shares[()][0] > 0.3
    assert shares[("lr",)][0] < 0.01


def test_conditional_information_by_hand():
    # Three cells; sign tables over the six ordered pairs: orders agree in two of the three unordered pairs.
    cells = Cells.of_design({"lr": [1, 2, 3]})
    share = conditional_information(cells, np.array([1.0, 2, 3]), np.array([1.0, 3, 2]))[()][0]
    joint = np.array([[2, 1], [1, 2]]) / 6
    expected = np.log(2) - (stats.entropy(joint.ravel()) - np.log(2))
    assert share == pytest.approx(expected / np.log(2))
    with pytest.raises(NotDefinedError, match="never varies"):
        conditional_information(cells, np.array([1.0, 2, 3]), np.ones(3))


def test_a_cell_drawn_twice_counts_twice_in_the_information():
    cells, (x, y) = Cells.of_design({"lr": [1, 2, 3, 4]}), np.random.default_rng(0).normal(size=(2, 4))
    counted = np.array([[2.0, 1, 1, 1], [1, 1, 1, 0]])
    fewer = conditional_information(Cells.of_design({"lr": [1, 2, 3]}), x[:3], y[:3])[()]
    assert conditional_information(cells, x, y, counted)[()][1] == pytest.approx(fewer[0])


LR, WIDTH = np.repeat([1, 1, 2, 2], 4), np.repeat([1, 2, 1, 2], 4)
FOUR = Cells.of_design({"lr": LR, "width": WIDTH})


def test_sign_error_averages_what_its_worst_environment_shows():
    gap, score = 0.3 * LR + 0.1 * WIDTH, 3.0 * LR - WIDTH  # right about lr, wrong about width
    found = sign_errors(FOUR, score, gap, test_size=10_000)
    assert dict(zip(found.axis.tolist(), found.error.tolist(), strict=True)) == {0: 0.0, 1: 1.0}
    assert (len(found.error), found.dropped) == (4, 0)
    weights = np.array([[1.0, 1, 1, 1], [1, 0, 1, 0]])
    assert found.mean(weights).tolist() == [0.5, 0.0]
    assert found.percentile(0.9, weights).tolist() == [1.0, 0.0]


def test_sign_error_drops_environments_below_the_noise_of_the_test_set():
    gap = 0.3 * LR + 0.1 * WIDTH
    found = sign_errors(FOUR, gap, gap, test_size=360)
    assert found.dropped == 2  # differences of 0.1 say nothing with 360 examples
    assert sign_errors(FOUR, gap, gap, test_size=10_000, least_effective=15.9).dropped == 0
    with pytest.raises(NotDefinedError, match="too little weight"):
        sign_errors(FOUR, gap, gap, test_size=10_000, least_effective=16.1)  # than the pairs of four seeds
    assert (found.axis.tolist(), found.error.tolist()) == ([0, 0], [0.0, 0.0])
    with pytest.raises(NotDefinedError, match="too little weight"):
        sign_errors(Cells.of_design({"lr": LR[::4], "width": WIDTH[::4]}), gap[::4], gap[::4], test_size=30)


def test_sign_error_weighs_pairs_by_hoeffding():
    assert hoeffding_weight(0.0196, 10_000) == pytest.approx(0.5, abs=0.01)  # as published
    assert hoeffding_weight(0.01, 360) == 0.0
    score = np.array([0, 0, 0, 9, 1, 1, 1, 1.0])
    gap = np.array([0.10, 0.10, 0.10, 0.47, 0.5, 0.5, 0.5, 0.5])
    weights = [hoeffding_weight(0.4, 10_000) - 0.5] * 12 + [hoeffding_weight(0.03, 10_000) - 0.5] * 4
    expected = sum(weights[12:]) / sum(weights)
    assert 0 < expected < 0.25
    found = sign_errors(Cells.of_design({"lr": np.repeat([1, 2], 4)}), score, gap, test_size=10_000)
    assert found.error == pytest.approx([expected])


def within(cells=60, seeds=4, know=1.0, tied=0.0, seed=0):
    """Score and outcome whose cells differ wildly, that share what no cell knows, and a baseline that knows it as well."""
    rng = np.random.default_rng(seed)
    of = np.repeat(np.arange(cells), seeds)
    of_cell, hidden = 10 * rng.normal(size=cells)[of], rng.normal(size=cells * seeds)
    score = of_cell**3 + know * hidden + rng.normal(size=len(of))
    return Cells.of_design({"lr": of}), np.tile(np.arange(seeds), cells), score, hidden + of_cell, hidden


def test_what_is_known_within_cells_and_nothing_that_cells_know():
    cells, seeds, score, outcome, hidden = within(know=1.0)
    found = within_cells(cells, seeds, score, outcome)
    assert found.p_value < 1e-3
    assert 0.5 < found.correlation < 0.8
    assert 0.3 < found.gain < 0.6  # half of the score's variance within cells is the outcome
    assert (found.models, found.blocks) == (240, 60)
    taken_out = within_cells(cells, seeds, score, outcome, [hidden + 0.1 * np.random.default_rng(1).normal(size=240)])
    assert taken_out.gain < 0.02


def test_p_values_within_cells_are_uniform_when_nothing_is_known():
    p = [within_cells(*within(25, know=0.0, seed=seed)[:4], resamples=1).p_value for seed in range(60)]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_cells_without_two_seeds_are_left_out_and_missing_seeds_are_not_exchanged():
    cells, seeds, score, outcome, _ = within(cells=20)
    missing = score.copy()
    missing[:3], missing[4] = np.nan, np.nan
    found = within_cells(cells, seeds, missing, outcome)
    assert (found.models, found.blocks) == (75, 19)
    with pytest.raises(NotDefinedError, match="4 cells with two seeds"):
        within_cells(*within(cells=4)[:4])
    with pytest.raises(LandscapeError, match="share their seed"):
        within_cells(cells, np.zeros(80), score, outcome)
    with pytest.raises(LandscapeError, match="no factor 'mom' to share draws"):
        within_cells(cells, seeds, score, outcome, shared=["mom"])
    with pytest.raises(NotDefinedError, match="outcome does not vary within cells"):
        within_cells(cells, seeds, score, cells.of)
    constant = within_cells(cells, seeds, cells.of, outcome)
    assert (constant.correlation, constant.p_value) == (0.0, 1.0)
    assert abs(constant.gain) < 1e-12


def test_regret_of_choosing_by_a_score():
    cells = Cells.of_design({"data": "aaabbb", "lr": [1, 2, 3] * 2}, strata=("data",))
    outcome = np.array([0.0, 0.5, 0.25, 0.1, 0.2, 0.3])
    assert selection_regret(cells, outcome, outcome)[0] == 0.0
    tied, random = selection_regret(cells, np.array([1.0, 1, 2, 3, 2, 1]), outcome)
    assert tied == pytest.approx((0.25 + 0.2) / 2)
    assert random == pytest.approx((0.25 + 0.1) / 2)
    assert selection_regret(cells, -outcome, outcome, np.array([[1.0, 0, 1, 1, 1, 0]]))[0] == pytest.approx(0.175)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: kendall([1, 2, 3, 4], [1, 2, 3]), "do not pair up"),
        (lambda: kendall([1, 2], [1, 2]), "at least 3"),
        (lambda: Cells.of_design({}), "design is empty"),
        (lambda: Cells.of_design({"lr": [1, 2], "width": [1]}), "1 values for 2 runs"),
        (lambda: Cells.of_design({"lr": [1, 2]}).means([1, 2, 3]), "do not pair up"),
        (lambda: hoeffding_weight(0.1, 0), "number of examples"),
    ],
)
def test_wrong_input_says_what_to_do(call, message):
    with pytest.raises(LandscapeError, match=message):
        call()
