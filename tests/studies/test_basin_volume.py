"""Basins of poisoned training against clean ones, on one surface, at one loss."""

import math
from functools import partial

import numpy as np
import pytest

from landscape.datasets import spirals
from landscape.experiments import as_checkpoint, get_recipe, train
from landscape.models import mlp
from landscape.results import Trials
from landscape.scores import sharpness
from landscape.studies.basin_volume import SIZES, _effects, basin_volume

SMALL = partial(mlp, (2, 24, 24, 2))
RECIPE = get_recipe("sgd", optimiser="adam", lr=0.01, batch_size=20, target=0.2, target_accuracy=0.8, max_epochs=400)
QUICK = {"poison": (8,), "recipe": RECIPE, "seeds": range(2), "directions": 10}


@pytest.fixture(scope="module")
def split():
    return spirals(train=40, test=500)


@pytest.fixture(scope="module")
def found(split):
    return basin_volume(SMALL, split, **QUICK)


def test_arms_meet_one_loss_on_the_clean_examples(found):
    assert list(zip(found["poison"].tolist(), found["seed"].tolist(), strict=True)) == [(0, 0), (0, 1), (8, 0), (8, 1)]
    assert found.met.all()
    assert found["train/loss"] == pytest.approx([0.2] * 4, rel=1e-3)


def test_poisoned_minima_generalise_worse_and_have_smaller_basins(found):
    for measure in ("test/accuracy", *SIZES):
        clean, poisoned = found.array(measure, "poison", "seed")
        assert (poisoned < clean).all()


def test_numbers_are_the_scores_of_the_network_on_the_clean_examples(found, split):
    run = train(get_recipe("sgd", **{**vars(RECIPE), "name": "sgd", "poison": 8}), split, SMALL, seed=1)
    few = {slug: {"directions": 10} for slug in ("basin-radius", "log-volume", "local-volume", "kl-radius")}
    panel = sharpness(as_checkpoint(run).objective(), list(few), options=few)
    row = {name: values[3] for name, values in found.measures.items()}
    assert row["log10 volume"] == pytest.approx(-panel["log-volume"].value / math.log(10), rel=1e-6)
    assert row["log10 mass"] == pytest.approx(-panel["local-volume"].value / math.log(10), rel=1e-6)
    assert row["radius"] ** -2 == pytest.approx(panel["basin-radius"].value, rel=1e-6)
    assert row["kl radius"] ** -2 == pytest.approx(panel["kl-radius"].value, rel=1e-6)
    expected = panel["log-volume"].standard_error / math.log(10)
    assert found.errors["log10 volume"][3] == pytest.approx(expected, rel=1e-6)
    assert len(run.data.y) == 40


def test_only_pairs_that_met_the_target_are_compared():
    def row(poison, seed, volume, reached=True):
        sizes = dict(zip(SIZES, (10.0**volume, volume, -1.0, 1.0 + seed), strict=True))
        return {"poison": poison, "seed": seed, "reached": reached, **sizes}

    rows = [row(0, s, -5.0) for s in range(9)] + [row(4, s, -7.0 - s, reached=s != 8) for s in range(9)]
    radius, volume, *_ = _effects(Trials.of(rows, factors=("poison", "seed")))
    for made in (radius, volume):
        assert (made.runs_a, made.larger, made.p_value) == (8, 0, 2 / 2**8)
        assert made.difference == pytest.approx(-2 - np.arange(8).mean())
    few = Trials.of(rows[:5] + rows[9:], factors=("poison", "seed"))
    assert _effects(few)[0].p_value is None
