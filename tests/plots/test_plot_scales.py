"""Scales that panels share, and the style of all figures."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from landscape import plots
from landscape.plots.scales import LevelNorm, Scale, add_colourbar, distinct, scale_of
from landscape.plots.style import canvas, ink

BOWL = np.linspace(0, 1, 1000) ** 2 * 50 + 2.0


def test_levels_are_spaced_logarithmically_above_the_minimum():
    scale = scale_of([BOWL], levels=9)
    assert scale.levels[0] == BOWL.min()
    assert scale.levels[-1] == BOWL.max()
    assert len(scale.levels) == 10
    ratios = np.diff(np.log(scale.levels[1:] - scale.levels[0]))
    np.testing.assert_allclose(ratios, ratios[0])
    assert 0.01 < (scale_of([BOWL]).levels[1] >= BOWL).mean() < 0.06  # the innermost ring holds a few points
    linear = scale_of([np.array([0.0, 1.0])], levels=4, log=False)
    np.testing.assert_allclose(linear.levels, [0, 0.25, 0.5, 0.75, 1])


def test_one_scale_spans_all_arrays():
    scale = scale_of([BOWL, BOWL + 100, np.array([np.nan, np.inf, 0.5])])
    assert (scale.levels[0], scale.levels[-1]) == (0.5, BOWL.max() + 100)


@pytest.mark.parametrize(
    ("limit", "top", "label"), [(10.0, 10.0, "> 10"), (1e9, BOWL.max(), "52"), (None, BOWL.max(), "52")]
)
def test_only_a_clipped_top_says_so(limit, top, label):
    scale = scale_of([BOWL], limit=limit)
    assert scale.levels[-1] == top
    assert scale.labels[-1] == label
    assert scale.clipped == label.startswith(">")


def test_given_levels_reach_down_to_the_minimum():
    scale = scale_of([BOWL], levels=[3.0, 4.0, 5.0])
    np.testing.assert_array_equal(scale.levels, [2.0, 3.0, 4.0, 5.0])
    assert scale.clipped
    assert scale_of([BOWL], levels=scale) is scale


@pytest.mark.parametrize("values", [np.full(5, 3.0), np.zeros(1), np.array([np.nan, np.inf])])
def test_flat_and_empty_values_still_have_a_scale(values):
    scale = scale_of([values])
    assert (np.diff(scale.levels) > 0).all()
    assert np.isfinite(scale.norm(scale.levels)).all()


@pytest.mark.parametrize("log", [True, False])
def test_every_band_gets_the_same_share_of_the_colours(log):
    norm = scale_of([BOWL], levels=8, log=log).norm
    np.testing.assert_allclose(norm(norm.levels), np.linspace(0, 1, len(norm.levels)), atol=1e-12)


def test_a_logarithmic_norm_is_logarithmic_between_levels():
    norm = LevelNorm(np.array([5.0, 6.0, 15.0, 105.0]), log=True)
    assert norm(5 + np.sqrt(10.0)) == pytest.approx(0.5)
    assert norm(5.5) == pytest.approx(1 / 6)
    assert norm(4.0) == 0.0
    assert norm(1e9) == 1.0


def test_a_norm_masks_what_is_not_finite():
    assert np.ma.getmaskarray(scale_of([BOWL]).norm(np.array([3.0, np.nan, np.inf]))).tolist() == [False, True, True]


@given(st.lists(st.floats(-1e3, 1e3), min_size=3, max_size=30, unique=True), st.booleans())
def test_a_norm_increases_and_its_inverse_leads_back(values, log):
    values = np.sort(np.array(values))
    if np.ptp(values) < 1e-3:
        values = values + np.arange(len(values))
    norm = scale_of([values], levels=6, log=log).norm
    shares = norm(values).filled(np.nan)
    assert (np.diff(shares) >= -1e-12).all()
    inner = np.linspace(0, 1, 9)
    np.testing.assert_allclose(norm(norm.inverse(inner)), inner, atol=1e-6)


def test_labels_tell_neighbours_apart():
    assert distinct(np.array([0.5, 15000.0, 2e6, 3.3e-7])) == ["0.5", "15000", "2e6", "3.3e-7"]
    assert distinct(np.array([1.0, 1.0001])) == ["1", "1.0001"]


@pytest.mark.parametrize(("count", "most"), [(13, 13), (13, 7), (12, 5), (2, 3), (9, 4)])
def test_thinned_ticks_are_even_and_keep_the_last(count, most):
    shown, labels = Scale(np.arange(float(count)), log=False, clipped=False).ticks(most)
    assert labels == [f"{i:g}" for i in shown]
    assert len(shown) <= most
    assert shown[-1] == count - 1
    assert len(set(np.diff(shown))) <= 1


@pytest.mark.parametrize("banded", [True, False])
def test_a_colour_bar_is_labelled_at_the_levels(banded):
    scale = Scale(np.array([0.0, 1.0, 10.0, 100.0]), log=True, clipped=True)
    figure = Figure()
    bar = add_colourbar(figure, scale, figure.add_subplot(), label="loss", cmap="viridis", banded=banded)
    assert [text.get_text() for text in bar.ax.get_yticklabels()] == ["0", "1", "10", "> 100"]
    assert bar.ax.get_ylabel() == "loss"
    assert bar.extend == "max"


def test_figures_have_the_width_of_columns(valley):
    assert plots.contour(valley).figure.get_figwidth() == plots.SINGLE == 3.25
    assert plots.grid({"a": valley, "b": valley}).get_figwidth() == plots.DOUBLE == 6.75


def test_ink_is_readable():
    assert (ink((1, 1, 1)), ink((0, 0, 0.3)), ink((0.99, 0.9, 0.14))) == ("black", "white", "black")


@pytest.mark.parametrize(
    ("limits", "labels"),
    [
        ((0.82, 1.13), ["0.9", "1", "1.1"]),
        ((0.0082, 0.0093), ["0.0082", "0.0084", "0.0086", "0.0088", "0.009", "0.0092"]),
        ((2.1, 8.4), ["4", "6", "8"]),
        ((0.9, 12.0), ["1", "2", "5", "10"]),
        ((0.008, 20.0), ["0.01", "0.1", "1", "10"]),
        ((2e-6, 2e-5), ["$2 \\times 10^{-6}$", "$5 \\times 10^{-6}$", "$10^{-5}$", "$2 \\times 10^{-5}$"]),
    ],
)
def test_every_logarithmic_axis_has_ticks_that_a_person_reads(limits, labels):
    ax = Figure().add_subplot()
    with canvas(ax):
        ax.set_yscale("log")
    ax.set_ylim(limits)
    ax.figure.draw_without_rendering()
    low, high = limits
    assert [tick.label1.get_text() for tick in ax.yaxis.get_major_ticks() if low <= tick.get_loc() <= high] == labels
    assert not any(text.get_text() for text in ax.yaxis.get_ticklabels(minor=True))


def test_ticks_that_a_caller_chose_stay():
    ax = Figure().add_subplot()
    with canvas(ax):
        ax.set_xscale("log")
        ax.set_xticks([16, 64], ["16", "64"])
    assert [text.get_text() for text in ax.get_xticklabels()] == ["16", "64"]


def test_plot_dispatches_on_the_kind(valley, directions, ax):
    assert valley.plot(ax=ax, levels=4) is ax
    assert directions().plot().get_title() == "gaussian directions"


def test_figures_load_neither_torch_nor_pyplot():
    code = "import sys, landscape.plots; sys.exit('torch' in sys.modules or 'matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
