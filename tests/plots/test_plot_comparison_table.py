"""The table of a comparison says what the numbers say, once."""

import numpy as np
from matplotlib.figure import Figure

from landscape import plots
from landscape.results import Comparison


def result():
    values = np.full((2, 3, 2, 1), np.nan)
    values[0, :, 0, 0], values[1, :, 0, 0] = [1.0, 2.0, 3.0], [5.0, 5.0, 5.0]
    values[:, :, 1, 0] = 0.5
    return Comparison(
        recipes=("a", "b"),
        long_names=("A", "B"),
        scores=("trace", "loss"),
        radii=np.full((2, 1), np.nan),
        values=values,
        standard_errors=np.full_like(values, np.nan),
        metrics={"train/loss": np.full((2, 3), 0.5)},
        gates=(),
        tests=(),
        verdicts=(),
        audited=(),
    )


def test_mean_and_spread_over_seeds_and_no_row_twice():
    ax = plots.comparison_table(result(), Figure().add_subplot())
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["", "A", "B", "train/loss", "0.5", "0.5", "trace", "2.0 ± 1.0", "5"]


def test_panels_leave_out_what_the_metrics_say_already():
    figure = plots.comparison(result())
    assert [ax.get_title() for ax in figure.axes] == ["trace"]
