"""Lines, planes (adaptive ones too) and volumes: exact paraboloids, orientation everywhere, several data sets, exceptions."""

import csv

import h5py
import numpy as np
import pytest
import torch
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from torch import nn

import landscape as ls
from landscape import export
from landscape.models import mlp
from landscape.plots.planes import heatmap
from landscape.slices import adaptive_plane, gradient_direction, log_coordinates, plane_through, volume


def analytic(function, size=2):
    """An objective whose loss is a function of its weights."""
    loss = ls.BatchLoss(lambda model, batch: function(*model.weight[0]))
    net = nn.Linear(size, 1, bias=False, dtype=torch.float64)
    return ls.Objective(net, [(torch.zeros(1),)], loss).at(torch.zeros(size, dtype=torch.float64))


@pytest.fixture(scope="module")
def quadratic():
    return analytic(lambda x, y: (x - 0.5) ** 2 + 3 * y**2)


@pytest.fixture(scope="module")
def surface(quadratic):
    """(x − 0.5)² + 3 y² on 9 × 5 points; its minimum is at (0.5, 0)."""
    return ls.plane(quadratic, torch.eye(2), span=(1.0, 2.0), points=(9, 5))


def normed_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def classes(n=20, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 4, generator=generator), torch.randint(3, (n,), generator=generator)


def state_of(model):
    return (
        {k: v.clone() for k, v in model.state_dict().items()},
        [m.training for m in model.modules()],
        [(p.grad, p.requires_grad) for p in model.parameters()],
    )


def assert_untouched(model, before):
    tensors, training, flags = before
    assert all(torch.equal(v, tensors[k]) for k, v in model.state_dict().items())
    assert [m.training for m in model.modules()] == training
    assert [(p.grad, p.requires_grad) for p in model.parameters()] == flags


def test_a_quadratic_is_an_exact_paraboloid_the_right_way_round(surface):
    assert surface.loss.shape == (5, 9)
    x, y = np.meshgrid(surface.x, surface.y)
    np.testing.assert_allclose(surface.loss, (x - 0.5) ** 2 + 3 * y**2, atol=1e-12)


def test_every_point_is_where_its_coordinates_say(quadratic):
    # off-centre windows, even numbers of points and rows walked back and forth have misplaced surfaces elsewhere
    surface = ls.plane(quadratic, torch.eye(2), span=((-1, 3), (0, 1)), points=(6, 4))
    for j, y in enumerate(surface.y):
        for i, x in enumerate(surface.x):
            assert surface.loss[j, i] == pytest.approx(quadratic.loss(torch.tensor([x, y])), abs=1e-12)


def test_a_line_has_the_curvature_of_the_hessian():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 3))
    objective = ls.Objective(model, classes(), "cross_entropy", dtype=torch.float64)
    d = ls.random_directions(objective, 1, seed=3)
    h = 1e-3
    found = ls.line(objective, d, points=[-h, 0.0, h]).loss
    v = torch.as_tensor(d.vectors[0])
    with objective.guard():
        hessian = torch.func.hessian(lambda t: sum(objective.batch_loss(t, b) for b in objective.batches))(
            objective.theta
        )
    exact = float(v @ hessian @ v)
    assert (found[0] + found[2] - 2 * found[1]) / h**2 == pytest.approx(exact, rel=1e-5)


def test_train_and_test_share_one_pass_and_accuracies():
    objective = ls.Objective(
        normed_net(), classes(), "cross_entropy", batch_size=7, metrics={"top": lambda o, t: o.max()}
    )
    other = objective.on(classes(11, seed=2), batch_size=4)
    d = ls.random_directions(objective, 2)
    surface = ls.plane(objective, d, points=3, also={"test": other})
    assert set(surface.values) == {f"{s}/{m}" for s in ("train", "test") for m in ("loss", "accuracy", "top")}
    theta = objective.theta + torch.as_tensor(d.vectors[0] - d.vectors[1])
    for name, one in (("train", objective), ("test", other)):
        expected = one.evaluate(theta)
        for metric, value in expected.items():
            assert surface.value(metric, name)[0, 2] == pytest.approx(value, rel=1e-5)


