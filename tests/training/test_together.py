"""Networks trained at once stop where each would stop by itself."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from landscape.datasets import digits
from landscape.errors import LandscapeError
from landscape.experiments import get_recipe
from landscape.models import mlp, resnet
from landscape.training.together import train_together
from landscape.training.train import train

QUICK = get_recipe("sgd", lr=0.1, examples=40, target=0.2, target_accuracy=0.0, batch_size=16, max_epochs=300)


def test_each_network_is_the_one_that_is_trained_alone():
    """Own step size, momentum, labels and order; to the rounding of float32."""
    split, factory = digits(train=100), partial(mlp, (64, 8, 10))
    recipes = (QUICK, replace(QUICK, momentum=0.9, lr=0.02), replace(QUICK, label_noise=1.0), replace(QUICK, lr=0.3))
    jobs = {str(i): (recipe, 10 + i) for i, recipe in enumerate(recipes)}
    found = dict(train_together(factory, split, jobs, width=2))
    for key, (recipe, seed) in jobs.items():
        alone = train(recipe, split, factory, seed=seed)
        assert (found[key].reached, found[key].steps) == (True, alone.steps)
        assert found[key].loss == pytest.approx(0.2, rel=1e-3)
        for name, tensor in found[key].weights.items():
            torch.testing.assert_close(tensor, alone.weights[name], rtol=0, atol=2e-4)


def test_those_that_cannot_reach_the_loss_are_kept_as_such():
    split, factory = digits(train=100), partial(mlp, (64, 8, 10))
    jobs = {"slow": (replace(QUICK, max_epochs=2), 0), "diverged": (replace(QUICK, lr=1e6), 1), "fits": (QUICK, 2)}
    found = dict(train_together(factory, split, jobs))
    assert [found[key].reached for key in jobs] == [False, False, True]
    assert found["slow"].steps == 2 * 3
    assert list(found)[-1] == "fits"


def test_norm_statistics_are_those_of_all_examples():
    split, factory = digits(train=100, flatten=False), partial(resnet, 8, width=2, in_channels=1)
    (stopped,) = dict(train_together(factory, split, {"one": (replace(QUICK, target=1.0), 0)})).values()
    assert stopped.loss == pytest.approx(1.0, rel=1e-3)


def test_what_is_not_trained_together_is_refused():
    split = digits(train=100)
    for recipes, message in (
        ((QUICK, replace(QUICK, examples=30)), "several batch sizes or numbers of examples"),
        ((replace(QUICK, weight_decay=0.1),), "Adam, weight decay, augmentation and poison"),
    ):
        with pytest.raises(LandscapeError, match=message):
            dict(train_together(mlp, split, {str(i): (recipe, i) for i, recipe in enumerate(recipes)}))
