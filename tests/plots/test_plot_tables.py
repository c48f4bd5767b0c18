"""Tables, and matrices with numbers in their cells."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from landscape import plots
from landscape.results import Audit, AuditRow, Comparison, Estimate

ROWS = [["trace", (123.4, 5.6), None], ["a much longer name of a score", (0.5, 0.01), 2.0]]


def test_no_text_overlaps_or_leaves_the_figure():
    ax = plots.table(["score", "value", "radius"], ROWS)
    ax.figure.draw_without_rendering()
    renderer = ax.figure.canvas.get_renderer()
    boxes = [text.get_window_extent(renderer) for text in ax.texts if text.get_text()]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    page = ax.figure.bbox.padded(0.5)
    assert all(page.contains(*corner) for box in boxes for corner in (box.min, box.max))


def test_numbers_are_flush_right_and_words_flush_left():
    ax = plots.table(["score", "value", "radius"], ROWS)
    assert [text.get_ha() for text in ax.texts[3:6]] == ["left", "right", "right"]
    assert [text.get_text() for text in ax.texts[3:6]] == ["trace", "123.4 ± 5.6", "–"]
    assert len(ax.lines) == 3
    assert [text.get_text() for text in plots.table(["a"], []).texts] == ["a"]


def test_results_without_a_figure_are_drawn_as_their_summary(monkeypatch):
    one = Estimate(value=2.0, standard_error=0.5, matvecs=2, method="hutchinson", quantity="trace")
    monkeypatch.delitem(plots.KINDS, "estimate")
    assert "trace" in [text.get_text() for text in one.plot().texts]


def result():
    values = np.full((2, 3, 2, 1), np.nan)
    values[0, :, 0, 0], values[1, :, 0, 0] = [1.0, 2.0, 3.0], [5.0, 5.0, 5.0]
    values[:, :, 1, 0] = 0.5
    return Comparison(
        recipes=("a", "b"), long_names=("A", "B"), scores=("trace", "loss"), radii=np.full((2, 1), np.nan), values=values,
        standard_errors=np.full_like(values, np.nan), metrics={"train/loss": np.full((2, 3), 0.5)}, gates=(), tests=(),
        verdicts=(), audited=(),
    )  # fmt: skip


def test_a_comparison_has_mean_and_spread_over_seeds_and_no_row_or_panel_twice():
    ax = plots.comparison_table(result(), Figure().add_subplot())
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["", "A", "B", "train/loss", "0.5", "0.5", "trace", "2.0 ± 1.0", "5"]
    assert [ax.get_title() for ax in plots.comparison(result()).axes] == ["trace"]


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
    assert texts(plots.invariance(np.array([[-2.0]]), ["gap"], ["T1"])) == {(0, 0): "-2"}  # it changed its sign
    assert texts(ax) == {(0, 0): "·", (0, 1): "×100", (0, 2): "÷2", (1, 0): "n/a", (1, 1): "×1e6", (1, 2): "×∞"}
    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["trace", "keskar"]
    drawn = ax.images[0].get_array()
    assert drawn[0, 0] == 1.0
    assert drawn[1, 1] == 100.0
    assert drawn.mask[1, 0]
    norm = ax.images[0].norm
    assert norm(1.0) == pytest.approx(0.5)
    assert norm(0.5) + norm(2.0) == pytest.approx(1.0)


def test_cosines_are_written_out(directions):
    ax = plots.cosines(directions(cosine=-0.25))
    assert texts(ax) == {(0, 0): "1.00", (0, 1): "-0.25", (1, 0): "-0.25", (1, 1): "1.00"}


def test_an_audit_is_a_matrix_with_what_does_not_apply_left_open():
    def row(score, transformation, ratio, verdict):
        return AuditRow(
            score=score, radius=None, transformation=transformation, before=1.0, after=ratio, ratio=ratio,
            standard_error=None, verdict=verdict, declared=False,
        )  # fmt: skip

    rows = (
        row("trace", "T1", 4.0, "not invariant"),
        row("trace", "T2", 9.0, "not applicable"),
        row("keskar", "T1", 1.0, "invariant"),
    )
    assert texts(plots.plot(Audit(rows=rows))) == {(0, 0): "×4", (0, 1): "n/a", (1, 0): "·", (1, 1): "n/a"}
