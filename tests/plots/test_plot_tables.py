import pytest

from landscape import plots
from landscape.errors import LandscapeError
from landscape.results import Estimate

ROWS = [["trace", (123.4, 5.6), None], ["a much longer name of a score", (0.5, 0.01), 2.0]]


def test_no_text_overlaps_or_leaves_the_figure():
    ax = plots.table(["score", "value", "radius"], ROWS, title="Sharpness")
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


def test_wrong_tables_are_refused():
    with pytest.raises(LandscapeError, match="2 cells"):
        plots.table(["a", "b"], [["x"]])
    with pytest.raises(LandscapeError, match="at least one column"):
        plots.table([], [])
    assert plots.table(["a"], []).texts


def test_results_without_a_figure_are_drawn_as_their_summary(monkeypatch):
    one = Estimate(value=2.0, standard_error=0.5, matvecs=2, method="hutchinson", quantity="trace")
    monkeypatch.delitem(plots.KINDS, "estimate")
    assert "trace" in [text.get_text() for text in one.plot().texts]
