"""The figure of guesses draws both arms and both kinds of labels."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from landscape.plots.guess_and_check import FURTHER, guess_and_check
from landscape.results import GuessAndCheck


@pytest.fixture
def result():
    rng = np.random.default_rng(0)
    return GuessAndCheck(
        guesses=1000,
        accuracy=rng.uniform(0.7, 1, 40),
        loss=rng.uniform(0.6, 0.69, 40),
        sgd_accuracy=rng.uniform(0.8, 1, 30),
        sgd_loss=rng.uniform(0.5, 0.65, 30),
        sgd_networks=33,
        examples=16,
        parameters=52,
        span=1.0,
    )


def test_volumes_are_those_of_the_result(result):
    volumes = guess_and_check(result, Figure()).axes[2]
    np.testing.assert_allclose(volumes.lines[1].get_ydata(), [result.share_with(m, wrong=True) for m in FURTHER])
    assert volumes.get_yscale() == "log"


def test_group_means_cover_the_losses(result):
    scatter = guess_and_check(result, Figure()).axes[1]
    means = scatter.lines[1].get_xdata()
    assert len(means) == 10
    assert np.mean(means) == pytest.approx(result.loss.mean())


def test_without_fits_the_panels_are_empty(result):
    bare = result.replace(accuracy=np.zeros(0), loss=np.zeros(0), sgd_accuracy=np.zeros(0), sgd_loss=np.zeros(0))
    histogram = guess_and_check(bare, Figure()).axes[0]
    assert not histogram.patches
