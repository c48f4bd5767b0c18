"""Stopping on the way: every place is met exactly, and is the network that training to it alone gives."""

from functools import partial

import pytest
import torch
from torch import nn

from landscape.datasets import digits
from landscape.errors import LandscapeError
from landscape.experiments import LossGoal, NormGoal, get_recipe, train, train_through
from landscape.models import mlp
from landscape.training.trainer import Reading, Trainer, met

SMALL = partial(mlp, (64, 32, 10))


def with_dropout(seed=0):
    return nn.Sequential(mlp((64, 32), seed=seed), nn.ReLU(), nn.Dropout(0.2), mlp((32, 10), seed=seed))


GOALS = {"loose": LossGoal(0.2), "norm": NormGoal(7.0), "early": 12, "tight": LossGoal(0.05, 1.0)}


@pytest.fixture(scope="module")
def split():
    return digits(train=200)


@pytest.mark.parametrize(
    ("name", "factory"), [("sgd", with_dropout), ("momentum", SMALL)], ids=["sgd-dropout", "momentum"]
)
def test_every_place_is_the_network_of_training_to_it_alone(split, name, factory):
    recipe = get_recipe(name, lr=0.02, max_epochs=400, target_accuracy=0.0)
    runs = train_through(recipe, split, factory, goals=GOALS, seed=1)
    for goal, changes in {
        "loose": {"target": 0.2},
        "early": {"target": 1e-9, "max_epochs": 12},
        "tight": {"target": 0.05, "target_accuracy": 1.0},
    }.items():
        alone = train(
            get_recipe(name, lr=0.02, **{"max_epochs": 400, "target_accuracy": 0.0, **changes}), split, factory, seed=1
        )
        assert alone.steps == runs[goal].steps
        assert all(torch.equal(alone.weights[key], runs[goal].weights[key]) for key in alone.weights)
        assert alone.history.loss.tolist() == runs[goal].history.loss.tolist()
        assert (alone.test_loss, alone.test_accuracy) == (runs[goal].test_loss, runs[goal].test_accuracy)


def test_the_norm_is_met_exactly(split):
    run = train_through(get_recipe("sgd", lr=0.2), split, SMALL, goals={"norm": NormGoal(7.0)})["norm"]
    norm = sum(tensor.double().square().sum() for tensor in run.weights.values()).sqrt().item()
    assert norm == pytest.approx(7.0, rel=1e-4)
    assert run.reached
    assert 0 < run.last_step <= 1


def test_what_is_never_reached_holds_the_end(split):
    recipe = get_recipe("sgd", max_epochs=3)
    runs = train_through(recipe, split, SMALL, goals={"far": LossGoal(1e-9), "near": 2, "late": 30})
    assert [run.reached for run in runs.values()] == [False, True, False]
    assert runs["far"].history.epoch.tolist() == [0, 1, 2, 3]
    assert runs["near"].history.epoch.tolist() == [0, 1, 2]
    assert all(torch.equal(runs["far"].weights[key], runs["late"].weights[key]) for key in runs["far"].weights)


def test_goals_are_needed(split):
    with pytest.raises(LandscapeError, match="no goals"):
        train_through(get_recipe("sgd"), split, SMALL, goals={})


def test_a_loss_without_its_accuracy_is_not_enough():
    assert not met(LossGoal(0.1, 1.0), Reading(0.05, 0.99, 1.0))
    assert met(LossGoal(0.1, 0.9), Reading(0.1, 0.9, 1.0))
    assert not met(NormGoal(2.0), Reading(0.0, 1.0, 1.9))


def test_a_step_whose_end_is_rounded_to_a_hair_before_the_goal_is_kept_whole():
    trainer = object.__new__(Trainer)
    trainer.theta = torch.tensor([1.0])
    trainer.check = lambda: Reading(2.0 - trainer.theta.item() + 1e-9, 1.0, 1.0)  # loss 1 + 1e-9 at the end of the step
    assert trainer._shorten(torch.tensor([0.0]), LossGoal(1.0)) == 1.0
    assert trainer.theta.item() == 1.0
