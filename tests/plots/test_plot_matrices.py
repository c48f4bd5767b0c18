import numpy as np
import pytest
from matplotlib.patches import Rectangle

from landscape import plots
from landscape.errors import LandscapeError


def texts(ax):
    return {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in ax.texts}


def test_barriers_leave_the_diagonal_empty_and_hatch_what_was_not_measured():
    ax = plots.barriers(np.array([[9.0, 1.5, np.nan], [1.5, 9.0, 3.0], [np.nan, 3.0, 9.0]]), ["a", "b", "c"])
    assert texts(ax) == {(0, 1): "1.5", (1, 0): "1.5", (1, 2): "3", (2, 1): "3", (0, 2): "n/a", (2, 0): "n/a"}
    image = ax.images[0].get_array()
    assert image.mask.diagonal().all()
    assert image.max() == 3.0
    hatched = [patch for patch in ax.patches if isinstance(patch, Rectangle) and patch.get_hatch()]
    assert sorted((patch.get_y() + 0.5, patch.get_x() + 0.5) for patch in hatched) == [(0, 2), (2, 0)]


def test_invariance_has_scores_in_rows_and_ratios_in_cells():
    ratios = np.array([[1.001, 100.0, 0.5], [np.nan, 1e6, np.inf]])
    ax = plots.invariance(ratios, ["trace", "keskar"], ["T1", "T2", "T3"])
    assert texts(ax) == {(0, 0): "·", (0, 1): "×100", (0, 2): "÷2", (1, 0): "n/a", (1, 1): "×1e6", (1, 2): "×∞"}
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["trace", "keskar"]
    drawn = ax.images[0].get_array()
    assert drawn[0, 0] == 1.0
    assert drawn[1, 1] == 100.0
    assert drawn.mask[1, 0]
    norm = ax.images[0].norm
    assert norm(1.0) == pytest.approx(0.5)
    assert norm(0.5) + norm(2.0) == pytest.approx(1.0)


def test_a_score_that_changes_sign_says_so():
    assert texts(plots.invariance(np.array([[-2.0]]), ["gap"], ["T1"])) == {(0, 0): "-2"}


def test_matrices_must_fit_their_names():
    with pytest.raises(LandscapeError, match=r"\(2, 2\)"):
        plots.barriers(np.zeros((2, 3)), ["a", "b"])
    with pytest.raises(LandscapeError, match="expected"):
        plots.invariance(np.zeros((0, 0)), [], [])


def test_cosines_are_written_out(directions):
    ax = plots.cosines(directions(cosine=-0.25))
    assert texts(ax) == {(0, 0): "1.00", (0, 1): "-0.25", (1, 0): "-0.25", (1, 1): "1.00"}
