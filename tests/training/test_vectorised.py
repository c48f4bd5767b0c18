"""Stacked networks must compute what single ones do, in evaluation and in training, whatever they are made of."""

from functools import partial

import pytest
import torch
from torch import nn

from landscape.datasets import digits
from landscape.errors import LandscapeError, NumericalError
from landscape.experiments import evaluate, get_recipe, train
from landscape.models import mlp
from landscape.models.common import seeded
from landscape.training.vectorised import stack, train_stacked

SMALL = partial(mlp, (64, 16, 10))


class Normed(nn.Module):
    """Linear layers about a batch norm, with dropout when asked for."""

    def __init__(self, dropout=0.0):
        super().__init__()
        # No bias before the norm: its gradient is nothing but rounding, which Adam would turn into whole steps.
        self.first, self.norm, self.last = nn.Linear(64, 16, bias=False), nn.BatchNorm1d(16), nn.Linear(16, 10)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x):
        return self.last(self.dropout(self.norm(self.first(x)).relu()))


def normed(seed=0, dropout=0.0):
    with seeded(seed):
        return Normed(dropout)


def wrapped(seed=0):
    """An MLP that is not recognised as a chain, so that it goes the general way."""
    return nn.Sequential(nn.Sequential(*SMALL(seed=seed)))


def convolutional(seed=0):
    with seeded(seed):
        return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 10))


@pytest.fixture(scope="module")
def split():
    return digits(train=200)


@pytest.mark.parametrize("factory", [SMALL, partial(mlp, (64, 16, 8, 10), activation="gelu"), wrapped, normed])
def test_logits_are_those_of_each_network(factory, split):
    X = split.test[0][:30]
    stacked = stack(factory, range(3))
    stacked.module.eval()
    logits = stacked.logits(X.expand(3, *X.shape))
    for k in range(3):
        torch.testing.assert_close(logits[k], factory(seed=k).eval()(X))


def test_images_pass_through_convolutions():
    images = digits(train=20, flatten=False).train[0]
    stacked = stack(convolutional, range(2))
    expected = torch.stack([convolutional(seed=k)(images).argmax(1) for k in range(2)])
    assert torch.equal(stacked.predictions(images), expected)


@pytest.mark.parametrize("factory", [SMALL, wrapped, normed])
@pytest.mark.parametrize(
    "recipe", [get_recipe("momentum", weight_decay=1e-3), get_recipe("sgd", optimiser="adam", lr=1e-3)]
)
def test_training_is_that_of_each_network_alone(factory, recipe, split):
    """Everyone sees all examples here, so `train` must walk the same way."""
    X, y = split.train
    stacked = train_stacked(
        stack(factory, [3, 4]), X, y, torch.arange(200).expand(2, 200), recipe, epochs=3, seeds=[3, 4]
    )
    # Adam turns the rounding of a gradient that is almost zero into a share of a step.
    atol = 2e-4 if recipe.optimiser == "adam" else 1e-5
    for k, seed in enumerate([3, 4]):
        alone = train(get_recipe(recipe.name, **_changes(recipe), max_epochs=3, target=1e-9), split, factory, seed=seed)
        for name, value in stacked.network(k).items():
            torch.testing.assert_close(value, alone.weights[name], rtol=1e-3, atol=atol)


def _changes(recipe):
    return {name: getattr(recipe, name) for name in ("optimiser", "lr", "momentum", "weight_decay")}


def test_each_network_learns_its_own_examples_only(split):
    X, y = split.train
    recipe, halves = get_recipe("momentum"), torch.arange(200).view(2, 100)
    start = stack(SMALL, [0, 0])
    both = train_stacked(start, X, y, halves, recipe, epochs=4, seeds=[0, 0])
    other = train_stacked(start, X, y, halves[[0, 0]], recipe, epochs=4, seeds=[0, 0])
    torch.testing.assert_close(both.network(0), other.network(0))
    assert not torch.allclose(both.parameters["linear1.weight"][1], other.parameters["linear1.weight"][1])


def test_losses_are_mean_cross_entropies(split):
    X, y = split.test
    stacked = stack(SMALL, range(2))
    expected = [evaluate(SMALL(seed=k), X, y)[0] for k in range(2)]
    assert stacked.losses(X, y).tolist() == pytest.approx(expected, rel=1e-6)


def test_training_leaves_its_start_and_the_random_state_alone(split):
    X, y = split.train
    start, before = stack(partial(normed, dropout=0.5), range(2)), torch.get_rng_state()
    kept = {name: value.clone() for name, value in {**start.parameters, **start.buffers}.items()}
    chosen = torch.arange(200).expand(2, 200)
    first, second = (train_stacked(start, X, y, chosen, get_recipe("sgd"), epochs=2, seeds=[0, 1]) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    torch.testing.assert_close({**start.parameters, **start.buffers}, kept, rtol=0, atol=0)
    torch.testing.assert_close(first.network(1), second.network(1), rtol=0, atol=0)


def test_wrong_inputs(split):
    X, y = split.train
    two, everyone = stack(SMALL, range(2)), torch.arange(200).expand(2, 200)
    with pytest.raises(LandscapeError, match="at least one network"):
        stack(SMALL, [])
    with pytest.raises(LandscapeError, match="as many seeds"):
        train_stacked(two, X, y, everyone, get_recipe("sgd"), epochs=1, seeds=[0])
    with pytest.raises(LandscapeError, match="use shift=0"):
        train_stacked(two, X, y, everyone, get_recipe("sgd", shift=1), epochs=1, seeds=[0, 1])
    with pytest.raises(NumericalError, match="smaller lr"):
        train_stacked(two, X, y, everyone, get_recipe("sgd", lr=1e25), epochs=3, seeds=[0, 1])


def test_a_network_that_looks_at_values_is_refused(split):
    class Branching(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(64, 10)

        def forward(self, x):
            return self.linear(x) if x.sum().item() > 0 else -self.linear(x)

    with pytest.raises(LandscapeError, match="one by one"):
        stack(lambda seed: Branching(), range(2)).predictions(split.test[0])
