"""Rows against the checkpoints themselves, what is matched, contrasts by hand, and what a bad call is told."""

import dataclasses
from functools import partial

import numpy as np
import pytest

from landscape.datasets import digits
from landscape.experiments import as_checkpoint, train
from landscape.scores import keskar, sharpness
from landscape.studies.large_batch import RECIPE, f1_mlp, large_batch

SMALL = partial(f1_mlp, 12, hidden=2)
QUICK = {
    "small": 8,
    "large": 40,
    "epochs": 5,
    "recipe": dataclasses.replace(RECIPE, lr=0.01, target=0.5, target_accuracy=0.0, max_epochs=60),
    "scores": ["keskar", "lambda-max"],
    "radii": {"keskar": (1e-3,)},
    "seeds": (0, 1),
}


@pytest.fixture(scope="module")
def split():
    return digits(train=80)


@pytest.fixture(scope="module")
def found(split):
    return large_batch(SMALL, split, **QUICK, matchings=["epochs", "loss", "steps"])


def test_the_network_is_f1_with_batch_norm_before_each_relu():
    network = f1_mlp()
    assert sum(p.numel() for p in network.parameters()) == 65 * 512 + 4 * 513 * 512 + 5 * 1024 + 513 * 10
    kinds = [type(layer).__name__ for layer in network]
    assert kinds == ["Flatten", *["Linear", "BatchNorm1d", "ReLU"] * 5, "Linear"]


def test_what_is_matched_is_equal_and_the_rest_is_not(found):
    epoch, step, loss, met = (
        found.where(seed=0).array(name, "matching", "batch") for name in ("epoch", "step", "train/loss", "reached")
    )
    assert found.levels("matching") == ("epochs", "loss", "steps")
    assert epoch[0].tolist() == [5, 5]
    assert step[[0, 2]].tolist() == [[50, 10], [50, 50]]
    assert met[1].all()
    assert loss[0, 0] < loss[0, 1]


def test_rows_are_the_scores_of_the_network(found, split):
    recipe = dataclasses.replace(QUICK["recipe"], name="epochs-large", batch_size=40, target=1e-300, max_epochs=5)
    checkpoint = as_checkpoint(train(recipe, split, SMALL, seed=1), SMALL)
    objective = checkpoint.objective("train", norm="frozen")
    row = {name: values[0] for name, values in found.where(matching="epochs", batch="large", seed=1).measures.items()}
    assert row["train/loss"] == objective.loss()
    assert row["test/accuracy"] == checkpoint.objective("test").evaluate()["accuracy"]
    assert row["keskar/0.001"] == keskar(objective, radii=(1e-3,), seed=1)[0].value
    assert row["lambda-max"] == sharpness(objective, ["lambda-max"], seed=1).rows[0].value


def test_effects_are_those_of_independent_arms_and_the_findings_give_ratios_of_means(found):
    for effect in found.effects:
        small, large = found.where(matching=effect.part).array(effect.measure, "batch", "seed")
        assert effect.difference == pytest.approx(np.log10(large).mean() - np.log10(small).mean())
        assert effect.p_value is None  # two seeds per arm
        words = {"epochs": "equal epochs", "loss": "equal training loss", "steps": "equal steps"}[effect.part]
        text = found.finding(f"{effect.measure}, {words}").text
        assert text.endswith(f"ratio {large.mean() / small.mean():.3g}")


def test_by_default_a_large_batch_is_a_tenth(split):
    found = large_batch(SMALL, split, **{**QUICK, "small": 4, "large": None, "matchings": ["epochs"], "seeds": [0]})
    assert found["batch size"].tolist() == [4, 8]
