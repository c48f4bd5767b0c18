"""Panels of trials say what the trials hold."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from landscape.errors import LandscapeError
from landscape.plots import plot
from landscape.plots.style import GREY
from landscape.results import Trials


def made(*, factors=("width", "labels", "seed"), **about):
    rows = [
        {"width": width, "labels": labels, "seed": seed, "reached": (width, labels, seed) != (16, "random", 1),
         "movement": scale * (1 + seed) / width, "agreement": 0.5, "curve": scale * np.arange(3.0)[: 3 - seed]}
        for width in (4, 16) for labels, scale in (("true", 1.0), ("random", 4.0)) for seed in (0, 1)
    ]  # fmt: skip
    return Trials.of(rows, factors=factors, arrays=("curve",), **about)


def curves(ax, dash="-"):
    return [line for line in ax.lines if line.get_linestyle() == dash and len(line.get_ydata()) > 1]


def test_dots_are_runs_and_lines_their_means_over_those_that_met_the_target():
    figure = made().plot(Figure(), x="width", y="movement", hue="labels")
    (ax,) = figure.axes
    true, random = curves(ax)
    np.testing.assert_allclose(true.get_ydata(), np.sqrt(2) / np.array([4, 16]))  # geometric: all are positive
    np.testing.assert_allclose(random.get_ydata(), [4 * np.sqrt(2) / 4, 4 / 16])
    assert sum(len(line.get_ydata()) for line in ax.lines if line.get_marker() == ".") == 7
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_yscale()) == ("width", "movement", "log")


def test_runs_that_share_a_seed_are_joined_and_a_margin_is_drawn_around_the_first_colour():
    whole = made().where(seed=0)
    figure = whole.plot(
        Figure(), x="labels", y="movement", hue="labels", where={"width": 4}, join="seed", margin={"movement": 0.1}
    )
    (ax,) = figure.axes
    (joined,) = [line for line in ax.lines if line.get_color() == GREY]
    np.testing.assert_allclose(joined.get_ydata(), [0.25, 1.0])
    (band,) = ax.patches
    np.testing.assert_allclose([band.get_y(), band.get_y() + band.get_height()], 0.25 * 10.0 ** np.array([-0.1, 0.1]))
    assert (
        joined.get_xdata()
        == [line.get_xdata()[0] for line in ax.lines if line.get_marker() in ("o", "s") and len(line.get_xdata()) == 1]
    ).all()


def test_words_side_by_side_have_a_bar_at_the_mean():
    figure = made().plot(Figure(), x="labels", y=["movement", "agreement"])
    movement, agreement = figure.axes
    assert [tick.get_text() for tick in movement.get_xticklabels()] == ["true", "random"]
    heights = [line.get_ydata()[0] for line in agreement.lines if line.get_marker() in ("", "None")]
    assert heights == pytest.approx([0.5, 0.5])


def test_measures_against_measures_join_what_belongs_together():
    figure = made().plot(Figure(), x="agreement", y="movement", hue="width", join="seed")
    paths = [line for line in figure.axes[0].lines if line.get_linewidth() == 0.5]
    assert {len(path.get_xdata()) for path in paths} <= {3, 4}


def test_arrays_are_curves_and_levels_of_a_factor_panels():
    figure = made(
        view={"y": ["curve"], "panels": "width", "hue": "labels", "level": {"curve": 1.0}, "limit": 9.0}
    ).plot()
    assert [ax.get_title() for ax in figure.axes] == ["4", "16"]
    first = figure.axes[0]
    assert [line.get_ydata().tolist() for line in curves(first)[:2]] == [[0, 1, 2], [0, 1]]
    assert first.get_ylim() == (0, 9)
    assert any(line.get_linestyle() == "--" and set(line.get_ydata()) == {1.0} for line in first.lines)


def test_a_part_of_the_runs_and_evaluations_in_one_panel():
    trials = made().replace(
        measures={"own/trace": np.arange(1.0, 9.0), "clean/trace": np.arange(2.0, 10.0)}, words={"own": "own labels"}
    )
    figure = trials.plot(Figure(), x="width", y=[("own/trace", "clean/trace")], where={"labels": "true"}, hue="labels")
    (ax,) = figure.axes
    assert ax.get_ylabel() == "trace"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["true", "own labels", "clean"]
    assert [len(curves(ax, dash)) for dash in ("-", "--")] == [1, 1]


def test_figures_take_a_part_of_the_callers_figure():
    part = Figure(figsize=(8, 6)).subfigures(2, 1)[0]
    assert plot(made(), part) is part


def test_what_is_not_there_is_said():
    with pytest.raises(LandscapeError, match="no trace to draw; there are"):
        made().plot(Figure(), y="trace")
