import multiprocessing
import sys
from functools import partial

import pytest
import torch

from landscape.datasets import digits
from landscape.errors import LandscapeError
from landscape.experiments import get_recipe, train_many
from landscape.models import mlp

many = sys.modules[train_many.__module__]
SMALL = partial(mlp, (64, 16, 10))
RECIPES = [get_recipe(name, lr=0.2, target=0.5) for name in ("sgd", "random-labels")]


@pytest.fixture(scope="module")
def split():
    return digits(train=40)


def test_runs_come_by_recipe_and_in_the_order_of_seeds(split):
    runs = train_many(RECIPES, split, SMALL, seeds=(3, 1))
    assert {name: [run.seed for run in group] for name, group in runs.items()} == {
        "sgd": [3, 1],
        "random-labels": [3, 1],
    }


def test_processes_give_the_same_numbers(split):
    alone, together = (train_many(RECIPES, split, SMALL, seeds=range(1), workers=workers) for workers in (1, 2))
    for name, (run,) in alone.items():
        for key, tensor in run.weights.items():
            assert torch.equal(tensor, together[name][0].weights[key])
    assert not multiprocessing.active_children()


def test_an_interruption_keeps_what_is_finished_and_the_next_call_trains_the_rest(split, tmp_path, monkeypatch):
    trained = []

    def train_once_then_stop(recipe, split, factory, *, seed):
        if trained:
            raise KeyboardInterrupt
        trained.append(seed)
        return train(recipe, split, factory, seed=seed)

    train = many.train
    monkeypatch.setattr(many, "train", train_once_then_stop)
    with pytest.raises(KeyboardInterrupt):
        train_many(RECIPES[:1], split, SMALL, seeds=range(2), out=tmp_path)
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["sgd-0.json"]
    calls = []
    monkeypatch.setattr(many, "train", lambda *a, seed: calls.append(seed) or train(*a, seed=seed))
    runs = train_many(RECIPES[:1], split, SMALL, seeds=range(2), out=tmp_path)["sgd"]
    assert calls == [1]
    assert [run.seed for run in runs] == [0, 1]


def test_a_run_made_in_another_way_is_not_overwritten(split, tmp_path):
    train_many(RECIPES[:1], split, SMALL, seeds=range(1), out=tmp_path)
    with pytest.raises(LandscapeError, match=r"sgd-0\.json was made with other settings or data"):
        train_many(RECIPES[:1], split, partial(mlp, (64, 8, 10)), seeds=range(1), out=tmp_path)
    with pytest.raises(LandscapeError, match=r"sgd-0\.json was made with other settings or data"):
        train_many(RECIPES[:1], digits(train=41), SMALL, seeds=range(1), out=tmp_path)


def test_names_must_differ(split):
    with pytest.raises(LandscapeError, match="names repeat"):
        train_many([get_recipe("sgd"), get_recipe("sgd", shift=1)], split, SMALL)
