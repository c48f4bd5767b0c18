"""The rule over a noise grid: what it calls a trend, what it refuses, and how often it errs."""

import numpy as np
import pytest

from landscape.comparison.trend import noise_trends, noise_verdict, trend_placebo
from landscape.errors import LandscapeError
from landscape.results import Trials

PRIMARY = ("adaptive-worst-symmetric", "adaptive-average", "inverse-sigma-mag")
RISE = np.linspace(0, 1, 5)


def grid(slopes, seeds=6, noise=0.01, seed=0):
    """Scores (noise, seed, radius) whose log10 rises by a slope each, at two radii."""
    rng = np.random.default_rng(seed)
    return {
        f"own/{name}": 10 ** (slope * RISE[:, None, None] + noise * rng.normal(size=(5, seeds, 2)))
        for name, slope in zip(PRIMARY, slopes, strict=True)
    }


def trials(scores, seeds=6, **changes):
    """Runs of one recipe at one place over five noise levels, with matching losses unless changed."""
    values = {"train/loss": 0.01, "train/accuracy": 1.0, "gradient/noise": 0.5, "reached": 1.0, **changes}
    columns = {name: np.broadcast_to(np.asarray(value), (5, seeds)) for name, value in values.items()} | scores
    rows = [
        {
            "noise": float(RISE[i]),
            "seed": seed,
            "stage": "loss-0.01",
            **{name: v[i, seed] for name, v in columns.items()},
        }
        for i in range(5)
        for seed in range(seeds)
    ]
    return Trials.of(rows, factors=("noise", "seed", "stage"), parts=("stage",))


def trends_of(scores):
    return noise_trends(trials(scores), list(scores))


def decided(slopes, *, descriptive=(), **changes):
    made = trials(grid(slopes), **changes)
    return noise_verdict(made, trends_of(grid(slopes)), "SGD at loss 0.01", descriptive=descriptive)


def test_slopes_are_recovered_with_their_corrected_p():
    rows = trends_of(grid((0.5, 1.0, -0.3)))
    assert [row.difference for row in rows] == pytest.approx([0.5, 1.0, -0.3], abs=0.02)
    assert [row.tau for row in rows] == pytest.approx([1, 1, -1])
    assert all(row.p_holm >= row.p_value for row in rows)
    assert [(row.scale, row.a, row.b, row.part) for row in rows] == [("log10", "0", "1", "loss-0.01")] * 3


@pytest.mark.parametrize(
    ("slopes", "verdict"),
    [((0.5, 1, 0.7), "spikier"), ((-0.5, -1, -0.7), "flatter"), ((0.5, 1, -0.7), "mixed"), ((0, 0, 0), "inconclusive")],
)
def test_the_verdict_follows_the_three_primary_scores(slopes, verdict):
    assert decided(slopes).verdict == verdict


def test_a_score_that_failed_the_audit_carries_no_verdict():
    assert decided((1, 1, 1), descriptive=["adaptive-average"]).verdict == "inconclusive"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"train/loss": np.array([1, 1, 1, 1, 1.2])[:, None] * 0.01},
            "mean losses differ by up to × 1.2, allowed × 1.1",
        ),
        ({"train/accuracy": np.array([1, 1, 1, 1, 0.99])[:, None]}, "accuracies differ by 1.00%"),
        ({"gradient/noise": np.array([0.5, 0.5, 3, 0.5, 0.5])[:, None]}, "3 times its sampling noise"),
        ({"reached": np.array([1, 1, 1, 1, 0])[:, None]}, "1 of 5 noise levels never got there"),
    ],
)
def test_every_gate_refuses_and_says_why(changes, words):
    verdict = decided((1, 1, 1), **changes)
    assert verdict.verdict == "not comparable"
    assert words in verdict.text


def test_a_sign_that_changes_with_the_radius_is_not_significant():
    scores = grid((1, 1, 1))
    for name in PRIMARY[:2]:
        scores[f"own/{name}"][:, :, 1] = scores[f"own/{name}"][::-1, :, 1] ** 0.5
    rows = trends_of(scores)
    assert [row.sign_stable for row in rows] == [False, False, True]
    assert noise_verdict(trials(scores), rows, "SGD at loss 0.01").verdict == "inconclusive"


def test_a_part_without_a_value_at_zero_noise_starts_at_the_first_level():
    values = grid((1, 1, 1))["own/adaptive-average"].copy()
    values[0] = np.nan
    (row,) = trends_of({"corrupted/adaptive-average": values})
    assert (row.levels, row.primary, row.a) == (4, False, "0.25")
    assert row.difference == pytest.approx(0.75, abs=0.02)
    assert trends_of({"corrupted/trace": np.full((5, 6, 1), np.nan)}) == []


def test_the_placebo_keeps_its_level_and_sees_a_real_trend():
    scores = {
        name: values[0] for name, values in zip(PRIMARY, grid((0, 0, 0), seeds=8, noise=0.05).values(), strict=True)
    }
    result = trend_placebo(scores, recipe="sgd", levels=5, shifts=(0.0, 0.5), resamples=1000)
    assert result.called[0] <= 0.05
    assert result.called[1] > 0.99
    assert (
        result.called.tolist()
        == trend_placebo(scores, recipe="sgd", levels=5, shifts=(0.0, 0.5), resamples=1000).called.tolist()
    )
    with pytest.raises(LandscapeError, match="4 seeds with positive"):
        trend_placebo({name: values[:3] for name, values in scores.items()}, recipe="sgd", levels=5)
