"""Planes from above, as surfaces, and side by side; lines side by side."""

import matplotlib
import numpy as np
import pytest
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from landscape import plots
from landscape.results import Line, Volume


def artists(ax, kind):
    return [found for found in ax.get_children() if isinstance(found, kind)]


def hatched(ax):
    return {
        found.get_label(): found for found in ax.collections if isinstance(found, PolyCollection) and found.get_hatch()
    }


def test_the_smallest_point_of_a_non_square_heat_map_is_where_it_belongs(valley):
    (mesh,) = artists(plots.heatmap(valley), QuadMesh)
    row, column = np.unravel_index(np.argmin(mesh.get_array()), mesh.get_array().shape)
    corners = mesh.get_coordinates()[row : row + 2, column : column + 2].reshape(4, 2)
    assert (row, column) == (3, 6)
    np.testing.assert_allclose(corners.mean(axis=0), [0.5, 0.0], atol=1e-12)


def test_the_innermost_contour_of_a_non_square_plane_surrounds_the_minimum(valley):
    drawn = artists(plots.contour(valley, levels=[0.3, 1.0, 3.0], labels=False), QuadContourSet)
    lines = next(found for found in drawn if not found.filled)
    path = lines.get_paths()[0]
    assert path.contains_point((0.5, 0.0))
    centre = path.get_extents()
    assert (centre.x0 + centre.x1) / 2 == pytest.approx(0.5, abs=0.05)
    assert (centre.y0 + centre.y1) / 2 == pytest.approx(0.0, abs=1e-6)
    assert centre.width > centre.height


def test_contours_are_at_the_levels_and_labelled(valley):
    scale = plots.scale_of([valley.loss], levels=6)
    ax = plots.contour(valley, levels=6)
    bands = next(found for found in artists(ax, QuadContourSet) if found.filled)
    lines = next(found for found in artists(ax, QuadContourSet) if not found.filled)
    np.testing.assert_array_equal(bands.levels, scale.levels)
    np.testing.assert_array_equal(lines.levels, scale.levels[1:-1])
    assert {text.get_text() for text in ax.texts} <= set(scale.labels)
    assert ax.texts
    assert bands.get_rasterized()
    assert not plots.contour(valley, levels=6, labels=False).texts


def test_the_clipped_top_of_the_colour_bar_says_so(valley):
    figure = plots.contour(valley, limit=1.0).figure
    assert figure.axes[1].get_yticklabels()[-1].get_text() == "> 1"
    assert not plots.contour(valley).figure.axes[1].get_yticklabels()[-1].get_text().startswith(">")
    assert len(plots.contour(valley, colourbar=False).figure.axes) == 1


@pytest.mark.parametrize("draw", [plots.contour, plots.heatmap])
def test_points_without_a_number_are_hatched_by_reason(draw, make_plane):
    computed = np.ones((7, 11), dtype=np.uint8)
    computed[0, :3] = 0
    plane = make_plane(lambda x, y: np.where(x + y > 1.3, np.inf, np.where((x < -0.7) & (y > 0.5), np.nan, x**2 + y**2)),
                       computed=computed)  # fmt: skip
    ax = draw(plane)
    found = hatched(ax)
    assert set(found) == {"inf", "NaN", "not computed"}
    assert len({one.get_hatch() for one in found.values()}) == 3
    assert len(found["not computed"].get_paths()) == 3
    assert len(found["inf"].get_paths()) == np.isinf(plane.loss).sum()
    for path, (j, i) in zip(found["inf"].get_paths(), np.argwhere(np.isinf(plane.loss)), strict=True):
        extents = path.get_extents().padded(1e-9)
        assert extents.contains(plane.x[i], plane.y[j])
    assert [text.get_text() for text in ax.figure.legends[0].get_texts()] == ["inf", "NaN", "not computed"]


