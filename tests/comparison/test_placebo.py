"""The placebo control: nominal false alarms, power that grows, agreement with the decision rule itself."""

import numpy as np
import pytest

import landscape as ls
from landscape.comparison import PRIMARY, compare_scores, decide, placebo
from landscape.comparison.placebo import decisions
from landscape.results import Comparison


def comparison(seeds=8, spread=0.02, values=None):
    rng = np.random.default_rng(0)
    if values is None:
        values = 10 ** (rng.normal(0, spread, (2, seeds, 3, 1)) + np.linspace(0, 1, 4))
        values[:, :, 2, 1:] = np.nan  # one score has a single radius
    return Comparison(
        recipes=("a", "b"),
        long_names=("A", "B"),
        scores=PRIMARY,
        radii=np.ones((3, 4)),
        values=values,
        standard_errors=np.full(values.shape, np.nan),
        metrics={},
        gates=(),
        tests=(),
        verdicts=(),
        audited=(),
    )


def test_false_alarms_stay_below_the_level_and_power_grows():
    found = placebo(comparison(), shifts=(0, 0.01, 0.02, 0.05, 0.2), resamples=400)
    assert found.called[0] <= 0.05
    assert (np.diff(found.called) >= -0.02).all()
    assert found.called[-1] == 1
    assert found.significant.shape == (3, 5)
    assert "nominal 5%" in repr(found)


def test_the_rule_is_the_one_of_decide():
    rng = np.random.default_rng(1)
    a = rng.normal(0, 0.05, (40, 8, 3, 4))
    b = rng.normal(0.085, 0.05, (40, 8, 3, 4))
    called = decisions(a, b, 0.05).direction != 0
    for x, y, expected in zip(a, b, called, strict=True):
        tests = compare_scores("a", "b", PRIMARY, 10**x, 10**y, margin=0.05, level=0.05, fewest=6)
        verdict = decide("a", "b", [], tests, level=0.05, names={}).verdict
        assert (verdict in ("spikier", "flatter")) == expected
    assert 0 < called.mean() < 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recipe": "c"}, "no recipe"),
        ({"shifts": (0.1,)}, "expected 0"),
    ],
)
def test_wrong_requests(options, message):
    with pytest.raises(ls.LandscapeError, match=message):
        placebo(comparison(), **options)


def test_too_few_seeds_and_scores_that_are_not_positive():
    with pytest.raises(ls.LandscapeError, match="at least 4"):
        placebo(comparison(seeds=3))
    negative = np.full((2, 8, 3, 4), -1.0)
    with pytest.raises(ls.LandscapeError, match="where gates fail none is measured"):
        placebo(comparison(values=np.full((2, 8, 3, 4), np.nan)))
    with pytest.raises(ls.LandscapeError, match="not positive"):
        placebo(comparison(values=negative))


def test_the_rate_has_the_error_of_another_choice_of_seeds():
    """Over pools of 8 seeds of one population the power scatters as much as its error says."""
    found = []
    for seed in range(40):
        values = 10 ** np.random.default_rng(seed).normal(0, 0.1, (1, 8, 3, 1)).repeat(2, axis=0)
        made = placebo(comparison(values=np.repeat(values, 4, axis=3)), arm=6, shifts=(0, 0.2), resamples=150)
        found.append((made.called[1], made.called_error[1]))
    power, errors = np.array(found).T
    assert np.sqrt((errors**2).mean()) == pytest.approx(power.std(), rel=0.4)
