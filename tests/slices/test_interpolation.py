"""Straight paths: barriers, norm statistics, state dicts as ends."""

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.slices import barriers


def double_well():
    """L(w) = (w² − 1)² + w/10, with minima near ±1."""
    loss = ls.BatchLoss(lambda model, batch: ((model.weight**2 - 1) ** 2 + 0.1 * model.weight).sum())
    return ls.Objective(nn.Linear(1, 1, bias=False), [(torch.zeros(1, 1),)], loss, dtype=torch.float64)


def point(value):
    return torch.tensor([value], dtype=torch.float64)


def test_the_barrier_is_measured_over_the_higher_end_and_over_the_mean():
    path = ls.interpolate(double_well(), point(-1.0), point(1.0), points=3)
    np.testing.assert_allclose(path.loss, [-0.1, 1.0, 0.1])
    assert path.barrier == pytest.approx(0.9)
    assert path.barrier_of(over="mean") == pytest.approx(1.0)
    with pytest.raises(ValueError, match="'larger' or 'mean'"):
        path.barrier_of(over="smaller")
    with pytest.raises(KeyError, match="train/loss"):
        path.barrier_of("accuracy")


def test_the_ends_are_the_solutions():
    # the first version of one peer walked along the end itself instead of the difference
    path = ls.interpolate(double_well(), point(-1.0), point(0.5), points=4)
    expected = [double_well().loss(point(w)) for w in (-1.0, -0.5, 0.0, 0.5)]
    np.testing.assert_allclose(path.loss, expected, atol=1e-12)


def test_the_matrix_of_barriers_is_symmetric():
    found = barriers(double_well(), [point(-1.0), point(1.0), point(0.9)], points=21)
    np.testing.assert_array_equal(found, found.T)
    assert np.diag(found).tolist() == [0, 0, 0]
    assert found[1, 2] == pytest.approx(0, abs=0.01)
    assert found[0, 1] == pytest.approx(0.9)
    with pytest.raises(ls.LandscapeError, match="at least 2"):
        barriers(double_well(), [point(1.0)])


def normed(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).double()


def test_norm_statistics_are_estimated_again_along_the_path_and_both_versions_kept():
    torch.manual_seed(0)
    X, y = torch.randn(50, 4, dtype=torch.float64) * 3 + 1, torch.randint(3, (50,))
    a, b = normed(1), normed(2)
    for model in (a, b):
        model.train()(X)
    objective = ls.Objective(a, (X, y), "cross_entropy")
    other = objective.on((X[:9], y[:9]))
    path = ls.interpolate(objective, a.state_dict(), b.state_dict(), points=3, also={"test": other})
    middle = {k: v if v.dtype == torch.int64 else (v + b.state_dict()[k]) / 2 for k, v in a.state_dict().items()}
    frozen = objective.at(middle)
    fresh = frozen.recalibrated()
    assert path.value("loss", "train-frozen")[1] == pytest.approx(frozen.loss())
    assert path.value("loss", "train")[1] == pytest.approx(fresh.loss())
    assert path.value("loss", "test")[1] == pytest.approx(fresh.on((X[:9], y[:9])).loss())
    assert abs(path.value("loss", "train")[1] - path.value("loss", "train-frozen")[1]) > 1e-4
    assert path.value("loss", "train-frozen")[2] == pytest.approx(objective.at(b.state_dict()).loss())
    assert "re-estimated" in path.notes[0]
    plain = ls.interpolate(objective, a.state_dict(), b.state_dict(), points=3, recalibrate=False)
    np.testing.assert_allclose(plain.loss, path.value("loss", "train-frozen"))


def test_frozen_parameters_of_the_ends_are_interpolated_too():
    a, b = nn.Linear(2, 2).double(), nn.Linear(2, 2).double()
    data = (torch.eye(2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64))
    objective = ls.Objective(a, data, "mse_loss", parameters="weight")
    path = ls.interpolate(objective, a.state_dict(), b.state_dict(), points=5)
    assert path.loss[-1] == pytest.approx(ls.Objective(b, data, "mse_loss").loss())


def test_wrong_ends_are_refused():
    objective = double_well()
    with pytest.raises(ls.LandscapeError, match="same point"):
        ls.interpolate(objective, point(1.0), point(1.0))
    with pytest.raises(ls.LandscapeError, match="expected an objective"):
        ls.interpolate(objective, 3, point(1.0))
    with pytest.raises(ls.LandscapeError, match="shape"):
        ls.interpolate(objective, torch.ones(2), point(1.0))