def test_infinities_and_values_that_were_not_computed_have_no_colour(make_plane):
    computed = np.ones((7, 11), dtype=np.uint8)
    computed[3, 5] = 0
    plane = make_plane(
        lambda x, y: np.where(x > 0.9, np.inf, np.where((x == 0) & (y == 0), -1e9, x**2 + 1)), computed=computed
    )
    (mesh,) = artists(plots.heatmap(plane), QuadMesh)
    assert mesh.get_array().min() == 1.0
    np.testing.assert_array_equal(np.ma.getmaskarray(mesh.get_array()), np.isinf(plane.loss) | (computed == 0))


def test_the_callers_axes_get_the_legend_of_the_hatches_inside(ax, make_plane):
    plots.contour(make_plane(lambda x, y: np.where(x + y > 1.3, np.inf, x**2 + y**2)), ax)
    assert ax.get_legend()._get_loc() == 1  # upper right, where the walls are
    assert not ax.figure.legends


def test_true_distances_keep_lengths_and_angles(make_plane, directions):
    plane = make_plane(lambda x, y: x**2 + y**2, spanned=directions((2.0, 3.0), cosine=0.5))
    ax = plots.heatmap(plane, distances=True)
    (mesh,) = artists(ax, QuadMesh)
    corners = mesh.get_coordinates()
    across, up = corners[0, -1] - corners[0, 0], corners[-1, 0] - corners[0, 0]
    steps_x, steps_y = 2.2, 2 + 1 / 3  # the window with half a cell more on each side
    assert np.linalg.norm(across) == pytest.approx(2.0 * steps_x)
    assert np.linalg.norm(up) == pytest.approx(3.0 * steps_y)
    assert across @ up / np.linalg.norm(across) / np.linalg.norm(up) == pytest.approx(0.5)
    assert ax.get_aspect() == 1
    assert ax.get_xlabel() == "Euclidean distance"


def test_the_centre_is_marked_where_it_is_in_the_window(valley):
    (mark,) = [found for found in plots.contour(valley).lines if found.get_label() == "centre"]
    assert (mark.get_xdata(), mark.get_ydata()) == ([0.0], [0.0])
    aside = valley.replace(x=valley.x + 5)
    assert not plots.contour(aside).lines
    assert not plots.contour(valley, centre=False).lines


def test_axes_are_named_after_their_directions(valley, directions):
    assert plots.contour(valley).get_xlabel() == "direction 1"
    named = valley.replace(directions=directions(kind="eigenvector"))
    assert plots.contour(named).get_ylabel() == "eigenvector 2"


def test_accuracies_have_ten_bands_from_0_to_1(valley):
    plane = valley.replace(values={"train/accuracy": np.exp(-valley.loss)})
    bands = artists(plots.contour(plane, metric="accuracy"), QuadContourSet)[0]
    np.testing.assert_allclose(bands.levels, np.linspace(0, 1, 11))


@pytest.mark.parametrize("draw", [plots.contour, plots.heatmap, plots.surface])
def test_planes_without_any_number_and_flat_planes_are_drawn(draw, valley):
    nothing = draw(valley.replace(values={"train/loss": np.full((7, 11), np.nan)}))
    assert len(nothing.figure.axes) == 1
    draw(valley.replace(values={"train/loss": np.full((7, 11), 2.0)})).figure.canvas.draw()
    thin = valley.replace(y=valley.y[:1], values={"train/loss": valley.loss[:1]}, computed=valley.computed[:1])
    assert plots.heatmap(thin).collections


def test_figures_keep_their_style_outside_it_and_axes_of_the_caller_the_callers(valley):
    ax = plots.contour(valley)
    ax.set_xticks(np.linspace(-1, 1, 21))
    ax.figure.canvas.draw()
    assert {tick.label1.get_fontsize() for tick in ax.xaxis.get_major_ticks()} == {7.0}
    own = Figure().add_subplot()
    plots.contour(valley, own)
    assert own.xaxis.label.get_fontsize() == matplotlib.rcParams["font.size"]


