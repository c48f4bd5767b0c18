"""Guesses must fit what they are said to fit, and volumes must be those of closed forms where there are any."""

import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from landscape.datasets import kink
from landscape.models import mlp
from landscape.models.common import seeded
from landscape.studies.guess_and_check import (
    drawn,
    fitting,
    guess_and_check,
    matched,
    normalised,
    poisoned_ratio,
    share_with,
    volume_interval,
)
from landscape.training.vectorised import stack

SMALL = partial(mlp, (2, 6, 2))
QUICK = {"guesses": 30_000, "networks": 10, "epochs": 20, "together": 3000}


def linear(seed=0):
    """Two logits without biases: which side of a line through the origin."""
    with seeded(seed):
        return nn.Sequential(nn.Linear(2, 2, bias=False))


@pytest.fixture(scope="module")
def found():
    return guess_and_check(SMALL, kink(train=4), **QUICK)


def test_volume_of_a_half_space_of_weights_is_a_half():
    """One example: by symmetry half of all weights give it its label. Two opposite ones fit together."""
    X, y = torch.tensor([[0.3, 0.4], [-0.3, -0.4]]), torch.tensor([1, 0])
    for count in (1, 2):
        one = guess_and_check(linear, ((X[:count], y[:count]), (X, y)), **QUICK)
        low, high = volume_interval(one)
        assert low < 0.5 < high
        assert high - low < 0.02
        assert fitting(one, "accuracy").mean() == 1


def test_wedge_of_weights_has_the_volume_of_its_angle():
    """Two examples at a right angle, by the same symmetry: a quarter of all weights fits both."""
    X, y = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([1, 1])
    one = guess_and_check(linear, ((X, y), (torch.tensor([[1.0, 1.0], [1.0, -1.0]]), torch.tensor([1, 1]))), **QUICK)
    assert volume_interval(one)[0] < 0.25 < volume_interval(one)[1]
    assert fitting(one, "accuracy").mean() == pytest.approx(0.75, abs=0.02)  # (1, 1) always, (1, −1) half of the time


def test_weights_are_uniform_between_minus_and_plus_the_span():
    networks = drawn(stack(linear, [0]), 20_000, 2.5, torch.Generator().manual_seed(0))
    weights = networks.parameters["0.weight"].flatten().double()
    assert weights.abs().max() <= 2.5
    quantiles = weights.quantile(torch.tensor([0.1, 0.25, 0.5, 0.75, 0.9], dtype=torch.float64))
    np.testing.assert_allclose(quantiles, [-2.0, -1.25, 0.0, 1.25, 2.0], atol=0.03)  # 8 standard errors


def test_every_job_draws_guesses_of_its_own(monkeypatch):
    monkeypatch.setattr(sys.modules[guess_and_check.__module__], "_JOB", 10_000)
    both = guess_and_check(SMALL, kink(train=4), **QUICK | {"guesses": 20_000})
    one = guess_and_check(SMALL, kink(train=4), **QUICK | {"guesses": 10_000})
    first, every = fitting(one, "loss"), fitting(both, "loss")
    np.testing.assert_array_equal(every[: len(first)], first)
    assert len(first) < len(every)
    assert not np.isin(every[len(first) :], first).any()


def test_networks_are_taken_at_the_first_epoch_that_fits():
    """Longer training adds those that fit later, and changes none of the others."""
    short, long = (guess_and_check(SMALL, kink(train=4), **QUICK | {"epochs": epochs}) for epochs in (10, 40))
    few, more = (fitting(found, "loss", "SGD") for found in (short, long))
    assert 0 < len(few) <= len(more)
    assert np.isin(few, more).all()


def test_shares_are_moments_of_the_accuracy(found):
    changed = found.replace(arrays={"accuracy": np.array([[0.5, 1.0], [np.nan, np.nan]])})
    assert share_with(changed, 2) == pytest.approx((0.25 + 1) / 2)
    assert share_with(changed, 2, wrong=True) == pytest.approx(0.25 / 2)
    assert poisoned_ratio(changed, 2)[0] == pytest.approx(0.2)


def test_fewer_weights_fit_wrong_labels_as_well(found):
    ratio, error = poisoned_ratio(found, 4)
    assert 0 < ratio < 0.5 - 3 * error


def test_normalised_logits_are_those_of_layers_of_norm_one():
    """Without biases in the inner layers, dividing every layer by its norm divides the logits by the product."""
    template = stack(partial(_unbiased), [0])
    networks = drawn(template, 5, 1.0, torch.Generator().manual_seed(0))
    by_layer = {
        name: value / value.flatten(1).norm(dim=1).view(-1, 1, 1) for name, value in networks.parameters.items()
    }
    X, y = kink().train
    expected = type(networks)(networks.module, by_layer, {}).losses(X, y)
    torch.testing.assert_close(normalised(networks).losses(X, y), expected, rtol=1e-6, atol=0)


def _unbiased(seed=0):
    return nn.Sequential(nn.Linear(2, 6, bias=False), nn.ReLU(), nn.Linear(6, 2, bias=False))


def test_matched_compares_at_the_same_loss(found):
    loss = np.linspace(0.1, 1.1, 100)
    trained = np.where(loss < 0.6, 1.0, 0.8)
    guessed = [np.pad(values, (0, 97), constant_values=np.nan) for values in ([0.15, 0.2, 5.0], [0.9, 0.7, 0.1])]
    arrays = {"loss": np.array([guessed[0], loss]), "accuracy": np.array([guessed[1], trained])}
    mine, theirs, share = matched(found.replace(arrays=arrays))
    assert (mine, share) == (1.0, pytest.approx(0.2, abs=0.11))
    assert 0.7 <= theirs <= 0.9


def test_nothing_fits_is_said_and_bounded():
    """Eight contradictory copies of one point cannot be fitted."""
    X, y = torch.zeros(8, 2), torch.arange(8) % 2
    none = guess_and_check(SMALL, ((X, y), (X, y)), **QUICK)
    assert none["fit"].tolist() == [0, 0]
    assert 0 < volume_interval(none)[1] < 2e-4
    assert "0 of 30000 guesses" in none.finding("volume that fits").text
    assert np.isnan(none["test/accuracy"]).all()
