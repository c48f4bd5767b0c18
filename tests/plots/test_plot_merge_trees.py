import numpy as np
import pytest

from landscape import plots
from landscape.slices import topology

#         deepest, on the rim ↓                 ↓ 1, persistence 4       ↓ 2, persistence 1
LINE = np.array([0.5, 3.0, 6.0, 4.0, 1.0, 5.0, 3.0, 2.0, 3.0, 8.0])


def stems(ax):
    """(place, bottom, top) of the vertical lines."""
    found = []
    for line in ax.lines:
        (x0, x1), (y0, y1) = line.get_data() if len(line.get_xdata()) == 2 else ((0, 1), (0, 0))
        if x0 == x1 and y0 != y1:
            found.append((float(x0), float(y0), float(y1)))
    return found


def markers(ax):
    return {float(line.get_ydata()[0]): line for line in ax.lines if line.get_marker() == "o"}


def test_stems_reach_from_minima_to_the_saddles_where_they_end():
    ax = plots.merge_tree(topology(LINE))
    assert sorted((bottom, top) for _, bottom, top in stems(ax)) == [(0.5, 6.0), (1.0, 5.0), (2.0, 5.0), (5.0, 6.0)]
    assert ax.get_ylabel() == "loss"
    assert ax.get_xlabel() == "3 minima"
    assert (ax.get_yscale(), plots.merge_tree(topology(10.0**LINE)).get_yscale()) == ("linear", "log")
    places = {bottom: place for place, bottom, _ in stems(ax)}
    assert places[5.0] == np.mean([places[1.0], places[2.0]])


def test_minima_on_the_rim_are_open_and_areas_are_shares():
    found = topology(LINE)
    drawn = markers(plots.merge_tree(found))
    assert {value: marker.get_markerfacecolor() for value, marker in drawn.items()} == {
        0.5: "white", 1.0: plots.PALETTE[0], 2.0: plots.PALETTE[0],
    }  # fmt: skip
    shares = {minimum.value: minimum.basin_share for minimum in found.minima}
    for value in (1.0, 2.0):
        area = (drawn[value].get_markersize() / drawn[0.5].get_markersize()) ** 2
        assert area == pytest.approx(shares[value] / shares[0.5])


def test_no_stems_cross_and_large_trees_keep_their_deepest_minima():
    found = topology(np.random.default_rng(0).random((31, 31)))
    assert len(found.minima) > 100
    ax = plots.merge_tree(found, most=12)
    drawn = markers(ax)
    deepest = sorted(found.minima, key=lambda minimum: -minimum.persistence)[:12]
    assert drawn.keys() == {minimum.value for minimum in deepest}
    assert f"{len(found.minima) - 12} shallower ones left out" in ax.get_xlabel()
    bars = [
        line.get_data()
        for line in ax.lines
        if line.get_ydata()[0] == line.get_ydata()[-1] and len(line.get_xdata()) == 2
    ]
    for place, bottom, top in stems(ax):
        for (left, right), (level, _) in bars:
            assert not (left < place < right and bottom < level < top)


def test_one_minimum_is_a_dot():
    ax = plots.merge_tree(topology(np.abs(np.arange(-2.0, 3.0))))
    assert stems(ax) == []
    assert len(markers(ax)) == 1
