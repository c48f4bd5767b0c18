"""Basins of poisoned training against clean ones, on one surface, at one loss."""

import math
from functools import partial

import numpy as np
import pytest

from landscape import store
from landscape.datasets import digits, spirals
from landscape.errors import LandscapeError
from landscape.experiments import as_checkpoint, get_recipe, train
from landscape.models import mlp
from landscape.results import BasinRow
from landscape.scores import sharpness
from landscape.studies.basin_volume import basin_volume, difference

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
    assert [(row.poison, row.seed) for row in found.rows] == [(0, 0), (0, 1), (8, 0), (8, 1)]
    assert all(row.reached for row in found.rows)
    assert [row.train_loss for row in found.rows] == pytest.approx([0.2] * 4, rel=1e-3)


def test_poisoned_minima_generalise_worse_and_have_smaller_basins(found):
    for clean, poisoned in zip(found.of(0), found.of(8), strict=True):
        assert poisoned.test_accuracy < clean.test_accuracy
        assert poisoned.radius < clean.radius
        assert poisoned.log10_volume < clean.log10_volume
        assert poisoned.log10_mass < clean.log10_mass
        assert poisoned.kl_radius < clean.kl_radius


def test_numbers_are_the_scores_of_the_network_on_the_clean_examples(found, split):
    run = train(get_recipe("sgd", **{**vars(RECIPE), "name": "sgd", "poison": 8}), split, SMALL, seed=1)
    few = {slug: {"directions": 10} for slug in ("basin-radius", "log-volume", "local-volume", "kl-radius")}
    # Its directions are those of the basin radius, so that it takes their number from there.
    options = {slug: option for slug, option in few.items() if slug != "log-volume"}
    panel = sharpness(as_checkpoint(run).objective(), list(few), options=options)
    row = found.rows[3]
    assert row.log10_volume == pytest.approx(-panel["log-volume"].value / math.log(10), rel=1e-6)
    assert row.log10_mass == pytest.approx(-panel["local-volume"].value / math.log(10), rel=1e-6)
    assert row.radius**-2 == pytest.approx(panel["basin-radius"].value, rel=1e-6)
    assert row.kl_radius**-2 == pytest.approx(panel["kl-radius"].value, rel=1e-6)
    assert len(run.data.y) == 40


def test_only_pairs_that_met_the_target_are_compared():
    def row(poison, seed, volume, reached=True):
        return BasinRow(
            poison=poison, seed=seed, reached=reached, train_loss=0.1, train_accuracy=1.0, test_accuracy=0.9, radius=10.0**volume,
            log10_volume=volume, log10_volume_error=0.1, log10_mass=-1.0, kl_radius=1.0,
        )  # fmt: skip

    rows = [row(0, s, -5.0) for s in range(9)] + [row(4, s, -7.0 - s, reached=s != 8) for s in range(9)]
    for measure in ("log10_volume", "radius"):
        made = difference(rows, 4, measure)
        assert (made.pairs, made.smaller, made.p_value) == (8, 8, 2 / 2**8)
        assert made.difference == pytest.approx(-2 - np.arange(8).mean())
    assert math.isnan(difference(rows[:5] + rows[9:], 4, "radius").p_value)


def test_a_missed_target_is_reported_and_not_compared(split):
    hopeless = get_recipe("sgd", lr=1e-6, max_epochs=1)
    missed = basin_volume(SMALL, split, **{**QUICK, "recipe": hopeless, "seeds": range(1)})
    assert missed.differences[0].pairs == 0
    assert "target not met by seeds 0" in dict(missed.summary())["poison 8"]
    assert "0 of 1" in missed.table()


def test_a_study_keeps_it_and_refuses_rows_of_other_settings(found, split, tmp_path):
    path = tmp_path / "study.h5"
    basin_volume(SMALL, split, **QUICK, save=path)
    assert store.open_study(path)["basin-volume"].rows == found.rows


def test_bad_input(split):
    with pytest.raises(LandscapeError, match="positive numbers"):
        basin_volume(SMALL, split, poison=())
    with pytest.raises(LandscapeError, match="positive numbers"):
        basin_volume(SMALL, split, poison=(5, 5))
    with pytest.raises(LandscapeError, match="inputs of shape"):
        basin_volume(SMALL, digits())
    with pytest.raises(LandscapeError, match="spare examples"):
        basin_volume(SMALL, split, poison=(1000,), recipe=RECIPE)
