"""Reading slices: closed forms, masked cells, scales of curvature."""

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.models import mlp
from landscape.results import Line, Plane
from landscape.slices.curvature import scale_curvature
from landscape.slices.reading import nonconvex_share, quadratic_overlay, read_slice, surface_of


def line_of(values, x):
    return Line(x=x, values={"train/loss": values})


def plane_of(function, x, y):
    xs, ys = np.meshgrid(x, y)
    values = function(xs, ys)
    return Plane(x=x, y=y, values={"train/loss": values}, computed=np.ones(values.shape, np.uint8))


def test_a_quadratic_line_in_closed_form():
    x = np.linspace(-2, 2, 401)
    found = read_slice(line_of(1 + 2 * x**2, x), taus=(0.5,), epsilons=(0.5,), hessian=[4.0])
    assert found.curvature == pytest.approx((4.0,))
    assert found.hessian == (4.0,)
    assert found.half_widths["0.5"][0] == pytest.approx((0.5, 0.5), abs=1e-4)
    assert found.asymmetry == (0.0,)
    assert found.roughness == pytest.approx((0.0,), abs=1e-12)
    assert found.nonconvex == 0.0
    assert found.volume_fraction["0.5"] == pytest.approx(0.25, abs=0.005)
    assert (found.centre, found.lowest, found.window, found.resolution) == (1.0, 1.0, ((-2.0, 2.0),), (401,))


def test_uneven_grids_have_the_same_curvature():
    x = np.array([-1.0, -0.1, 0.0, 0.3, 2.0])
    assert read_slice(line_of(5 * x**2 - x, x)).curvature == pytest.approx((10.0,))


def test_asymmetry_and_roughness_are_what_their_formulas_say():
    x = np.linspace(-1, 1, 5)
    found = read_slice(line_of(np.array([3.0, 0.5, 0.0, 1.0, 1.0]), x))
    assert found.asymmetry == pytest.approx(((1 - 3) / (1 + 3),))
    assert found.roughness == (0.0,)
    wavy = read_slice(line_of(np.array([3.0, 0.5, 0.0, 2.0, 1.0]), x))
    assert wavy.roughness == pytest.approx((2.0,))  # up 2, down 1, net 1
    assert wavy.half_widths["0.1"][0] == pytest.approx((0.1, 0.025))
    assert wavy.half_widths["1"][0] == pytest.approx((0.6, 0.25))


def test_a_width_that_is_not_reached_is_infinite_and_a_wall_is_where_it_stands():
    x = np.linspace(-1, 1, 5)
    found = read_slice(line_of(np.array([np.nan, 0.0, 0.0, 0.0, np.inf]), x))
    assert found.half_widths["1"][0] == (np.inf, 1.0)
    assert found.masked == 2


def test_axes_of_a_plane_are_not_mixed_up():
    found = read_slice(plane_of(lambda x, y: x**2 + 5 * y**2, np.linspace(-1, 1, 21), np.linspace(-2, 2, 11)))
    assert found.curvature == pytest.approx((2.0, 10.0))
    assert found.half_widths["1"][0] == pytest.approx((1.0, 1.0))
    assert found.half_widths["1"][1] == pytest.approx((0.44, 0.44), abs=0.03)
    assert (found.window, found.resolution) == (((-1, 1), (-2, 2)), (21, 11))


def test_the_volume_of_an_ellipse():
    found = read_slice(plane_of(lambda x, y: x**2 + 4 * y**2, np.linspace(-1, 1, 201), np.linspace(-1, 1, 201)))
    assert found.volume_fraction["0.1"] == pytest.approx(np.pi * 0.1 / 2 / 4, rel=0.01)


@pytest.mark.parametrize(
    ("function", "share"),
    [
        (lambda x, y: x**2 + y**2, 0.0),
        (lambda x, y: x**2 - y**2, 1.0),
        (lambda x, y: 3 * x * y, 1.0),
        (lambda x, y: x + y, 0.0),
    ],
)
def test_non_convex_cells_are_those_with_a_negative_eigenvalue(function, share):
    surface = plane_of(function, np.linspace(-1, 1, 9), np.linspace(-3, 3, 7))
    assert read_slice(surface).nonconvex == share


def test_half_of_a_cosine_is_not_convex():
    x = np.linspace(-np.pi, np.pi, 401)
    assert read_slice(line_of(-np.cos(x), x)).nonconvex == pytest.approx(0.5, abs=0.01)


def digits_like(activation):
    torch.manual_seed(0)
    X, y = torch.randn(256, 20), torch.randint(5, (256,))
    model = mlp((20, 64, 5), activation=activation)
    optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(200):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(X), y).backward()
        optimiser.step()
    return ls.Objective(model, (X, y), "cross_entropy", dtype=torch.float64)


def test_smooth_networks_have_one_curvature_at_small_scales():
    objective = digits_like("gelu")
    found = scale_curvature(objective, ls.random_directions(objective, 1), smallest=1e-5, points=11)
    middle = np.argmin(np.abs(found.h - 1e-3))
    assert found.kappa[middle] == pytest.approx(found.hessian, rel=1e-3)
    assert found.rounding[0] > 1e3 * found.rounding[middle]


def test_kinks_are_seen_by_second_differences_only_and_warned_of():
    objective = digits_like("relu")
    found = scale_curvature(objective, ls.random_directions(objective, 1), smallest=1e-4, points=9)
    assert found.kappa[found.h <= 1e-2].max() > 3 * found.hessian
    assert "leave out the kinks" in found.notes[0]


def test_the_quadratic_overlay_is_the_surface_of_a_quadratic():
    surface = plane_of(lambda x, y: 1 + x - y + x**2 + 3 * y**2 + x * y, np.linspace(-1, 1, 5), np.linspace(-2, 2, 3))
    model = quadratic_overlay(surface, np.array([[2.0, 1.0], [1.0, 6.0]]), slope=np.array([1.0, -1.0]))
    np.testing.assert_allclose(model.loss, surface.loss)


def test_too_small_grids_have_no_convexity():
    assert nonconvex_share(surface_of(np.zeros((2, 5)))) is None