def test_the_model_is_untouched_also_when_a_metric_raises_mid_grid():
    model, calls = normed_net().train(), []
    model[0].weight.requires_grad_(False)

    def metric(output, target):
        calls.append(1)
        if len(calls) > 5:
            raise RuntimeError("mid-grid")
        return output.mean()

    objective = ls.Objective(model, classes(), "cross_entropy", parameters="*", metrics={"mine": metric})
    before, random = state_of(model), torch.random.get_rng_state()
    with pytest.raises(RuntimeError, match="mid-grid"):
        ls.plane(objective, ls.random_directions(objective), points=3)
    assert_untouched(model, before)
    assert torch.equal(torch.random.get_rng_state(), random)
    calls.append(-(10**9))
    metric_free = ls.Objective(model, classes(), "cross_entropy", parameters="*")
    surface = ls.plane(metric_free, ls.random_directions(metric_free), points=5)
    assert_untouched(model, before)
    assert np.isfinite(surface.loss).all()  # running variances are no direction: nothing turns NaN


def test_infinite_and_undefined_losses_are_kept():
    loss = ls.BatchLoss(lambda model, batch: 1 / model.weight.sum() + torch.log(model.weight.sum() + 1))
    objective = ls.Objective(nn.Linear(1, 1, bias=False), [(torch.ones(1, 1),)], loss, dtype=torch.float64)
    found = ls.line(objective.at(torch.zeros(1, dtype=torch.float64)), torch.ones(1), span=2, points=5).loss
    assert np.isnan(found[0])
    assert np.isinf(found[1:3]).all()
    assert np.isfinite(found[3:]).all()


def test_streamed_data_gives_the_same_values():
    data = classes(30)
    resident = ls.Objective(normed_net(), data, "cross_entropy", batch_size=8)
    streamed = ls.Objective(normed_net(), data, "cross_entropy", batch_size=8, resident=False)
    d = ls.random_directions(resident, 2)
    np.testing.assert_array_equal(ls.plane(resident, d, points=4).loss, ls.plane(streamed, d, points=4).loss)


def test_half_precision_networks_are_walked_in_single_precision():
    net, data = nn.Linear(64, 10).bfloat16(), (torch.randn(200, 64), torch.arange(200) % 10)
    objective = ls.Objective(net, data, "cross_entropy", metrics={"sum": lambda o, t: o.double().sum(1)})
    d = ls.random_directions(objective, 1)
    found = ls.line(objective, d, span=0.1, points=5)
    assert d.vectors.dtype == np.float32
    for x, value in zip(found.x, found.value("sum"), strict=True):
        theta = objective.theta.float() + float(x) * torch.as_tensor(d.vectors[0])
        assert value == objective.evaluate(theta)["sum"]


