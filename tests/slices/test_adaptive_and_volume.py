"""Adaptive planes, volumes, standard errors of grid points."""

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.models import mlp
from landscape.slices import adaptive_plane, volume


def analytic(function, size=2):
    """An objective whose loss is a function of its weights."""
    loss = ls.BatchLoss(lambda model, batch: function(*model.weight[0]))
    net = nn.Linear(size, 1, bias=False, dtype=torch.float64)
    return ls.Objective(net, [(torch.zeros(1),)], loss).at(torch.zeros(size, dtype=torch.float64))


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


@pytest.mark.parametrize("options", [{"coarse": 3}, {"refinements": 0}, {"tolerance": 0.0}])
def test_wrong_refinements_are_refused(options):
    with pytest.raises(ls.LandscapeError, match="expected at least 5"):
        adaptive_plane(analytic(lambda x, y: x + y), torch.eye(2), **options)


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
    with pytest.raises(ls.NotDefinedError, match="single examples"):
        ls.line(objective.with_loss(nn.CrossEntropyLoss(reduction="sum")), d, errors=True)
