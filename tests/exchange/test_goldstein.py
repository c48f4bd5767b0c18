"""Surface files: the names, shapes and order that the original plotting scripts read, and the way back."""

import h5py
import numpy as np
import pytest

from landscape import export, importers
from landscape.errors import LandscapeError
from landscape.results import Estimate, Line


def test_a_surface_has_the_names_shapes_and_units_that_the_original_scripts_read(plane, folder, minimum):
    surface, *_ = export.goldstein(plane, folder / "plane.h5")
    with h5py.File(surface) as file:
        x, y = file["xcoordinates"][:], file["ycoordinates"][:]
        X, _ = np.meshgrid(x, y)
        for name in ("train_loss", "test_loss"):
            z = np.array(file[name][:])
            assert z.dtype == np.float64
            assert z.shape == X.shape  # what contour(X, Y, Z) asks for
            minimum(z)
        assert file["train_acc"][:].max() == 100  # percent
        assert isinstance(file["dir_file"].asstr()[()], str)
        assert not file.attrs  # the original has none at the root
        flat = file["train_loss"][:].ravel()  # what the VTK converter reads, beside the raveled meshgrid
        assert X.ravel()[flat.argmin()] == plane.x[7]


def test_a_line_has_no_second_coordinate_because_that_is_how_the_scripts_tell(line, folder):
    [surface] = export.goldstein(line, folder / "line.h5")
    with h5py.File(surface) as file:
        assert "ycoordinates" not in file
        np.testing.assert_array_equal(file["train_loss"][:], line.loss)
        np.testing.assert_allclose(file["train_acc"][:], 100 * line.accuracy)


def test_directions_are_float32_tensors_in_order_and_the_surface_names_their_file(plane, folder):
    surface, directions = export.goldstein(plane, folder / "plane.h5", shapes={"weight": (2, 3), "bias": (4,)})
    with h5py.File(surface) as file:
        assert file["dir_file"].asstr()[()] == directions.name
    with h5py.File(directions) as file:
        for axis, vector in zip(("xdirection", "ydirection"), plane.directions.vectors, strict=True):
            tensors = [file[axis][str(i)] for i in range(len(file[axis]))]
            assert [(t.shape, t.dtype) for t in tensors] == [((2, 3), np.float32), ((4,), np.float32)]
            np.testing.assert_array_equal(np.concatenate([t[()].ravel() for t in tensors]), vector.astype(np.float32))
        assert file["explained_variance_ratio_"][:].tolist() == [0.9, 0.06]


def test_points_not_computed_are_minus_one_there_and_missing_again_here(plane, folder):
    computed = plane.computed.copy()
    computed[3, 4] = 0
    loss = plane.loss.copy()
    loss[3, 4], loss[0, 0], loss[0, 1] = np.nan, np.inf, np.nan
    holed = plane.replace(computed=computed, values={**plane.values, "train/loss": loss})
    surface, *_ = export.goldstein(holed, folder / "plane.h5")
    with h5py.File(surface) as file:
        stored = file["train_loss"][:]
        assert stored[3, 4] == -1
        assert stored[0, 0] == np.inf
        assert np.isnan(stored[0, 1])
    back = importers.goldstein(surface)
    np.testing.assert_array_equal(back.loss, loss)
    np.testing.assert_array_equal(back.computed, computed)


def test_what_goes_out_comes_back(plane, line, folder, minimum):
    surface, direction_file, projection = export.goldstein(
        plane, folder / "plane.h5", shapes=[(2, 3), (4,)], projection=np.array([[1.0, 2.0], [0, 0]])
    )
    directions = importers.goldstein_directions(direction_file)
    back = importers.goldstein(surface, directions=directions)
    minimum(back.loss)
    assert back.values.keys() == plane.values.keys()
    for name, value in plane.values.items():
        np.testing.assert_allclose(back.values[name], value, rtol=1e-15)
    np.testing.assert_allclose(directions.vectors, plane.directions.vectors, rtol=1e-6)
    assert directions.info["shapes"] == [[2, 3], [4]]
    assert importers.goldstein_projection(projection).tolist() == [[1.0, 2.0], [0.0, 0.0]]
    [surface] = export.goldstein(line, folder / "line.h5")
    again = importers.goldstein(surface)
    assert type(again) is Line
    np.testing.assert_array_equal(again.loss, line.loss)


def test_names_are_those_the_original_would_choose(plane, line):
    direction_file = export.direction_name("model.t7", two=False, index=2)
    assert direction_file == "model.t7_weights_xignore=biasbn_xnorm=filter_idx=2.h5"
    assert export.surface_name("d.h5", plane) == "d.h5_[-1.0,1.0,11]x[-1.0,1.0,7].h5"
    assert export.surface_name("d.h5", line) == "d.h5_[-1.0,1.0,11].h5"


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"values": {"train/margin": np.zeros((7, 11))}}, {}, "needs 'train/loss'"),
        ({"values": {"train/loss": np.zeros((11, 7))}}, {}, r"expected \(ny, nx\)"),
        ({}, {"shapes": [(3,)]}, "3 parameters"),
        ({}, {"projection": np.zeros(3)}, "expected \\(T, 2\\)"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_left_behind(plane, folder, change, options, message):
    with pytest.raises(LandscapeError, match=message):
        export.goldstein(plane.replace(**change), folder / "plane.h5", **options)
    assert not folder.exists() or not list(folder.iterdir())


def test_other_results_are_refused(folder):
    with pytest.raises(LandscapeError, match="holds planes, not a Estimate"):
        export.goldstein(
            Estimate(value=1.0, standard_error=0.0, matvecs=1, method="exact", quantity="trace"), folder / "a.h5"
        )
