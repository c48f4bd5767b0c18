"""What holds for all experiments: they take the user's own network, and refuse what they cannot use in one line."""

import dataclasses
from functools import partial

import pytest
from torch import nn

from landscape import experiments
from landscape.datasets import digits
from landscape.experiments.evaluations import Panel
from landscape.models.common import seeded

QUICK = experiments.get_recipe("momentum", lr=0.1, examples=60, target=0.1)
LIGHT = Panel(own=("weight-norm",), label_free=(), shared=())


def own(width=16, *, seed=0):
    """A network that is none of the package's: only its factory can build it."""
    with seeded(seed):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Tanh(), nn.Linear(width, 10))


CALLS = {
    "architecture": partial(
        experiments.architecture, recipe=QUICK, seeds=[0], epochs=[1], points=3, ratio_points=2, examples=20
    ),
    "basin-volume": partial(
        experiments.basin_volume, poison=[5], recipe=dataclasses.replace(QUICK, examples=None), seeds=[0], directions=2
    ),
    "double-descent": partial(experiments.double_descent, widths=(4, 8), epochs=2, scores=["weight-norm"], seeds=[0]),
    "edge-of-stability": partial(
        experiments.edge_of_stability, descents=[experiments.Descent(lr=0.1, steps=2)], every=1
    ),
    "guess-and-check": partial(experiments.guess_and_check, guesses=100, networks=2, epochs=2),
    "kernel-regime": partial(
        experiments.kernel_regime,
        widths=(4, 8),
        labels=["true"],
        recipe=experiments.get_recipe("sgd", lr=0.2, target=1.0, target_accuracy=0.0),
        examples=20,
        seeds=[0],
    ),
    "large-batch": partial(
        experiments.large_batch, small=5, large=20, epochs=2, matchings=["epochs"], scores=["weight-norm"], seeds=[0]
    ),
    "memorisation-test": partial(experiments.memorisation_test, recipe=QUICK, seeds=[0], panel=LIGHT),
    "memorised-examples": partial(experiments.memorised_examples, networks=4, epochs=2),
    "optimisers": partial(
        experiments.optimisers,
        recipes=[QUICK, dataclasses.replace(QUICK, name="slower", lr=0.05)],
        scores=["weight-norm"],
        seeds=[0],
    ),
    "randomisation": partial(experiments.randomisation, recipe=QUICK, noise=(), seeds=[0], panel=LIGHT),
    "randomisation-table": partial(
        experiments.randomisation_table,
        recipes=[QUICK],
        noise=(0, 1),
        losses=(0.1,),
        epoch=None,
        norm=None,
        seeds=[0],
        panel=LIGHT,
    ),
}


@pytest.fixture(scope="module")
def split():
    return digits(train=80)


@pytest.mark.parametrize("name", CALLS)
def test_it_takes_the_users_own_network(name, split):
    factory = {"mine": own} if name == "architecture" else own
    assert CALLS[name](factory, split).table()
