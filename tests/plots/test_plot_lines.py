import numpy as np
import pytest

from landscape import plots
from landscape.plots.lines import twin_of
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


def test_the_band_is_the_range_around_the_mean():
    ax = plots.line(FIVE)
    x = FIVE[0].x
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 0.1 + 4.0 * x**2)
    low, high = band_of(ax)
    np.testing.assert_allclose(low, 0.1 + x**2)
    np.testing.assert_allclose(high, 0.1 + 10 * x**2)


def test_a_quantile_band_is_around_the_median():
    ax = plots.line(FIVE, band=(0.25, 0.75))
    x = FIVE[0].x
    np.testing.assert_allclose(ax.lines[0].get_ydata(), 0.1 + 3.0 * x**2)
    low, high = band_of(ax)
    np.testing.assert_allclose(low, 0.1 + 2 * x**2)
    np.testing.assert_allclose(high, 0.1 + 4 * x**2)


def test_train_is_solid_test_is_dashed_and_accuracy_in_per_cent_on_the_right():
    ax = plots.line(FIVE[0])
    assert [line.get_linestyle() for line in ax.lines] == ["-", "--"]
    np.testing.assert_allclose(ax.lines[1].get_ydata(), FIVE[0].values["test/loss"])
    right = twin_of(ax)
    np.testing.assert_allclose(right.lines[0].get_ydata(), 100 * FIVE[0].accuracy)
    assert right.get_ylim() == (0, 100)
    assert not ax.collections
    assert twin_of(plots.line(FIVE[0], accuracy=False)) is None


def test_the_lines_own_data_set_is_the_solid_one():
    ax = plots.line(FIVE[0].replace(dataset="test"))
    np.testing.assert_allclose(ax.lines[0].get_ydata(), FIVE[0].values["test/loss"])


def test_recipes_have_their_colours():
    ax = plots.line({"sgd": FIVE[:2], "momentum": FIVE[2:]}, band=None)
    assert len({line.get_color() for line in ax.lines}) == 2
    assert twin_of(ax) is None
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
    assert plots.line(FIVE[0].replace(directions=directions()), ax).get_xlabel() == "step along random direction"
    assert ax.get_legend() is not None
    path = Path(x=FIVE[0].x, values=FIVE[0].values)
    assert plots.line(path).get_xlabel() == "position on the path"