def test_two_runs_agree_bit_for_bit():
    objective = ls.Objective(normed_net(), classes(), "cross_entropy")
    first, second = (ls.plane(objective, ls.random_directions(objective, seed=4), points=5).loss for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_log_coordinates_are_symmetric_about_an_exact_centre():
    x = log_coordinates(2.0, 11, smallest=1e-4)
    np.testing.assert_array_equal(x, -x[::-1])
    assert (x[5], x[6], x[-1]) == (0.0, 1e-4, 2.0)


def test_gradient_direction_descends(quadratic):
    at = quadratic.at(torch.tensor([0.0, 1.0], dtype=torch.float64))
    d = gradient_direction(at)
    assert d.info["gradient_norm"] == pytest.approx(np.hypot(1.0, 6.0))
    found = ls.line(at, d, points=[-1e-6, 0.0, 1e-6]).loss
    assert (found[2] - found[0]) / 2e-6 == pytest.approx(d.info["gradient_norm"], rel=1e-6)


def test_plane_through_three_points_holds_all_three():
    a, b, c = np.random.default_rng(0).standard_normal((3, 9))
    d = plane_through(a, b, c)
    np.testing.assert_allclose(d.vectors @ d.vectors.T, np.eye(2), atol=1e-12)
    for point, (x, y) in zip((a, b, c), d.info["points"], strict=True):
        np.testing.assert_allclose(a + x * d.vectors[0] + y * d.vectors[1], point, atol=1e-12)


def test_a_narrow_valley_is_refined_where_it_bends_and_nowhere_else():
    objective = analytic(lambda x, y: torch.exp(-200 * (x - 0.5) ** 2 - 200 * (y + 0.5) ** 2) + x**2)
    found = adaptive_plane(objective, torch.eye(2), coarse=9, refinements=3, tolerance=0.01)
    full = ls.plane(objective, torch.eye(2), points=65)
    np.testing.assert_array_equal((found.x, found.y), (full.x, full.y))
    assert np.abs(found.loss - full.loss).max() < 0.02
    exact = found.computed == 1
    assert exact.mean() < 0.2
    assert found.computed.all()  # interpolated cells, marked 2, are there to be drawn and exported
    assert "the rest interpolated" in repr(found)
    np.testing.assert_allclose(found.loss[exact], full.loss[exact], rtol=1e-12)
    far = exact[40:, :24]  # a bowl without the peak: the coarse grid and the middles of its cells
    assert far.mean() < 0.05


def test_infinite_cells_stay_open_and_are_kept():
    objective = analytic(lambda x, y: torch.where(x > 0.61, torch.inf, x**2 + y**2))
    found = adaptive_plane(objective, torch.eye(2), coarse=5, refinements=2)
    full = ls.plane(objective, torch.eye(2), points=17)
    np.testing.assert_array_equal(np.isinf(found.loss), np.isinf(full.loss))


def test_a_volume_has_x_fastest():
    found = volume(analytic(lambda x, y, z: x + 10 * y + 100 * z, 3), torch.eye(3), points=(2, 3, 4), span=(1, 2, 3))
    assert found.loss.shape == (4, 3, 2)
    z, y, x = np.meshgrid(found.z, found.y, found.x, indexing="ij")
    np.testing.assert_allclose(found.loss, x + 10 * y + 100 * z)
    middle = ls.slices.topology(found)
    assert (middle.minima[0].x, middle.minima[0].y, middle.minima[0].z) == (-1.0, -2.0, -3.0)


def test_standard_errors_are_those_of_the_examples():
    X, y = torch.randn(40, 6), torch.randint(3, (40,))
    objective = ls.Objective(mlp((6, 5, 3)), (X, y), "cross_entropy", batch_size=7)
    d = ls.random_directions(objective, 1)
    found = ls.line(objective, d, points=3, errors=True)
    assert set(found.values) == {"train/loss", "train/accuracy", "train/loss-standard-error"}
    terms = objective.per_example(objective.theta + torch.as_tensor(d.vectors[0]))
    assert found.value("loss-standard-error")[2] == pytest.approx(float(terms.std()) / 40**0.5, rel=1e-4)
    np.testing.assert_array_equal(found.loss, ls.line(objective, d, points=3).loss)
    assert not objective.metrics


def minimum(x, y, values):
    j, i = np.unravel_index(np.asarray(values).argmin(), np.shape(values))
    return float(x[i]), float(y[j])


def minima(surface, folder):
    """Where the lowest value lies in the arrays, in the study, in each export and in the figure."""
    yield minimum(surface.x, surface.y, surface.loss)
    surface.save(folder / "study.h5", "sgd-0/plane")
    again = ls.open_study(folder / "study.h5")["sgd-0/plane"]
    yield minimum(again.x, again.y, again.loss)
    with h5py.File(export.goldstein(surface, folder / "surface.h5")[0]) as file:
        yield minimum(file["xcoordinates"][:], file["ycoordinates"][:], file["train_loss"][:])
    export.csv(surface, folder / "surface.csv")
    with open(folder / "surface.csv") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    lowest = min(rows, key=lambda row: float(row["train/loss"]))
    yield float(lowest["x"]), float(lowest["y"])
    mesh = next(
        artist for artist in heatmap(surface, Figure().add_subplot()).collections if isinstance(artist, QuadMesh)
    )
    values = np.asarray(mesh.get_array()).reshape(surface.loss.shape)
    j, i = np.unravel_index(values.argmin(), values.shape)
    yield tuple(mesh.get_coordinates()[j : j + 2, i : i + 2].reshape(-1, 2).mean(0))


def test_the_axes_keep_their_order_everywhere(surface, tmp_path):
    for place in minima(surface, tmp_path):
        assert place == pytest.approx((0.5, 0.0), abs=1e-9)


def test_a_plane_through_points_shows_them():
    objective = ls.Objective(ls.models.mlp((2, 3)), (torch.randn(6, 2), torch.arange(6) % 3), "cross_entropy")
    theta = objective.theta.numpy()
    corners = ls.plane_through(theta, theta + np.eye(9)[0] * 5, theta - np.eye(9)[1] * 2)
    found = ls.plane(objective, corners, points=3)
    np.testing.assert_allclose(found.x, [-0.5, 2.5, 5.5], atol=1e-6)
    np.testing.assert_allclose(found.y, [-0.2, 1.0, 2.2], atol=1e-6)
    assert ls.plane(objective, ls.random_directions(objective), points=3).x[0] == -1.0
