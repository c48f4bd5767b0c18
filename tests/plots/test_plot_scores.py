from types import SimpleNamespace

import numpy as np
import pytest

from landscape import plots
from landscape.errors import LandscapeError
from landscape.results.comparison import Test

VALUES = {
    "trace": {"sgd": [1.0, 2.0, 30.0], "momentum": [4.0, np.nan, 6.0]},
    "gap": {"sgd": [-1.0, 0.0, 1.0], "momentum": [np.nan] * 3},
}


def dots(ax):
    return [line for line in ax.lines if line.get_linestyle() == "None"]


def test_every_seed_is_a_dot_and_the_median_a_dash():
    trace, gap = plots.scores(VALUES).axes
    assert [sorted(line.get_ydata()) for line in dots(trace)] == [[1.0, 2.0, 30.0], [4.0, 6.0]]
    dashes = [line for line in trace.lines if len(set(line.get_xdata())) == 2 and line not in dots(trace)]
    assert [tuple(line.get_ydata()) for line in dashes] == [(2.0, 2.0), (5.0, 5.0)]
    assert [tuple(line.get_ydata()) for line in trace.lines if line.get_linewidth() == 5] == [(1.0, 30.0), (4.0, 6.0)]
    assert (trace.get_yscale(), gap.get_yscale()) == ("log", "linear")
    assert [text.get_text() for text in gap.texts] == ["not defined"]


def test_recipes_are_named_once():
    figure = plots.scores(VALUES, titles={"trace": "Hessian trace"})
    assert figure.axes[0].get_title() == "Hessian trace"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sgd", "momentum"]
    alone = plots.scores({"trace": VALUES["trace"]})
    assert [tick.get_text() for tick in alone.axes[0].get_xticklabels()] == ["sgd", "momentum"]
    assert not alone.legends
    with pytest.raises(LandscapeError, match="no scores"):
        plots.scores({})


def test_a_comparison_is_drawn_without_scores_that_have_no_value():
    undefined = {"sgd": np.full(2, np.nan), "momentum": np.full(2, np.nan)}
    table = {"trace": {"sgd": np.array([1.0, 2.0]), "momentum": np.array([3.0, 4.0])}, "relative": undefined}
    result = SimpleNamespace(
        recipes=("sgd", "momentum"), long_names=("plain SGD", "momentum"), scores=tuple(table), score=table.__getitem__,
        metrics={}, unconverged=("trace",),
    )  # fmt: skip
    figure = plots.comparison(result)
    assert [ax.get_title() for ax in figure.axes] == ["trace (not converged)"]
    assert figure.axes[0].get_xticklabels()[0].get_text() == "plain SGD"


def row(score, difference, primary=True, scale="log10", **changes):
    given = {"low": difference - 1, "high": difference + 2, **changes}
    return Test(
        a="sgd", b="momentum", score=score, primary=primary, scale=scale, difference=difference, p_value=0.1, p_holm=0.2,
        superiority=0.5, equivalent=False, sign_stable=True, seeds_a=6, seeds_b=6, **given,
    )  # fmt: skip


def test_effects_show_the_interval_and_whether_the_verdict_rests_on_them():
    rows = [row("trace", 0.5), row("keskar", -0.5, primary=False), row("gap", 3.0, scale="raw"), row("none", np.nan)]
    ax = plots.effects(SimpleNamespace(tests=rows))
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["trace", "keskar"]
    assert [tuple(line.get_xdata()) for line in ax.lines[::2]][:2] == [(-0.5, 2.5), (-1.5, 1.5)]
    marks = [line for line in ax.lines if len(line.get_xdata()) == 1]
    assert [mark.get_xdata()[0] for mark in marks] == [0.5, -0.5]
    assert [mark.get_markerfacecolor() == "white" for mark in marks] == [False, True]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert [tick.get_text() for tick in plots.effects(rows, scale="raw").get_yticklabels()] == ["gap"]
    assert ax.get_xlabel() == "log₁₀ ratio (right: sharper)"
    control = row("margin", 0.5, orientation="control")
    ax = plots.effects([*rows, control])
    assert ax.get_xlabel() == "log₁₀ ratio (right: larger)"
    assert ax.get_yticklabels()[-1].get_text() == "margin (control)"
    with pytest.raises(LandscapeError, match="scale"):
        plots.effects([])


def test_the_values_of_a_pair_are_joined():
    figure = plots.scores({"trace": VALUES["trace"]}, join=True)
    pairs = [line for line in figure.axes[0].lines if line.get_label() == "_pair"]
    np.testing.assert_array_equal([line.get_ydata() for line in pairs], [[1, 4], [2, np.nan], [30, 6]])
    assert pairs[0].get_xdata()[0] == dots(figure.axes[0])[0].get_xdata()[0]


def test_the_margin_of_a_tie_is_drawn():
    tied = row("trace", 0.02, low=0.0, high=0.04)
    compared = SimpleNamespace(tests=[tied], provenance={"margin": 0.05})
    for ax in (plots.effects(compared), plots.effects([tied], margin=0.05)):
        (band,) = ax.patches
        assert (band.get_x(), band.get_x() + band.get_width()) == (-0.05, 0.05)
        assert "margin of a tie, ± 0.05" in [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert not plots.effects([tied]).patches
