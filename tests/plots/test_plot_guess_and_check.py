"""The figure of guesses draws both arms and both kinds of labels."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from landscape.plots.studies import FURTHER, guess_and_check
from landscape.results import Trials


def trials(accuracy, loss, sgd_accuracy, sgd_loss):
    rows = [
        {"found by": name, "fit": len(right), "accuracy": right, "loss": of}
        for name, right, of in (("guessing", accuracy, loss), ("SGD", sgd_accuracy, sgd_loss))
    ]
    return Trials.of(rows, factors=("found by",), arrays=("accuracy", "loss"), study="guess-and-check")


@pytest.fixture
def result():
    rng = np.random.default_rng(0)
    return trials(
        rng.uniform(0.7, 1, 40), rng.uniform(0.6, 0.69, 40), rng.uniform(0.8, 1, 30), rng.uniform(0.5, 0.65, 30)
    )


def test_volumes_are_those_of_the_result(result):
    volumes = result.plot(Figure()).axes[2]
    accuracy = result.arrays["accuracy"][0]
    np.testing.assert_allclose(volumes.lines[1].get_ydata(), [((1 - accuracy) ** m).mean() for m in FURTHER])
    assert volumes.get_yscale() == "log"


def test_group_means_cover_the_losses(result):
    scatter = guess_and_check(result, Figure()).axes[1]
    means = scatter.lines[1].get_xdata()
    assert len(means) == 10
    assert np.mean(means) == pytest.approx(result.arrays["loss"][0].mean())


def test_without_fits_the_panels_are_empty():
    nothing = np.zeros(0)
    histogram = guess_and_check(trials(nothing, nothing, nothing, nothing), Figure()).axes[0]
    assert not histogram.patches
