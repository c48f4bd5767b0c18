import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure

from landscape import plots
from landscape.errors import LandscapeError
from landscape.plots.lines import twin_of
from landscape.results import Line


@pytest.fixture
def three(make_plane):
    return {
        "flat": make_plane(lambda x, y: x**2 + y**2),
        "sharp": make_plane(lambda x, y: 30 * (x**2 + y**2) + 0.1),
        "wide": make_plane(lambda x, y: np.where(x > 1.9, np.nan, x**2), span=2.0),
    }


def test_contours_share_levels_limits_and_one_colour_bar(three):
    figure = plots.grid(three)
    *panels, bar = figure.axes
    assert [ax.get_title() for ax in panels] == list(three)
    bands = [next(found for found in ax.get_children() if isinstance(found, QuadContourSet)) for ax in panels]
    wanted = plots.scale_of([plane.loss for plane in three.values()], levels=12).levels
    for one in bands:
        np.testing.assert_array_equal(one.levels, wanted)
        assert (one.norm.vmin, one.norm.vmax) == (0.0, 60.1)
    assert {ax.get_xlim() for ax in panels} == {(-2.0, 2.0)}
    assert {ax.get_ylim() for ax in panels} == {(-2.0, 2.0)}
    assert bar.get_ylabel() == "train loss"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["NaN"]


def test_equal_values_have_equal_colours(three):
    *panels, _ = plots.grid(three, kind="heatmap", limit=20.0).axes
    meshes = [next(found for found in ax.get_children() if isinstance(found, QuadMesh)) for ax in panels]
    probe = np.array([0.0, 0.3, 5.0, 19.0, 50.0])
    colours = [mesh.to_rgba(probe) for mesh in meshes]
    np.testing.assert_array_equal(colours[0], colours[1])
    np.testing.assert_array_equal(colours[0], colours[2])


def test_surfaces_share_heights_and_camera(three):
    *panels, bar = plots.grid(three, kind="surface", azimuth=10.0, limit=20.0).axes
    assert {ax.get_zlim() for ax in panels} == {(-0.35, 1.0)}
    assert {(ax.elev, ax.azim) for ax in panels} == {(32.0, 10.0)}
    assert {ax.get_xlim() for ax in panels} == {(-2.0, 2.0)}
    assert {tuple(text.get_text() for text in ax.get_zticklabels()) for ax in panels} == {
        tuple(text.get_text() for text in panels[0].get_zticklabels())
    }
    assert bar.get_yticklabels()[-1].get_text() == "> 20"


def test_inner_panels_have_no_repeated_labels(three):
    panels = plots.grid(three, columns=2).axes[:-1]
    assert [ax.get_ylabel() != "" for ax in panels] == [True, False, True]
    assert [ax.get_xlabel() != "" for ax in panels] == [False, True, True]


def test_a_part_of_a_figure_can_hold_a_grid(three):
    whole = Figure(layout="constrained")
    part = whole.subfigures(1, 2)[0]
    assert plots.grid(three, part) is part
    assert len(part.axes) == 4


def test_wrong_grids_are_refused(three):
    with pytest.raises(LandscapeError, match="no planes"):
        plots.grid({})
    with pytest.raises(LandscapeError, match="contour, heatmap, surface"):
        plots.grid(three, kind="wireframe")
    with pytest.raises(LandscapeError, match="columns=0"):
        plots.grid(three, columns=0)


def test_lines_share_both_axes():
    x = np.linspace(-1, 1, 9)
    a, b, c = (Line(x=x, values={"train/loss": s * x**2, "train/accuracy": np.exp(-s * x**2)}) for s in (1, 2, 40))
    figure = plots.lines_grid({"flat": [a, b], "sharp": [c]})
    flat, sharp = (ax for ax in figure.axes if ax.get_title())
    assert flat.get_ylim() == sharp.get_ylim()
    assert sharp.get_ylim()[1] >= 40
    for ax in (flat, sharp):
        assert twin_of(ax).get_ylim() == (0, 100)
    assert flat.get_ylabel() == "loss"
    assert sharp.get_ylabel() == ""
    assert twin_of(flat).get_ylabel() == ""
    assert twin_of(sharp).get_ylabel() == "accuracy (%)"
    assert "min–max of 2 lines" in [text.get_text() for text in figure.legends[0].get_texts()]
