"""Rows against the checkpoints themselves, what is matched, contrasts by hand, and what a bad call is told."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch

from landscape import store
from landscape.datasets import digits
from landscape.errors import LandscapeError
from landscape.experiments import as_checkpoint, get_recipe, train
from landscape.models import mlp
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
    arms = {(run.matching, run.batch): run for run in found.runs if run.seed == 0}
    assert [arms["epochs", batch].epochs for batch in ("small", "large")] == [5, 5]
    assert [arms["epochs", batch].steps for batch in ("small", "large")] == [50, 10]
    assert [arms["steps", batch].steps for batch in ("small", "large")] == [50, 50]
    assert all(arms["loss", batch].reached for batch in ("small", "large"))
    assert arms["epochs", "small"].train_loss < arms["epochs", "large"].train_loss


def test_rows_are_the_scores_of_the_network(found, split):
    recipe = dataclasses.replace(QUICK["recipe"], name="epochs-large", batch_size=40, target=1e-300, max_epochs=5)
    checkpoint = as_checkpoint(train(recipe, split, SMALL, seed=1), SMALL)
    objective = checkpoint.objective("train")
    row = next(i for i, run in enumerate(found.runs) if (run.matching, run.batch, run.seed) == ("epochs", "large", 1))
    assert found.runs[row].train_loss == objective.loss()
    assert found.runs[row].test_accuracy == checkpoint.objective("test").evaluate()["accuracy"]
    assert found.scores["keskar/0.001"][row] == keskar(objective, radii=(1e-3,), seed=1)[0].value
    assert found.scores["lambda-max"][row] == sharpness(objective, ["lambda-max"], seed=1).rows[0].value


def test_contrasts_are_ratios_of_means(found):
    for contrast in found.contrasts:
        small, large = (found.values(contrast.score, contrast.matching, batch) for batch in ("small", "large"))
        assert contrast.ratio == pytest.approx(large.mean() / small.mean())
        assert contrast.large_sd == pytest.approx(np.std(large, ddof=1))
        assert np.isnan(contrast.p_value)  # two seeds an arm
    assert found.ratio("keskar/0.001", "loss") == next(
        row.ratio for row in found.contrasts if (row.matching, row.score) == ("loss", "keskar/0.001")
    )
    with pytest.raises(KeyError, match="no contrast of 'trace'"):
        found.ratio("trace", "loss")


def test_runs_that_miss_the_target_loss_are_reported_and_not_compared(split):
    hard = dataclasses.replace(RECIPE, target=1e-9, max_epochs=1)
    missed = large_batch(SMALL, split, **{**QUICK, "recipe": hard, "matchings": ["loss"], "scores": ["lambda-max"]})
    assert not any(run.reached for run in missed.runs)
    assert missed.contrasts == ()
    assert len(missed.scores["lambda-max"]) == 4


def test_by_default_a_large_batch_is_a_tenth(split):
    found = large_batch(SMALL, split, **{**QUICK, "small": 4, "large": None, "matchings": ["epochs"], "seeds": [0]})
    assert [run.batch_size for run in found.runs] == [4, 8]


def test_the_study_keeps_every_network(tmp_path, split):
    arguments = {**QUICK, "matchings": ["epochs"], "seeds": [0]}
    found = large_batch(SMALL, split, **arguments, save=tmp_path / "study.h5")
    stored = store.open_study(tmp_path / "study.h5")["large-batch"]
    assert stored.runs == found.runs
    assert stored.scores.keys() == found.scores.keys()
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"matchings": ["time"]}, "matchings time"),
        ({"matchings": []}, "missing"),
        ({"small": 40}, "below the large one"),
        ({"seeds": ()}, "a seed"),
        ({"epochs": 0}, "an epoch"),
        ({"recipe": get_recipe("small-data")}, "whole training part"),
        ({"factory": lambda seed: NETWORK}, "same network twice"),
        ({"split": (torch.zeros(3, 64), torch.zeros(3, 64))}, "labels"),
    ],
)
def test_what_a_bad_call_is_told(split, arguments, message):
    with pytest.raises(LandscapeError, match=message):
        large_batch(**({"factory": SMALL, "split": split} | QUICK | arguments))


NETWORK = mlp((64, 4, 10))
