"""The noise table on a few digits: matched where it says so, resumable, and its trends those of the scores it holds."""

from dataclasses import replace
from functools import partial
from importlib import import_module

import numpy as np
import pytest

from landscape.comparison import PRIMARY
from landscape.datasets import digits
from landscape.errors import LandscapeError
from landscape.experiments import as_checkpoint, get_recipe, train
from landscape.models import mlp
from landscape.scores import sharpness
from landscape.statistics import trend_test
from landscape.store import open_study
from landscape.studies.evaluations import Panel
from landscape.studies.randomisation_table import randomisation_table

MODULE = import_module("landscape.studies.randomisation_table")
SMALL = partial(mlp, (64, 32, 10))
RECIPE = get_recipe("sgd", lr=0.2, max_epochs=600)
SETTINGS = {
    "recipes": [RECIPE],
    "noise": (0.0, 0.4, 1.0),
    "losses": (0.1, 0.02),
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
    assert table.stages == ("loss-0.1", "loss-0.02", "epoch-10", "norm-7")
    assert (table.metrics["reached"] == 1).all()
    assert table.metric("train/loss", "loss-0.02") == pytest.approx(0.02, rel=1e-3)
    assert (table.metric("epoch", "epoch-10") == 10).all()
    assert table.values("own/weight-norm", "norm-7") == pytest.approx(7.0, rel=1e-4)
    assert np.ptp(table.metric("train/loss", "epoch-10")) > 0.1


def test_scores_are_those_of_the_network_that_training_to_the_loss_gives(table, split):
    run = train(replace(RECIPE, label_noise=0.4, target=0.02, target_accuracy=0.0), split, SMALL, seed=2)
    panel = sharpness(as_checkpoint(run).objective(), ["adaptive-average", "weight-norm"])
    place = (0, 1, 2, table.stages.index("loss-0.02"))
    assert table.scores["own/adaptive-average"][place].tolist() == [row.value for row in panel.all("adaptive-average")]
    assert table.scores["own/weight-norm"][place][0] == panel["weight-norm"].value
    assert table.metrics["test/error"][place] == 1 - run.test_accuracy


def test_trends_are_tests_of_the_values_it_holds(table):
    row = next(r for r in table.trends if (r.stage, r.evaluation, r.score) == ("loss-0.02", "own", "adaptive-average"))
    values = np.log10(table.values("own/adaptive-average", "loss-0.02"))
    assert row.p_value == trend_test(values.T).p_value
    assert row.change == pytest.approx((values[-1] - values[0]).mean())
    assert row.primary
    primary = [r for r in table.trends if r.stage == "loss-0.02" and r.primary]
    raw = np.sort([r.p_value for r in primary])
    assert sorted(r.p_holm for r in primary) == np.maximum.accumulate(np.minimum(1, raw * [3, 2, 1])).tolist()


def test_the_verdict_is_given_where_losses_match_and_refused_elsewhere(table):
    verdicts = {row.stage: row.verdict for row in table.verdicts}
    assert verdicts["loss-0.02"] == "spikier"
    assert verdicts["epoch-10"] == verdicts["norm-7"] == "not comparable"
    assert table.placebo is not None
    assert table.placebo.called[0] <= 0.05
    assert "survives" in table.audit


def test_table_figure_and_words(table):
    assert "p = 0.4" in table.table()
    assert table.table("markdown", stage="epoch-10").startswith("### SGD, epoch 10")
    assert "12: 1 recipes × 3 noise levels × 4 seeds" in dict(table.summary())["runs"]
    assert len(table.plot().axes) == 6
    for wrong in (
        lambda: table.table(stage="end"),
        lambda: table.values("own/x", "loss-0.1"),
        lambda: table.metric("x", "loss-0.1"),
    ):
        with pytest.raises(KeyError, match="there are"):
            wrong()


def test_a_table_that_was_interrupted_goes_on_and_takes_more_seeds(split, tmp_path, monkeypatch):
    path, small = tmp_path / "study.h5", {**SETTINGS, "epoch": None, "norm": None, "losses": (0.2,), "audit": False}
    small["panel"] = Panel(own=("weight-norm",), label_free=(), shared=())
    monkeypatch.setattr(MODULE, "_assembled", _stop)
    with pytest.raises(KeyboardInterrupt):
        randomisation_table(SMALL, split, seeds=(0,), save=path, **small)
    with pytest.raises(LandscapeError, match="another computation"):
        randomisation_table(SMALL, split, seeds=(0,), save=path, **{**small, "noise": (0.0, 0.5)})
    monkeypatch.undo()
    trained = []
    real = MODULE.measured_run
    monkeypatch.setattr(MODULE, "measured_run", lambda *job: (trained.append(job[3]), real(*job))[1])
    whole = randomisation_table(SMALL, split, seeds=(0, 1), save=path, **small)
    assert trained == [1, 1, 1]
    again = open_study(path)["randomisation-table"]
    assert np.array_equal(again.scores["own/weight-norm"], whole.scores["own/weight-norm"], equal_nan=True)
    assert again.trends == whole.trends


def test_runs_that_miss_a_place_are_reported_and_not_compared(split):
    hopeless = {**SETTINGS, "recipes": [replace(RECIPE, max_epochs=80)], "losses": (1.0, 1e-9), "audit": False}
    found = randomisation_table(SMALL, split, seeds=(0, 1), **{**hopeless, "epoch": None, "norm": None})
    assert (found.metric("reached", "loss-1") == 1).all()
    assert (found.metric("reached", "loss-1e-09") == 0).all()
    assert np.isfinite(found.values("own/weight-norm", "loss-1")).all()
    assert np.isnan(found.values("own/weight-norm", "loss-1e-09")).all()
    assert not [row for row in found.trends if row.stage == "loss-1e-09"]
    assert {row.stage: row.verdict for row in found.verdicts}["loss-1e-09"] == "not comparable"


def _stop(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize("changes", [{"noise": (0.0,)}, {"noise": (0.5, 0.0)}, {"recipes": []}, {"seeds": ()}])
def test_a_grid_must_be_one(changes):
    with pytest.raises(LandscapeError, match="expected at least one recipe"):
        randomisation_table(SMALL, **{"seeds": (0,), **changes})
