import matplotlib
import numpy as np
import pytest
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.contour import QuadContourSet

from landscape import plots
from landscape.errors import LandscapeError


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


def test_heat_map_cells_without_a_number_have_no_colour(make_plane):
    plane = make_plane(lambda x, y: np.where(x > 0.9, np.inf, x**2))
    (mesh,) = artists(plots.heatmap(plane), QuadMesh)
    np.testing.assert_array_equal(np.ma.getmaskarray(mesh.get_array()), np.isinf(plane.loss))


def test_values_that_were_not_computed_are_never_drawn(make_plane):
    computed = np.ones((7, 11), dtype=np.uint8)
    computed[3, 5] = 0
    plane = make_plane(lambda x, y: np.where((x == 0) & (y == 0), -1e9, x**2 + 1), computed=computed)
    (mesh,) = artists(plots.heatmap(plane), QuadMesh)
    assert mesh.get_array().min() == 1.0
    assert mesh.get_array().mask[3, 5]


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


def test_true_distances_need_directions_that_span_a_plane(valley, directions):
    with pytest.raises(LandscapeError, match="holds none"):
        plots.contour(valley, distances=True)
    with pytest.raises(LandscapeError, match="span no plane"):
        plots.contour(valley.replace(directions=directions(cosine=1.0)), distances=True)


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


def test_wrong_planes_are_refused(valley, make_plane):
    with pytest.raises(LandscapeError, match="train/loss"):
        plots.contour(valley, metric="error")
    with pytest.raises(LandscapeError, match=r"\(ny, nx\) = \(7, 11\)"):
        plots.heatmap(valley.replace(values={"train/loss": valley.loss.T}))
    with pytest.raises(LandscapeError, match="use heatmap"):
        plots.contour(make_plane(lambda x, y: x, ny=1))
    assert plots.heatmap(make_plane(lambda x, y: x, ny=1)).collections


def test_figures_stay_small_also_when_drawn_outside_the_style(valley):
    ax = plots.contour(valley)
    ax.set_xticks(np.linspace(-1, 1, 21))
    ax.figure.canvas.draw()
    assert {tick.label1.get_fontsize() for tick in ax.xaxis.get_major_ticks()} == {7.0}


def test_axes_of_the_caller_keep_the_callers_style(valley, ax):
    plots.contour(valley, ax)
    assert ax.xaxis.label.get_fontsize() == matplotlib.rcParams["font.size"]
