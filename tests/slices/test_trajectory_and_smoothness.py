"""Trajectory planes, smoothness along the gradient and maps of extreme eigenvalues."""

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.models import mlp
from landscape.slices import eigen_ratio, project, smoothness, trajectory_plane


def analytic(function, size):
    loss = ls.BatchLoss(lambda model, batch: function(model.weight[0]))
    net = nn.Linear(size, 1, bias=False, dtype=torch.float64)
    return ls.Objective(net, [(torch.zeros(1),)], loss).at(torch.zeros(size, dtype=torch.float64))


def walk(steps=12, size=6, seed=0):
    return np.random.default_rng(seed).standard_normal((steps, size)).cumsum(0) * np.array([9, 4, 1, 0.3, 0.1, 0.1])


def test_the_projection_its_distance_and_both_losses():
    run, objective = walk(), analytic(lambda w: (w**2).sum(), 6)
    found = trajectory_plane([torch.as_tensor(p) for p in run], objective)
    d = found.directions.vectors
    np.testing.assert_allclose(d @ d.T, np.eye(2), atol=1e-12)
    on_plane = run[-1] + found.points @ d
    np.testing.assert_allclose(np.linalg.norm(run - on_plane, axis=1), found.off_plane, atol=1e-10)
    np.testing.assert_allclose(found.values["loss"], (run**2).sum(1))
    np.testing.assert_allclose(found.values["projected/loss"], (on_plane**2).sum(1))
    assert found.points[-1].tolist() == [0, 0]
    assert found.off_plane[-1] == pytest.approx(0, abs=1e-12)
    sklearn = pytest.importorskip("sklearn.decomposition")
    reference = sklearn.PCA(2).fit(run)
    np.testing.assert_allclose(found.explained, reference.explained_variance_ratio_, rtol=1e-8)
    np.testing.assert_allclose(np.abs(d @ reference.components_.T), np.eye(2), atol=1e-8)


def test_a_plane_takes_the_trajectory_as_its_directions():
    objective = analytic(lambda w: (w**2).sum(), 6)
    found = trajectory_plane([torch.as_tensor(p) for p in walk()], objective)
    last = objective.at(torch.as_tensor(walk()[-1]))
    surface = ls.plane(last, found, points=([0.0, found.points[0, 0]], [0.0, found.points[0, 1]]))
    assert surface.loss[1, 1] == pytest.approx(found.values["projected/loss"][0])


def test_solutions_are_projected_onto_axes_that_are_not_orthonormal():
    objective = analytic(lambda w: (w**2).sum(), 6).at(torch.as_tensor(walk()[0]))
    axes = np.random.default_rng(1).standard_normal((2, 6)) + 1.0
    on_plane = walk()[0] + np.array([0.3, -2.0]) @ axes
    off = np.linalg.qr(np.concatenate([axes, np.eye(6)[:1]]).T)[0][:, 2]
    points, distances = project(objective, axes, [on_plane, on_plane + 4 * off])
    np.testing.assert_allclose(points, [[0.3, -2.0]] * 2, atol=1e-9)
    np.testing.assert_allclose(distances, [0.0, 4.0], atol=1e-9)


def test_objectives_and_checkpoints_carry_their_own_data():
    objective = analytic(lambda w: (w**2).sum(), 6)
    run = [objective.at(torch.as_tensor(p)) for p in walk()]
    np.testing.assert_allclose(trajectory_plane(run).values["loss"], (walk() ** 2).sum(1))
    net, data = mlp((4, 3, 2)), (torch.randn(6, 4), torch.arange(6) % 2)
    states = [{k: v + 0.1 * t * (1 + i) for i, (k, v) in enumerate(net.state_dict().items())} for t in (0, 1, 4)]
    states[1]["linear1.weight"] = states[1]["linear1.weight"] * 2
    run = [ls.Checkpoint(net, state, loss="cross_entropy", train=data) for state in states]
    assert trajectory_plane(run).values["loss"][1] == pytest.approx(run[1].objective().loss())


def test_smoothness_of_a_quadratic_is_its_curvature_along_the_gradient():
    curvatures = torch.tensor([1.0, 10.0], dtype=torch.float64)
    objective = analytic(lambda w: (curvatures * w**2).sum() / 2, 2)
    found = smoothness(objective, [torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])], eta=[0.01, 0.05])
    np.testing.assert_allclose(found.beta, [1.0, 10.0])
    np.testing.assert_allclose(found.gradient_norm, [1.0, 20.0])
    np.testing.assert_allclose(found.gradient_change[1], [2.0, 10.0])
    np.testing.assert_allclose(found.loss[0], [0.99**2 / 2, 0.95**2 / 2])
    np.testing.assert_allclose(found.loss_variation[0], [0.95**2 / 2, 0.99**2 / 2])
    np.testing.assert_allclose(found.gradient_predictiveness[1], [2.0, 10.0])


def test_the_map_of_extreme_eigenvalues_against_a_dense_hessian():
    torch.manual_seed(0)
    net = mlp((3, 4, 2), activation="gelu").double()
    objective = ls.Objective(net, (torch.randn(10, 3).double(), torch.arange(10) % 2), "cross_entropy")
    d = ls.random_directions(objective, 2)
    found = eigen_ratio(objective, d, points=(3, 2), tol=1e-6)
    theta = objective.theta + torch.as_tensor(found.x[2] * d.vectors[0] + found.y[0] * d.vectors[1])
    with objective.guard():
        dense = torch.func.hessian(lambda t: objective.batch_loss(t, objective.batches[0]))(theta)
    values = torch.linalg.eigvalsh(dense)
    assert found.value("lambda-max")[0, 2] == pytest.approx(float(values[-1]), rel=1e-5)
    assert found.value("lambda-min")[0, 2] == pytest.approx(float(values[0]), rel=1e-3, abs=1e-8)
    assert found.value("eigen-ratio")[0, 2] == pytest.approx(abs(float(values[0] / values[-1])), rel=1e-3, abs=1e-8)
    assert found.loss[0, 2] == pytest.approx(objective.loss(theta))
