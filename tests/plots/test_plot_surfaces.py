import numpy as np
import pytest
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

from landscape import plots
from landscape.errors import LandscapeError


def squares(ax):
    return next(found for found in ax.collections if isinstance(found, Poly3DCollection) and not found.get_hatch())


def vertices(ax):
    return np.asarray(squares(ax)._faces)  # 3-D paths have no public reader


def test_a_surface_is_not_blank(valley):
    figure = plots.surface(valley).figure
    figure.canvas.draw()
    pixels = np.asarray(figure.canvas.buffer_rgba())[..., :3].reshape(-1, 3)
    coloured = (pixels.max(axis=1).astype(int) - pixels.min(axis=1) > 60).mean()
    assert coloured > 0.05


def test_the_lowest_corner_of_a_non_square_surface_is_where_it_belongs(valley):
    corners = vertices(plots.surface(valley))
    assert corners.shape == (6 * 10, 4, 3)
    lowest = corners.reshape(-1, 3)[corners[..., 2].argmin()]
    np.testing.assert_allclose(lowest[:2], [0.5, 0.0], atol=1e-12)


def test_heights_follow_the_scale(valley):
    scale = plots.scale_of([valley.loss], levels=8)
    heights = np.unique(vertices(plots.surface(valley))[..., 2].round(9))
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


def test_camera_and_raster(valley):
    ax = plots.surface(valley, elevation=20, azimuth=30)
    assert (ax.elev, ax.azim) == (20, 30)
    assert squares(ax).get_rasterized()


def test_flat_axes_and_thin_planes_are_refused(valley, ax, make_plane):
    with pytest.raises(LandscapeError, match="three-dimensional"):
        plots.surface(valley, ax)
    with pytest.raises(LandscapeError, match="use heatmap"):
        plots.surface(make_plane(lambda x, y: x, nx=1))
