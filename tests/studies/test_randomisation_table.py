"""The noise table on a few digits: matched where it says so, resumable, and its trends those of the scores it holds."""

from dataclasses import replace
from functools import partial
from importlib import import_module

import numpy as np
import pytest

from landscape.comparison import PRIMARY
from landscape.datasets import digits
from landscape.experiments import as_checkpoint, get_recipe, train
from landscape.models import mlp
from landscape.scores import sharpness
from landscape.statistics import trend_test
from landscape.studies.evaluations import Panel
from landscape.studies.randomisation_table import randomisation_table

MODULE = import_module("landscape.studies.randomisation_table")
SMALL = partial(mlp, (64, 32, 10))
RECIPE = get_recipe("sgd", lr=0.2, max_epochs=600)
SETTINGS = {
    "recipes": [RECIPE],
    "noise": (0.0, 0.4, 1.0),
    "losses": (0.02,),
    "epoch": 10,
    "norm": 7.0,
    "panel": Panel(own=(*PRIMARY, "weight-norm"), label_free=(), shared=("adaptive-average",)),
}


@pytest.fixture(scope="module")
def split():
    return digits(train=150)


@pytest.fixture(scope="module")
def table(split):
    return randomisation_table(SMALL, split, seeds=range(4), **SETTINGS)


def test_every_place_is_matched_in_what_it_says(table):
    assert table.levels("stage") == ("loss-0.02", "epoch-10", "norm-7")
    assert table.met.all()
    assert table.where(stage="loss-0.02")["train/loss"] == pytest.approx(0.02, rel=1e-3)
    assert (table.where(stage="epoch-10")["epoch"] == 10).all()
    assert table.where(stage="norm-7")["own/weight-norm"] == pytest.approx(7.0, rel=1e-4)
    assert np.ptp(table.where(stage="epoch-10")["train/loss"]) > 0.1


def test_scores_are_those_of_the_network_that_training_to_the_loss_gives(table, split):
    run = train(replace(RECIPE, label_noise=0.4, target=0.02, target_accuracy=0.0), split, SMALL, seed=2)
    panel = sharpness(as_checkpoint(run).objective(), ["adaptive-average", "weight-norm"])
    row = table.where(noise=0.4, seed=2, stage="loss-0.02")
    assert row.measures["own/adaptive-average"][0].tolist() == [score.value for score in panel.all("adaptive-average")]
    assert row["own/weight-norm"][0] == panel["weight-norm"].value
    assert row["test/error"][0] == 1 - run.test_accuracy


def test_trends_are_tests_of_the_values_it_holds(table):
    part = table.where(stage="loss-0.02")
    row = table.effect("own/adaptive-average", "sgd, loss-0.02")
    values = np.log10(part.array(part["own/adaptive-average"], "noise", "seed"))
    assert row.p_value == trend_test(values.T).p_value
    assert row.difference == pytest.approx((values[-1] - values[0]).mean())
    assert row.primary
    primary = [effect for effect in part.effects if effect.primary]
    raw = np.sort([r.p_value for r in primary])
    assert sorted(r.p_holm for r in primary) == np.maximum.accumulate(np.minimum(1, raw * [3, 2, 1])).tolist()


def test_the_verdict_is_given_where_losses_match_and_refused_elsewhere(table):
    verdicts = {stage: table.finding(f"sgd, {stage}").verdict for stage in table.levels("stage")}
    assert verdicts["loss-0.02"] == "spikier"
    assert verdicts["epoch-10"] == verdicts["norm-7"] == "not comparable"
    assert table.placebo is not None
    assert table.placebo.called[0] <= 0.05
    assert "survives" in table.finding("audit").text
    assert {row.recipe for row in table.audited} == {"sgd-p-0", "sgd-p-1"}


def test_table_figure_and_words(table):
    assert "p = 0.4" in table.table()
    assert "### SGD, epoch-10" in table.table("markdown")
    header, _, loss, *_ = table.where(stage="loss-0.02").table().splitlines()
    assert header.split() == ["p", "=", "0", "p", "=", "0.4", "p", "=", "1", "change", "τ", "p"]
    assert loss.startswith("train/loss")
    assert dict(table.summary())["rows"] == "36: 3 noise × 4 seed × 3 stage"
    assert len(table.plot().axes) == 7  # four scores beside curves, time to fit and test error


def test_runs_that_miss_a_place_are_reported_and_not_compared(split):
    hopeless = {**SETTINGS, "recipes": [replace(RECIPE, max_epochs=80)], "losses": (1.0, 1e-9), "audit": False}
    found = randomisation_table(SMALL, split, seeds=(0, 1), **{**hopeless, "epoch": None, "norm": None})
    there, never = (found.where(stage=stage) for stage in ("loss-1", "loss-1e-09"))
    assert there.met.all()
    assert not never.met.any()
    assert np.isfinite(there["own/weight-norm"]).all()
    assert np.isnan(never["own/weight-norm"]).all()
    assert never.effects == ()
    assert found.finding("sgd, loss-1e-09").verdict == "not comparable"
