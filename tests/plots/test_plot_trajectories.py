import numpy as np
import pytest

from landscape import plots
from landscape.errors import LandscapeError

POINTS = np.array([[-0.8, 0.5], [-0.2, 0.3], [0.1, 0.1], [0.5, 0.0]])


def named(ax):
    return {line.get_label(): line for line in ax.lines}


def test_the_path_and_its_ends():
    ax = plots.trajectory(POINTS)
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), POINTS)
    np.testing.assert_array_equal(named(ax)["start"].get_xydata(), POINTS[:1])
    np.testing.assert_array_equal(named(ax)["end"].get_xydata(), POINTS[-1:])


def test_the_distance_from_the_plane_is_colour_and_size():
    ax = plots.trajectory(POINTS, off_plane=np.array([0.0, 2.0, 1.0, 0.0]))
    dots = ax.collections[0]
    np.testing.assert_array_equal(dots.get_array(), [0, 2, 1, 0])
    sizes = dots.get_sizes()
    assert sizes[0] == sizes[3] > sizes[2] > sizes[1]
    assert sizes[1] == pytest.approx(sizes[0] / 4)
    assert ax.figure.axes[1].get_ylabel() == "distance from the plane"
    plots.trajectory(POINTS, off_plane=np.zeros(4)).figure.canvas.draw()


def test_a_plane_lies_below_and_marks_are_ringed(valley):
    ax = plots.trajectory(POINTS, plane=valley, explained=(0.9, 0.05), marks=[1], limit=2.0)
    assert ax.get_xlim() == (-1.0, 1.5)
    assert ax.get_ylabel() == "principal component 2 (5.0 %)"
    np.testing.assert_array_equal(named(ax)["learning rate lowered"].get_xydata(), POINTS[1:2])


def test_arrays_must_fit():
    with pytest.raises(LandscapeError, match=r"\(T, 2\)"):
        plots.trajectory(POINTS.T)
    with pytest.raises(LandscapeError, match="one distance a point"):
        plots.trajectory(POINTS, off_plane=np.zeros(3))
