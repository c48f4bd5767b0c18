"""Defects of published reference code, each with the test that would fail if this package had it."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.scores import inverse_sigma_mag
from landscape.scores.more.learning_coefficient import sample_losses


def test_a_short_last_batch_weighs_what_it_holds(classifier):
    """60 examples in batches of 59 and 1."""
    values = [
        [row.value for row in ls.scores.trace_and_norm(classifier(batch_size=size), matvecs=10)] for size in (59, 60)
    ]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9)


def test_the_loss_at_the_weights_is_that_of_all_data():
    """A chain that cannot move has λ̂ = 0 up to its minibatches' noise, whose mean over many draws vanishes."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randn(50, 1, generator=generator).double()
    objective = ls.Objective(nn.Linear(1, 1).double(), (torch.zeros(50, 1).double(), y), "mse_loss")
    at = objective.at(torch.tensor([0.0, float(y.mean())]).double())
    still = partial(sample_losses, at, burn_in=0, step=1e-20, nbeta=50 / np.log(50), gamma=100.0)
    assert still(chains=1, draws=3).mean() == pytest.approx(at.loss(), abs=1e-6)
    part = 50 / np.log(50) * (still(chains=2, draws=400, subset=5).mean() - at.loss())
    spread = 50 / np.log(50) * float((y - y.mean()).square().std()) / np.sqrt(2 * 400 * 5)
    assert abs(part) < 4 * spread


def test_a_volume_dominated_by_one_direction_has_a_large_error(classifier):
    row = ls.scores.local_volume(classifier(), directions=20)[0]
    assert "lower bound" in row.note
    assert 0.3 < row.standard_error <= 1.0  # of a mean that one of twenty samples makes: nearly its whole size


def test_no_score_writes_into_the_network(classifier):
    objective = classifier()
    before = {name: tensor.clone() for name, tensor in objective.model.state_dict().items()}
    versions = [p._version for p in objective.model.parameters()]
    ls.sharpness(objective, ["local-volume", "kl-radius", "inverse-sigma-mag", "lpf", "keskar"])
    assert all(torch.equal(before[name], tensor) for name, tensor in objective.model.state_dict().items())
    assert [p._version for p in objective.model.parameters()] == versions
    assert inverse_sigma_mag(objective)[0].value == inverse_sigma_mag(objective)[0].value
