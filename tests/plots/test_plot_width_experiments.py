"""Figures of the experiments on optimisers, widths and batches say what their results say."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from landscape.plots import plot
from landscape.results import (
    BatchContrast,
    BatchRun,
    DoubleDescent,
    EdgeOfStability,
    EdgeRun,
    KernelRegime,
    KernelRun,
    LargeBatch,
    WidthRun,
)


def edge_run(**changes):
    settings = {"problem": "one", "descent": "gradient descent, η = 0.1", "rule": "sgd", "lr": 0.1, "momentum": 0.0,
                "batch_size": 20, "examples": 20, "seed": 0, "steps": 2, "threshold": 20.0, "start": 0.5, "crossing": 1,
                "peak": 1.1, "late": 1.0, "late_low": 0.9, "late_high": 1.1, "late_batch": np.nan, "loss": 0.1,
                "status": "ok"}  # fmt: skip
    return EdgeRun(**settings | changes)


@pytest.fixture
def edge():
    runs = (edge_run(), edge_run(rule="adam", threshold=40.0), edge_run(batch_size=5, problem="two"))
    sharpness = np.array([[10.0, 20.0, 22.0], [10.0, 20.0, 40.0], [4.0, 6.0, np.nan]])
    batch = np.array([[np.nan] * 3, [np.nan] * 3, [10.0, 18.0, np.nan]])
    step = np.tile([0.0, 1.0, 2.0], (3, 1))
    return EdgeOfStability(runs=runs, step=step, loss=step, sharpness=sharpness, batch_sharpness=batch)


def test_edge_of_stability_draws_ratios_a_panel_a_rule(edge):
    figure = plot(edge)
    assert [ax.get_title() for ax in figure.axes] == ["gradient descent", "Adam", "SGD"]
    first, adam, sgd = figure.axes
    np.testing.assert_allclose(first.lines[0].get_ydata(), [0.5, 1.0, 1.1])
    np.testing.assert_allclose(adam.lines[0].get_ydata(), [0.25, 0.5, 1.0])
    np.testing.assert_allclose(sgd.lines[1].get_ydata(), [0.5, 0.9, np.nan])
    assert sgd.lines[1].get_linestyle() == ":"
    assert all(list(ax.lines[-1].get_ydata()) == [1.0, 1.0] for ax in figure.axes)


def test_edge_of_stability_in_words(edge):
    assert "crosses at step 1, peak 1.100, last quarter 1.000 (0.900 to 1.100)" in edge.runs[0].text
    assert edge_run(crossing=-1).text.startswith("never crosses")
    assert "never" in edge.replace(runs=(edge_run(crossing=-1),)).table("markdown")


@pytest.fixture
def descent():
    runs = tuple(
        WidthRun(width=width, parameters=width, seed=seed, train_loss=0.0, train_error=train, test_loss=1.0,
                 test_error=test + seed / 10)
        for width, train, test in ((2, 0.5, 0.6), (4, 0.2, 0.5), (8, 0.0, 0.7), (16, 0.0, 0.4))
        for seed in (0, 1)
    )  # fmt: skip
    scores = {"trace": np.array([1.0, 1.0, 2.0, 2.0, 8.0, 8.0, 4.0, 4.0])}
    return DoubleDescent(runs=runs, scores=scores, changed=np.array([0.1]), examples=10)


def test_double_descent_draws_means_in_per_cent_and_relative_scores(descent):
    figure = plot(descent)
    errors, scores = figure.axes
    means = {line.get_label(): line.get_ydata() for line in errors.lines}
    np.testing.assert_allclose(means["test"], [65, 55, 75, 45])
    np.testing.assert_allclose(means["training"], [50, 20, 0, 0])
    np.testing.assert_allclose(scores.lines[0].get_ydata(), [0.125, 0.25, 1.0, 0.5])
    assert [label.get_text() for label in errors.get_xticklabels()] == ["2", "4", "8", "16"]
    assert len(plot(descent.replace(scores={})).axes) == 1


def kernel_run(labels, width, movement, reached=True):
    numbers = dict.fromkeys(
        (
            "kernel_movement",
            "kernel_distance",
            "linearisation_error",
            "agreement",
            "alignment_before",
            "alignment_after",
        ),
        0.5,
    )
    return KernelRun(labels=labels, width=width, parameters=1, seed=0, reached=reached, epochs=3, train_loss=0.1,
                     train_accuracy=1.0, test_accuracy=0.9, relative_movement=movement, **numbers)  # fmt: skip


def test_kernel_regime_draws_what_reached_the_target_and_finds_the_exponent():
    runs = (kernel_run("true", 4, 1.0), kernel_run("true", 16, 0.5), kernel_run("random", 4, 2.0),
            kernel_run("random", 16, 9.0, reached=False))  # fmt: skip
    result = KernelRegime(runs=runs, examples=5)
    figure = plot(result)
    assert figure.axes[0].get_title() == "weight movement"
    lines = [line.get_ydata() for line in figure.axes[0].lines if line.get_linestyle() == "-"]
    np.testing.assert_allclose(lines[0], [1.0, 0.5])
    np.testing.assert_allclose(lines[1], [2.0, np.nan])
    assert result.exponent("true", "relative_movement") == pytest.approx(-0.5)
    assert np.isnan(result.exponent("random", "relative_movement"))


def test_large_batch_draws_every_network_and_its_mean():
    runs = tuple(
        BatchRun(matching="loss", batch=batch, batch_size=size, seed=seed, reached=seed < 2, epochs=1, steps=1, train_loss=0.1,
                 train_accuracy=1.0, test_accuracy=0.9)
        for batch, size in (("small", 4), ("large", 8)) for seed in (0, 1, 2)
    )  # fmt: skip
    contrast = BatchContrast(matching="loss", score="trace", small=2.0, small_sd=1.4, large=20.0, large_sd=14.0, ratio=10.0,
                             p_value=0.04, networks=4)  # fmt: skip
    result = LargeBatch(
        runs=runs, scores={"trace": np.array([1.0, 3.0, 99.0, 10.0, 30.0, 99.0])}, contrasts=(contrast,)
    )
    (ax,) = plot(result).axes
    values = [list(line.get_ydata()) for line in ax.lines]
    assert values == [[1.0, 3.0], [2.0, 2.0], [10.0, 30.0], [20.0, 20.0]]
    assert ax.get_title() == "equal training loss"
    assert "ratio 10, p = 0.04" in dict(result.summary())["trace, equal training loss"]
    assert "1 did not reach the target" in dict(result.summary())["equal training loss, batches of 4"]


def test_figures_take_a_part_of_the_callers_figure(edge, descent):
    parts = Figure(figsize=(8, 6)).subfigures(2, 1)
    assert plot(edge, parts[0]) is parts[0]
    assert plot(descent, parts[1]) is parts[1]