def squares(ax):
    return next(found for found in ax.collections if isinstance(found, Poly3DCollection) and not found.get_hatch())


def vertices(ax):
    return np.asarray(squares(ax)._faces)  # 3-D paths have no public reader


def test_the_lowest_corner_of_a_non_square_surface_is_where_it_belongs(valley):
    corners = vertices(plots.surface(valley))
    assert corners.shape == (6 * 10, 4, 3)
    lowest = corners.reshape(-1, 3)[corners[..., 2].argmin()]
    np.testing.assert_allclose(lowest[:2], [0.5, 0.0], atol=1e-12)


def test_heights_follow_the_scale_seen_from_where_it_was_asked(valley):
    scale, ax = plots.scale_of([valley.loss], levels=8), plots.surface(valley, elevation=20, azimuth=30)
    assert (ax.elev, ax.azim) == (20, 30)
    assert squares(ax).get_rasterized()
    heights = np.unique(vertices(ax)[..., 2].round(9))
    np.testing.assert_allclose(heights, np.unique(np.asarray(scale.norm(valley.loss)).round(9)))


def test_walls_are_cut_at_the_limit(valley):
    ax = plots.surface(valley, limit=0.5)
    assert (vertices(ax)[..., 2] == 1).sum() > 10
    assert ax.get_zticklabels()[-1].get_text() == "> 0.5"


def test_points_without_a_number_leave_a_hole_hatched_on_the_floor(make_plane):
    plane = make_plane(lambda x, y: np.where(x + y > 1.5, np.inf, x**2 + y**2))
    ax = plots.surface(plane)
    bad = np.isinf(plane.loss)
    touched = bad[:-1, :-1] | bad[:-1, 1:] | bad[1:, 1:] | bad[1:, :-1]
    assert len(vertices(ax)) == (~touched).sum()
    assert np.isfinite(vertices(ax)).all()
    (floor,) = [found for found in ax.collections if found.get_hatch()]
    assert len(floor._faces) == bad.sum()


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


def test_lines_share_both_axes():
    x = np.linspace(-1, 1, 9)
    a, b, c = (Line(x=x, values={"train/loss": s * x**2, "train/accuracy": np.exp(-s * x**2)}) for s in (1, 2, 40))
    figure = plots.lines_grid({"flat": [a, b], "sharp": [c]})
    flat, sharp = (ax for ax in figure.axes if ax.get_title())
    assert flat.get_ylim() == sharp.get_ylim()
    assert sharp.get_ylim()[1] >= 40
    below = [ax for ax in figure.axes if ax.get_label() == "accuracy"]
    assert len({ax.get_ylim() for ax in below}) == 1
    assert [ax.get_ylabel() for ax in (flat, sharp, *below)] == ["loss", "", "accuracy (%)", ""]
    figure.draw_without_rendering()
    assert flat.get_position().width == pytest.approx(sharp.get_position().width, abs=1e-6)
    assert [ax.get_position().x0 for ax in below] == [ax.get_position().x0 for ax in (flat, sharp)]
    assert "min–max of 2 lines" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_volume_is_three_planes_through_the_centre_on_shared_levels():
    x, y, z = np.linspace(-1, 1, 5), np.linspace(-1, 1, 7), np.linspace(-1, 1, 9)
    values = (x - 0.5) ** 2 + 3 * y[:, None] ** 2 + 5 * z[:, None, None] ** 2
    found = Volume(x=x, y=y, z=z, values={"train/loss": values}, computed=np.ones(values.shape))
    panels = plots.plot(found, kind="heatmap").axes[:3]
    for panel, expected in zip(panels, (values[4], values[:, 3], values[:, :, 2]), strict=True):
        np.testing.assert_array_equal(panel.collections[0].get_array(), expected)
    assert len({panel.collections[0].norm.vmax for panel in panels}) == 1
    assert [panel.get_ylabel() for panel in panels] == ["direction 2", "direction 3", "direction 3"]
