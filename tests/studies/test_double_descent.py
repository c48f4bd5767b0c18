"""Errors against the networks themselves, where peaks lie, and what a bad call is told."""

from functools import partial

import pytest
import torch

from landscape.datasets import digits
from landscape.function.checkpoint import Checkpoint
from landscape.results import Trials
from landscape.scores import sharpness
from landscape.studies.double_descent import (
    RECIPE,
    _findings,
    double_descent,
    he_mlp,
    interpolation,
    peak,
    published_data,
)
from landscape.training.training_data import LABELS, corrupt_labels
from landscape.training.vectorised import stack, train_stacked

SMALL = partial(he_mlp, inputs=64)
QUICK = {"widths": (3, 12), "epochs": 15, "seeds": (0, 1), "scores": ("trace", "weight-norm")}


@pytest.fixture(scope="module")
def split():
    return digits(train=80)


@pytest.fixture(scope="module")
def found(split):
    return double_descent(SMALL, split, **QUICK)


def curve(errors, fitted=(), **scores):
    """Trials with one network per width, widths 1, 2, 3, …"""
    rows = [
        {"width": i + 1, "seed": 0, "test/error": error, "train/error": 0.0 if i + 1 in fitted else 0.2,
         **{name: values[i] for name, values in scores.items()}}
        for i, error in enumerate(errors)
    ]  # fmt: skip
    return Trials.of(rows, factors=("width", "seed"))


def words(trials):
    return {row.label: row.text for row in _findings(trials, [], 10, 0.1)}


def test_networks_have_the_published_sizes_and_he_uniform_weights():
    for width, count in ((40, 3690), (45, 4375)):
        network = he_mlp(width)
        assert sum(p.numel() for p in network.parameters()) == count
    for layer in (network.linear1, network.linear2, network.linear3):
        bound = (6 / layer.in_features) ** 0.5
        assert 0.9 * bound < float(layer.weight.detach().abs().max()) <= bound
        assert not layer.bias.any()


def test_rows_are_what_the_networks_do(found, split):
    """Width 12, seed 1, trained again beside seed 0 and measured by hand."""
    X, truth = split.train
    y = corrupt_labels(truth, 0.15, 10, seed=[0, LABELS])
    chosen = torch.arange(80).expand(2, -1)
    trained = train_stacked(stack(partial(SMALL, 12), [0, 1]), X, y, chosen, RECIPE, epochs=15, seeds=[0, 1])
    row = {name: found[name][3] for name in (*found.factors, *found.measures)}
    parameters = 64 * 12 + 12 + 12 * 12 + 12 + 12 * 10 + 10
    assert (row["width"], row["seed"], row["parameters"]) == (12, 1, parameters)
    assert row["train/error"] == pytest.approx(float((trained.predictions(X)[1] != y).double().mean()))
    wrong = trained.predictions(split.test[0])[1] != split.test[1]
    assert row["test/error"] == pytest.approx(float(wrong.double().mean()))
    assert row["test/loss"] == pytest.approx(float(trained.losses(*split.test)[1]), rel=1e-5)
    changed = 100 * float((y != truth).double().mean())
    assert found.finding("data").text == f"80 examples, {changed:.1f} % of the training labels wrong"
    checkpoint = Checkpoint(trained.module, trained.network(1), loss="cross_entropy", train=(X, y))
    panel = sharpness(checkpoint.objective(), ["trace", "weight-norm"], seed=1)
    assert [row[name] for name in panel.names] == [score.value for score in panel.rows]


def test_peak_lies_beyond_the_classical_minimum():
    classical = curve([0.9, 0.6, 0.5, 0.7, 0.8, 0.6, 0.4], fitted=(5, 6, 7))
    assert (peak(classical), interpolation(classical)) == (5, 5)
    assert words(classical)["test error"] == "peaks at width 5 with 80.0 %, falls to 40.0 % beyond it"


@pytest.mark.parametrize(
    ("errors", "fitted"),
    [
        ([0.9, 0.7, 0.5, 0.3], (3, 4)),  # falls all the way
        ([0.9, 0.5, 0.6, 0.7], (4,)),  # still rising at the end
        ([0.5, 0.6, 0.4], (1, 2, 3)),  # fitted from the start: there is no classical part
    ],
)
def test_without_a_second_descent_there_is_no_peak(errors, fitted):
    assert peak(curve(errors, fitted)) is None
    assert "no second descent" in words(curve(errors, fitted))["test error"]


def test_peak_of_a_score():
    scored = curve([0.9, 0.5, 0.7, 0.8, 0.6], fitted=(4, 5), trace=[9.0, 1.0, 5.0, 3.0, 2.0])
    assert peak(scored, "trace") == 3


def test_the_published_data_are_made_here():
    pytest.importorskip("mnist1d")
    split = published_data()
    assert len(split.train[1]) == len(split.test[1]) == 4000
    assert split.arguments["corr_noise_scale"] == 0.25
    assert split.fingerprint.startswith("882b37fc22788939")
