"""The figures of guesses that fit and of memorised examples say what the results say."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape.errors import LandscapeError
from landscape.plots.studies import FURTHER, guess_and_check, memorisation
from landscape.results import InfluentialPair, Memorisation, MemorisedExample, Trials


def guesses(accuracy, loss, sgd_accuracy, sgd_loss):
    rows = [
        {"found by": name, "fit": len(right), "accuracy": right, "loss": of}
        for name, right, of in (("guessing", accuracy, loss), ("SGD", sgd_accuracy, sgd_loss))
    ]
    return Trials.of(rows, factors=("found by",), arrays=("accuracy", "loss"), study="guess-and-check")


def test_guesses_have_their_volumes_and_group_means():
    draw = np.random.default_rng(0).uniform
    result = guesses(draw(0.7, 1, 40), draw(0.6, 0.69, 40), draw(0.8, 1, 30), draw(0.5, 0.65, 30))
    _, scatter, volumes = result.plot(Figure()).axes
    accuracy = result.arrays["accuracy"][0]
    np.testing.assert_allclose(volumes.lines[1].get_ydata(), [((1 - accuracy) ** m).mean() for m in FURTHER])
    assert volumes.get_yscale() == "log"
    means = scatter.lines[1].get_xdata()
    assert len(means) == 10
    assert np.mean(means) == pytest.approx(result.arrays["loss"][0].mean())


def test_without_guesses_that_fit_the_panels_are_empty():
    assert not guess_and_check(guesses(*[np.zeros(0)] * 4), Figure()).axes[0].patches


@pytest.fixture
def memorised():
    rng = np.random.default_rng(0)
    included = (rng.random((40, 30)) < 0.7).astype(np.uint8)
    labels = np.arange(30) % 3
    example = MemorisedExample(
        index=4, label=1, elsewhere=2, memorisation=0.9, standard_error=0.1, held_in=1.0, held_out=0.1, changed=True
    )
    pair = InfluentialPair(train=4, test=2, train_label=1, test_label=1, memorisation=0.9, influence=0.456)
    return Memorisation(
        included=included, predictions=np.where(included == 1, labels, rng.integers(0, 3, (40, 30))),
        test_predictions=rng.integers(0, 3, (40, 10)), labels=labels, test_labels=np.arange(10) % 3,
        true_labels=np.where(np.arange(30) == 4, 0, labels), memorised=(example, example), pairs=(pair,),
        pictures=rng.random((2, 1, 5, 4)), pair_pictures=rng.random((1, 2, 3, 5, 4)), pair_count=7, ratio=0.7,
        label_noise=0.1, epochs=3,
    )  # fmt: skip


def test_memorised_examples_are_counted_and_every_picture_is_headed_by_its_label(memorised):
    figure = memorisation(memorised, Figure())
    titles = [ax.get_title() for ax in figure.findobj(Axes)]
    assert titles.count("1, else 2") == 2
    assert "1, helps 0.46" in titles
    assert [ax.axison for ax in figure.subfigs[1].axes] == [True, True, *[False] * 6]
    histogram = figure.subfigs[0].subfigs[0].axes[0]
    assert [int(np.nansum(patch.get_data().values)) for patch in histogram.patches] == [29, 1]  # one label was changed
    with pytest.raises(LandscapeError, match="several panels"):
        memorised.plot(Figure().add_subplot())


def test_memorisation_without_pictures_is_its_histogram_alone(memorised):
    none = {"pictures": np.zeros((0, 1, 5, 4)), "pair_pictures": np.zeros((0, 2, 1, 5, 4))}
    figure = memorisation(memorised.replace(memorised=(), pairs=(), **none), Figure())
    assert [ax.get_xlabel() for ax in figure.findobj(Axes) if ax.axison] == ["memorisation"]
