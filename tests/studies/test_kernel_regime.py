"""Laziness of linear and of wide networks, the columns against the scores themselves, and what a bad call is told."""

import dataclasses
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from landscape.datasets import digits
from landscape.experiments import as_checkpoint, train
from landscape.models.common import seeded
from landscape.results import Trials
from landscape.scores import sharpness
from landscape.studies.kernel_regime import LAZINESS, RECIPE, ScaledLinear, exponent, kernel_regime, ntk_mlp

EASY = dataclasses.replace(RECIPE, lr=2.0, target=1.0)
QUICK = {"widths": (8, 128), "recipe": EASY, "examples": 60, "seeds": (0,)}


@pytest.fixture(scope="module")
def split():
    return digits(train=60)


@pytest.fixture(scope="module")
def found(split):
    return kernel_regime(split=split, **QUICK)


def mean(found, labels, measure):
    return found.where(labels=labels).by("width")[measure]


class Features(nn.Module):
    """A linear model of many features: exactly lazy, whatever happens to its weights."""

    def __init__(self, width, seed):
        super().__init__()
        with seeded(seed):
            self.register_buffer("features", torch.randn(64, width) / 8)
            self.last = nn.Linear(width, 10, bias=False)

    def forward(self, x):
        return self.last(torch.tanh(x @ self.features)) / self.last.in_features**0.5


def linear_model(width, *, seed=0):
    return Features(width, seed)


def test_outputs_and_kernel_keep_their_size_as_the_network_widens():
    x = torch.randn(200, 64, generator=torch.Generator().manual_seed(0))
    sizes = [float(ntk_mlp(width, seed=1)(x).detach().std()) for width in (256, 4096)]
    assert sizes == pytest.approx([1.0, 1.0], rel=0.25)
    layer = ScaledLinear(16, 3, gain=2.0)
    torch.testing.assert_close(layer(x[:, :16]), 0.5 * x[:, :16] @ layer.weight.T)


def test_the_wider_network_is_lazier(found):
    for labels in ("true", "random"):
        for measure in LAZINESS[:4]:
            narrow, wide = mean(found, labels, measure)
            assert wide < 0.6 * narrow, measure
        assert -0.8 < exponent(found.where(labels=labels), "weight movement") < -0.2
    assert mean(found, "true", "agreement with linearised")[1] > 0.85


def test_random_labels_are_aligned_less_and_take_longer(found):
    assert (mean(found, "random", "alignment before") < 0.8 * mean(found, "true", "alignment before")).all()
    assert (mean(found, "random", "epoch") > 1.3 * mean(found, "true", "epoch")).all()


def test_a_model_linear_in_its_weights_never_leaves_its_kernel(split):
    lazy = kernel_regime(
        linear_model,
        split,
        **{**QUICK, "widths": (128, 256), "labels": ["true"], "recipe": dataclasses.replace(EASY, lr=10.0)},
    )
    assert lazy.met.all()
    assert max(lazy[name].max() for name in ("kernel change", "kernel distance", "linearisation error")) < 1e-5
    assert (lazy["weight movement"] > 0.01).all()
    assert (lazy["agreement with linearised"] > 0.9).all()  # the order of examples alone differs
    assert lazy["alignment before"] == pytest.approx(lazy["alignment after"], abs=1e-6)


def test_columns_are_the_scores_of_the_checkpoint(found, split):
    factory = partial(ntk_mlp, 8)
    run = train(EASY, split, factory, seed=0)
    checkpoint = as_checkpoint(run, factory)
    options = {name: {"examples": 60} for name in ("ntk-movement", "ntk-alignment")}
    panel = sharpness(
        checkpoint.objective("train"), ["ntk-movement", "ntk-alignment", "relative-movement"], checkpoint=checkpoint,
        options=options,
    )  # fmt: skip
    values = {row.name: row.value for row in panel.rows}
    row = {name: found[name][0] for name in ("labels", "width", *found.measures)}
    assert (row["labels"], row["width"], row["parameters"]) == ("true", 8, 8 * 74)
    assert row["kernel change"] == values["ntk-movement"]
    assert row["alignment after"] == values["ntk-alignment"]
    few = {"ntk-alignment": {"examples": 60}}
    start = sharpness(checkpoint.objective("train").at(run.init), ["ntk-alignment"], options=few)
    assert row["alignment before"] == start["ntk-alignment"].value
    assert row["alignment before"] != pytest.approx(row["alignment after"], rel=0.05)
    assert row["weight movement"] == values["relative-movement"]
    assert row["train/loss"] == run.train_loss


def test_the_exponent_is_that_of_the_means():
    rows = [
        {"width": width, "seed": seed, "movement": (1 + seed) * width**-0.5} for width in (4, 16, 64) for seed in (0, 1)
    ]
    assert exponent(Trials.of(rows, factors=("width", "seed")), "movement") == pytest.approx(-0.5)
    one = Trials.of(rows[:2], factors=("width", "seed"))
    assert np.isnan(exponent(one, "movement"))
