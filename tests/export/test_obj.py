"""Meshes: vertices where the grid is, faces over finite points only."""

import numpy as np
import pytest

from landscape import export
from landscape.errors import LandscapeError


def read(path):
    rows = [line.split() for line in path.read_text().splitlines() if line[0] in "vf"]
    vertices = np.array([row[1:] for row in rows if row[0] == "v"], dtype=float)
    return vertices, np.array([row[1:] for row in rows if row[0] == "f"], dtype=int)


def test_vertices_are_the_grid_with_x_fastest(plane, folder, minimum):
    vertices, faces = read(export.obj(plane, folder / "plane.obj", scale=0.5))
    minimum(vertices[:, 2].reshape(7, 11))
    np.testing.assert_array_equal(vertices[:11, 0], plane.x)
    np.testing.assert_allclose(vertices[:, 2].reshape(7, 11), plane.loss / 2)
    assert faces.shape == (6 * 10, 4)
    corners = vertices[faces - 1][..., :2]  # counter-clockwise seen from above: normals point up
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 1]
    assert (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] > 0).all()


def test_points_without_a_number_are_left_out_with_their_faces(plane, folder):
    loss = plane.loss.copy()
    loss[2, 3] = np.nan
    vertices, faces = read(export.obj(plane.replace(values={"train/loss": loss}), folder / "plane.obj", limit=1.0))
    assert (len(vertices), len(faces)) == (76, 56)
    assert faces.max() == 76
    assert np.isfinite(vertices).all()
    assert vertices[:, 2].max() == 1.0


def test_a_plane_without_any_number_is_refused(plane, folder):
    with pytest.raises(LandscapeError, match="no value of 'loss' is finite"):
        export.obj(plane.replace(values={"train/loss": np.full((7, 11), np.nan)}), folder / "plane.obj")
