import numpy as np
import pytest

from landscape import plots
from landscape.errors import LandscapeError


def test_bars_stand_in_order_with_their_errors():
    ax = plots.layers({"conv": 3.0, "fc": 1.0}, errors={"conv": 0.5}, label="trace")
    assert [bar.get_width() for bar in ax.patches] == [3.0, 1.0]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]
    assert (ax.get_xlabel(), ax.get_xscale()) == ("trace", "linear")
    ends = ax.collections[0].get_paths()[0].vertices[:, 0]
    np.testing.assert_allclose(ends, [2.5, 3.5])


def test_recipes_stand_side_by_side():
    ax = plots.layers({"sgd": {"conv": 1.0, "fc": 2.0}, "momentum": {"fc": 100.0}})
    assert ax.get_xscale() == "log"
    widths = [bar.get_width() for bar in ax.patches]
    np.testing.assert_array_equal(widths, [1, 2, np.nan, 100])
    spans = [(bar.get_y(), bar.get_y() + bar.get_height()) for bar in ax.patches]
    assert spans[1][1] <= spans[3][0]


def test_wrong_layers_are_refused():
    with pytest.raises(LandscapeError, match="no layers"):
        plots.layers({})
    with pytest.raises(LandscapeError, match="positive"):
        plots.layers({"conv": -1.0}, log=True)
