"""The rule over a noise grid: what it calls a trend, what it refuses, and how often it errs."""

import numpy as np
import pytest

from landscape.comparison.trend import noise_trends, noise_verdict, trend_placebo
from landscape.errors import LandscapeError

PRIMARY = ("adaptive-worst-linf", "adaptive-average", "inverse-sigma-mag")
RISE = np.linspace(0, 1, 5)


def grid(slopes, seeds=6, noise=0.01, seed=0):
    """Scores (noise, seed, radius) whose log10 rises by a slope each, at two radii."""
    rng = np.random.default_rng(seed)
    return {
        f"own/{name}": 10 ** (slope * RISE[:, None, None] + noise * rng.normal(size=(5, seeds, 2)))
        for name, slope in zip(PRIMARY, slopes, strict=True)
    }


def metrics(seeds=6, **changes):
    values = {"train/loss": 0.01, "train/accuracy": 1.0, "gradient/noise": 0.5, "reached": 1.0, **changes}
    return {name: np.broadcast_to(np.asarray(value), (5, seeds)) for name, value in values.items()}


def decided(slopes, **options):
    trends = noise_trends("sgd", "loss-0.01", grid(slopes))
    return noise_verdict("sgd", "loss-0.01", "SGD", metrics(), trends, **options)


def test_slopes_are_recovered_with_their_corrected_p():
    rows = noise_trends("sgd", "loss-0.01", grid((0.5, 1.0, -0.3)))
    assert [row.change for row in rows] == pytest.approx([0.5, 1.0, -0.3], abs=0.02)
    assert [row.tau for row in rows] == pytest.approx([1, 1, -1])
    assert all(row.p_holm >= row.p_value for row in rows)
    assert [row.scale for row in rows] == ["log10"] * 3


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
    trends = noise_trends("sgd", "loss-0.01", grid((1, 1, 1)))
    verdict = noise_verdict("sgd", "loss-0.01", "SGD", metrics(**changes), trends)
    assert verdict.verdict == "not comparable"
    assert words in verdict.text


def test_a_sign_that_changes_with_the_radius_is_not_significant():
    scores = grid((1, 1, 1))
    for name in PRIMARY[:2]:
        scores[f"own/{name}"][:, :, 1] = scores[f"own/{name}"][::-1, :, 1] ** 0.5
    rows = noise_trends("sgd", "loss-0.01", scores)
    assert [row.sign_stable for row in rows] == [False, False, True]
    assert noise_verdict("sgd", "loss-0.01", "SGD", metrics(), rows).verdict == "inconclusive"


def test_a_part_without_a_value_at_zero_noise_starts_at_the_first_level():
    values = grid((1, 1, 1))["own/adaptive-average"].copy()
    values[0] = np.nan
    (row,) = noise_trends("sgd", "loss-0.01", {"corrupted/adaptive-average": values})
    assert (row.levels, row.primary) == (4, False)
    assert row.change == pytest.approx(0.75, abs=0.02)
    assert noise_trends("sgd", "x", {"corrupted/trace": np.full((5, 6, 1), np.nan)}) == []


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
