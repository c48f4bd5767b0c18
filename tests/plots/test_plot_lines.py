import numpy as np
import pytest
from matplotlib.figure import Figure

from landscape import plots
from landscape.results import Line, Path


def make_line(scale, x=None, **changes):
    x = np.linspace(-1, 1, 9) if x is None else x
    loss = 0.1 + scale * x**2
    values = {
        "train/loss": loss,
        "test/loss": loss + 0.2,
        "train/accuracy": np.exp(-loss),
        "test/accuracy": np.exp(-loss) / 2,
    }
    return Line(x=x, values=values | changes)


FIVE = [make_line(scale) for scale in (1.0, 2.0, 3.0, 4.0, 10.0)]


def band_of(ax, index=0):
    """Lower and upper edge of a drawn band, read from its outline."""
    points = ax.collections[index].get_paths()[0].vertices
    x = np.unique(points[:, 0])
    return tuple(np.array([pick(points[points[:, 0] == at, 1]) for at in x]) for pick in (np.min, np.max))


@pytest.mark.parametrize(("band", "scales"), [("range", (1, 4, 10)), ((0.25, 0.75), (2, 3, 4))])
def test_the_band_is_the_range_around_the_mean_or_quantiles_around_the_median(band, scales):
    ax = plots.line(FIVE, band=band)
    low, high = band_of(ax)
    for drawn, scale in zip((low, ax.lines[0].get_ydata(), high), scales, strict=True):
        np.testing.assert_allclose(drawn, 0.1 + scale * FIVE[0].x ** 2)


def below(ax):
    """The axes of accuracies that share x with some axes, if any."""
    return next((other for other in ax.figure.axes if other.get_label() == "accuracy"), None)


def test_train_is_solid_test_is_dashed_and_accuracy_in_per_cent_below():
    ax = plots.line(FIVE[0])
    assert [line.get_linestyle() for line in ax.lines] == ["-", "--"]
    np.testing.assert_allclose(ax.lines[1].get_ydata(), FIVE[0].values["test/loss"])
    lower = below(ax)
    np.testing.assert_allclose(lower.lines[0].get_ydata(), 100 * FIVE[0].accuracy)
    assert lower.get_yticks().tolist() == [0, 50, 100]
    assert (ax.get_xlabel(), lower.get_xlabel()) == ("", "step along direction")
    assert not ax.collections
    assert below(plots.line(FIVE[0], accuracy=False)) is None
    of_test = plots.line(FIVE[0].replace(dataset="test"))  # the line's own data set is the solid one
    np.testing.assert_allclose(of_test.lines[0].get_ydata(), FIVE[0].values["test/loss"])


@pytest.mark.parametrize("by_hand", [False, True])
def test_loss_and_accuracy_share_the_place_of_the_callers_axes(by_hand):
    figure = Figure()
    ax = figure.add_axes((0.2, 0.2, 0.3, 0.6)) if by_hand else figure.subplots(1, 2)[0]
    whole = ax.get_position()
    lower = below(plots.line(FIVE[0], ax))
    figure.draw_without_rendering()
    upper = ax.get_position()
    assert lower.get_position().y1 < upper.y0
    assert (lower.get_position().x0, upper.x0) == (whole.x0, whole.x0)
    np.testing.assert_allclose((lower.get_position().y0, upper.y1), (whole.y0, whole.y1))


def test_the_axis_is_logarithmic_where_positive_values_span_a_decade():
    flat = make_line(0.3)
    assert plots.line(flat).get_yscale() == "linear"  # 0.1 to 0.6
    assert plots.line(FIVE).get_yscale() == "log"
    zero = make_line(9.0, **{"train/loss": 9 * FIVE[0].x ** 2})  # which has no logarithm
    assert plots.line(zero).get_yscale() == "linear"
    assert plots.line(FIVE, log=False).get_yscale() == "linear"
    panels = plots.lines_grid({"flat": flat, "sharp": FIVE}, accuracy=False).axes
    assert {ax.get_yscale() for ax in panels} == {"log"}


def test_recipes_have_their_colours():
    ax = plots.line({"sgd": FIVE[:2], "momentum": FIVE[2:]}, band=None)
    assert len({line.get_color() for line in ax.lines}) == 2
    assert below(ax) is None
    texts = [text.get_text() for text in ax.figure.legends[0].get_texts()]
    assert texts == ["sgd", "momentum", "train", "test"]


def test_stretches_without_a_number_are_hatched():
    x = FIVE[0].x
    loss = np.where(x > 0.6, np.inf, x**2)
    ax = plots.line([make_line(1.0), make_line(1.0, **{"train/loss": loss})])
    (span,) = [patch for patch in ax.patches if patch.get_hatch()]
    assert span.get_x() == pytest.approx(0.5)
    assert span.get_x() + span.get_width() == pytest.approx(1.0)
    assert np.isnan(ax.lines[0].get_ydata()[-2:]).all()
    assert np.isfinite(ax.lines[0].get_ydata()[:-2]).all()
    assert "inf or NaN" in [text.get_text() for text in ax.figure.legends[0].get_texts()]


def test_logarithm_limit_and_labels(ax, directions):
    assert plots.line(FIVE, log=True).get_yscale() == "log"
    assert plots.line(FIVE, limit=2.0).get_ylim()[1] == 2.0
    lower = below(plots.line(FIVE[0].replace(directions=directions()), ax))
    assert lower.get_xlabel() == "step along random direction"
    assert ax.get_legend() is not None
    path = Path(x=FIVE[0].x, values=FIVE[0].values)
    assert plots.line(path, accuracy=False).get_xlabel() == "position on the path"
