"""The figure of memorised examples says what the result says."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from landscape.errors import LandscapeError
from landscape.plots.studies import memorisation
from landscape.results import InfluentialPair, Memorisation, MemorisedExample


@pytest.fixture
def result():
    rng = np.random.default_rng(0)
    included = (rng.random((40, 30)) < 0.7).astype(np.uint8)
    labels = np.arange(30) % 3
    predictions = np.where(included == 1, labels, rng.integers(0, 3, (40, 30)))
    example = MemorisedExample(
        index=4, label=1, elsewhere=2, memorisation=0.9, standard_error=0.1, held_in=1.0, held_out=0.1, changed=True
    )
    pair = InfluentialPair(train=4, test=2, train_label=1, test_label=1, memorisation=0.9, influence=0.456)
    return Memorisation(
        included=included,
        predictions=predictions,
        test_predictions=rng.integers(0, 3, (40, 10)),
        labels=labels,
        true_labels=np.where(np.arange(30) == 4, 0, labels),
        test_labels=np.arange(10) % 3,
        memorised=(example, example),
        pairs=(pair,),
        pictures=rng.random((2, 1, 5, 4)),
        pair_pictures=rng.random((1, 2, 3, 5, 4)),
        pair_count=7,
        ratio=0.7,
        label_noise=0.1,
        epochs=3,
    )


def test_every_picture_is_headed_by_its_label(result):
    figure = memorisation(result, Figure())
    titles = [ax.get_title() for ax in figure.findobj(lambda artist: hasattr(artist, "get_title"))]
    assert titles.count("1, else 2") == 2
    assert "1, helps 0.46" in titles


def test_panels_without_a_picture_are_empty(result):
    panels = memorisation(result, Figure()).subfigs[1].axes
    assert [ax.axison for ax in panels] == [True, True, *[False] * 6]


def test_the_histogram_holds_all_examples(result):
    ax = memorisation(result, Figure()).subfigs[0].subfigs[0].axes[0]
    counts = [int(np.nansum(patch.get_data().values)) for patch in ax.patches]
    assert counts == [29, 1]  # one label was changed
    assert ax.get_xlabel() == "memorisation"


def test_a_result_without_pictures_is_drawn(result):
    bare = result.replace(
        memorised=(), pairs=(), pictures=np.zeros((0, 1, 5, 4)), pair_pictures=np.zeros((0, 2, 1, 5, 4))
    )
    drawn = [ax for ax in memorisation(bare, Figure()).findobj(Axes) if ax.axison]
    assert [ax.get_xlabel() for ax in drawn] == ["memorisation"]  # the histogram alone


def test_it_has_several_panels(result):
    with pytest.raises(LandscapeError, match="several panels"):
        result.plot(Figure().add_subplot())
