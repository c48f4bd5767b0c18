"""Paths between solutions: straight ones and their barriers, curves, permutation alignment, norm statistics."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscape as ls
from landscape.datasets import digits
from landscape.models import mlp, small_cnn
from landscape.slices import align, barriers, connect, interpolate
from landscape.slices.paths import _bezier, _polygon


def fit(model, X, y, *, steps=150, lr=3e-3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    model.train()
    for _ in range(steps):
        index = torch.randint(len(X), (64,), generator=generator)
        optimiser.zero_grad()
        F.cross_entropy(model(X[index]), y[index]).backward()
        optimiser.step()
    return model.eval()


@pytest.fixture(scope="module")
def trained():
    X, y = digits(train=600).train
    with torch.random.fork_rng():
        models = [fit(mlp((64, 64, 64, 10), seed=seed), X, y, seed=seed) for seed in (0, 1)]
    return ls.Objective(models[0], (X, y), "cross_entropy", batch_size=200), *(m.state_dict() for m in models)


def test_a_curve_removes_the_barrier_of_the_straight_path_and_alignment_lowers_it(trained):
    objective, a, b = trained
    straight = interpolate(objective, a, b, points=15)
    assert straight.barrier > 0.1
    curve = connect(objective, a, b, steps=200, points=15)
    assert curve.barrier <= 0.1 * straight.barrier
    aligned = align(objective, a, b)
    assert interpolate(objective, a, aligned, points=15).barrier < 0.5 * straight.barrier
    torch.testing.assert_close(aligned.outputs(), objective.at(b).outputs(), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(curve.loss[[0, -1]], straight.loss[[0, -1]], rtol=1e-5)


@pytest.mark.parametrize(
    "make", [lambda: small_cnn().double(), small_cnn]
)  # one that the objective alone has in float64
def test_alignment_undoes_a_permutation_through_convolutions_and_norm_layers(make):
    model = make()
    X, y = torch.randn(8, 1, 8, 8, dtype=torch.float64), torch.arange(8)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.uniform_(-1, 1)
                module.running_var.uniform_(0.5, 2)
    objective = ls.Objective(model, (X, y), "cross_entropy", dtype=torch.float64)
    shuffled = ls.transforms.permutation(model, X[:2].to(next(model.parameters())), seed=3).model.state_dict()
    assert not torch.equal(objective.at(shuffled).theta, objective.theta)
    aligned = align(objective, objective, shuffled)
    torch.testing.assert_close(aligned.theta, objective.theta)
    torch.testing.assert_close(aligned.outputs(), objective.outputs())


def test_running_statistics_are_moved_but_not_matched():
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3)).double()
    objective = ls.Objective(model, (torch.randn(8, 4).double(), torch.arange(8) % 3), "cross_entropy")
    misled = ls.transforms.permutation(model, torch.randn(2, 4).double(), seed=3).model.state_dict()
    misled["1.running_mean"] = torch.linspace(-100, 100, 6).double()
    there = {**model.state_dict(), "1.running_mean": torch.linspace(-100, 100, 6).double()}
    aligned = align(objective, there, misled)
    torch.testing.assert_close(aligned.theta, objective.theta)
    torch.testing.assert_close(aligned.outputs(), objective.at(misled).outputs())


def test_basis_functions_interpolate_the_ends_and_sum_to_one():
    for basis in (_bezier, _polygon):
        for degree in (2, 4):
            assert basis(0.0, degree).tolist() == [1.0] + [0.0] * degree
            assert basis(1.0, degree).tolist() == [0.0] * degree + [1.0]
            assert basis(0.3, degree).sum() == pytest.approx(1)
    np.testing.assert_allclose(_bezier(0.5, 2), [0.25, 0.5, 0.25])
    np.testing.assert_allclose(_polygon(0.25, 2), [0.5, 0.5, 0.0])


def weighing(function, size):
    loss = ls.BatchLoss(lambda model, batch: function(model.weight))
    return ls.Objective(nn.Linear(size, 1, bias=False), [(torch.zeros(1, size),)], loss, dtype=torch.float64)


def ring():
    """Minima on a circle of radius 1: the straight path between two of them has a barrier."""
    return weighing(lambda w: (w.square().sum() - 1).square(), 2)


@pytest.mark.parametrize(("kind", "bends", "best"), [("bezier", 1, 0.05), ("bezier", 3, 0.05), ("polygon", 3, 0.1)])
def test_curves_bend_around_a_hill(kind, bends, best):
    objective = ring()
    ends = torch.tensor([1.0, 0.0]), torch.tensor([-0.2, 0.98**0.5])
    found = connect(objective, *ends, kind=kind, bends=bends, steps=300, lr=0.05, points=31)
    assert found.controls.shape == (bends + 2, 2)
    np.testing.assert_allclose(found.controls[[0, -1]], torch.stack(ends).numpy(), atol=1e-7)
    assert found.barrier < best < interpolate(objective, *ends).barrier
    for t, value in zip(found.x, found.loss, strict=True):
        weights = (_bezier if kind == "bezier" else _polygon)(t, bends + 1)
        assert value == pytest.approx(objective.loss(torch.as_tensor(weights @ found.controls)), abs=1e-9)


def test_the_same_seed_gives_the_same_curve_and_the_random_state_is_kept():
    ends = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    objective = ring()
    before = torch.random.get_rng_state()
    first, second = (connect(objective, *ends, steps=5, points=3).controls for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_networks_with_batch_norm_are_connected_and_left_alone():
    torch.manual_seed(0)
    X, y = torch.randn(64, 4), torch.randint(3, (64,))
    models = []
    for _ in range(2):
        net = nn.Sequential(nn.Linear(4, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
        models.append(fit(net, X, y, steps=60, lr=0.02))
    objective = ls.Objective(models[0], (X, y), "cross_entropy")
    a, b = (m.state_dict() for m in models)
    before = {k: v.clone() for k, v in a.items()}
    flags = []
    hook = models[0][1].register_forward_pre_hook(lambda module, inputs: flags.append(module.training))
    curve = connect(objective, a, b, steps=100, points=5)
    hook.remove()
    assert all(flags[:100])  # trained on batch statistics
    assert np.isfinite(curve.loss).all()
    assert set(curve.values) == {"train/loss", "train/accuracy", "train-frozen/loss", "train-frozen/accuracy"}
    assert all(torch.equal(before[k], v) for k, v in models[0].state_dict().items())
    assert objective.mode == "eval"
    assert curve.barrier < interpolate(objective, a, b, points=5).barrier


def double_well():
    """L(w) = (w² − 1)² + w/10, with minima near ±1."""
    return weighing(lambda w: ((w**2 - 1) ** 2 + 0.1 * w).sum(), 1)


def point(value):
    return torch.tensor([value], dtype=torch.float64)


def test_the_barrier_is_measured_over_the_higher_end_and_over_the_mean():
    objective = double_well()
    path = interpolate(objective, point(-1.0), point(0.5), points=4)  # a peer walked along the end, not the difference
    np.testing.assert_allclose(path.loss, [objective.loss(point(w)) for w in (-1.0, -0.5, 0.0, 0.5)], atol=1e-12)
    path = interpolate(objective, point(-1.0), point(1.0), points=3)
    np.testing.assert_allclose(path.loss, [-0.1, 1.0, 0.1])
    assert path.barrier == pytest.approx(0.9)
    assert path.barrier_of(over="mean") == pytest.approx(1.0)
    with pytest.raises(ValueError, match="'larger' or 'mean'"):
        path.barrier_of(over="smaller")
    with pytest.raises(KeyError, match="train/loss"):
        path.barrier_of("accuracy")


def test_the_matrix_of_barriers_is_symmetric():
    found = barriers(double_well(), [point(-1.0), point(1.0), point(0.9)], points=21)
    np.testing.assert_array_equal(found, found.T)
    assert np.diag(found).tolist() == [0, 0, 0]
    assert found[1, 2] == pytest.approx(0, abs=0.01)
    assert found[0, 1] == pytest.approx(0.9)


def test_norm_statistics_are_estimated_again_along_the_path_and_both_versions_kept():
    torch.manual_seed(0)
    X, y = torch.randn(50, 4, dtype=torch.float64) * 3 + 1, torch.randint(3, (50,))
    a, b = (nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).double() for _ in range(2))
    for model in (a, b):
        model.train()(X)
    objective = ls.Objective(a, (X, y), "cross_entropy")
    other = objective.on((X[:9], y[:9]))
    path = interpolate(objective, a.state_dict(), b.state_dict(), points=3, also={"test": other})
    middle = {k: v if v.dtype == torch.int64 else (v + b.state_dict()[k]) / 2 for k, v in a.state_dict().items()}
    frozen = objective.at(middle)
    fresh = frozen.recalibrated()
    assert path.value("loss", "train-frozen")[1] == pytest.approx(frozen.loss())
    assert path.value("loss", "train")[1] == pytest.approx(fresh.loss())
    assert path.value("loss", "test")[1] == pytest.approx(fresh.on((X[:9], y[:9])).loss())
    assert abs(path.value("loss", "train")[1] - path.value("loss", "train-frozen")[1]) > 1e-4
    assert path.value("loss", "train-frozen")[2] == pytest.approx(objective.at(b.state_dict()).loss())
    assert "re-estimated" in path.notes[0]
    plain = interpolate(objective, a.state_dict(), b.state_dict(), points=3, recalibrate=False)
    np.testing.assert_allclose(plain.loss, path.value("loss", "train-frozen"))


def test_frozen_parameters_of_the_ends_are_interpolated_too():
    a, b = nn.Linear(2, 2).double(), nn.Linear(2, 2).double()
    data = (torch.eye(2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64))
    objective = ls.Objective(a, data, "mse_loss", parameters="weight")
    path = interpolate(objective, a.state_dict(), b.state_dict(), points=5)
    assert path.loss[-1] == pytest.approx(ls.Objective(b, data, "mse_loss").loss())
