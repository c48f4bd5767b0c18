"""Randomised labels and inputs on a few digits: everything is fitted, noise takes longer and costs test error."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from landscape.datasets import digits
from landscape.errors import LandscapeError
from landscape.experiments import as_checkpoint, get_recipe, train
from landscape.models import mlp
from landscape.scores import sharpness
from landscape.store import open_study
from landscape.studies.evaluations import Panel, on_grid, shared_examples, steps_to
from landscape.studies.randomisation import memorisation_test, randomisation
from landscape.training.training_data import heldout_set, randomised_inputs, training_set

SMALL = partial(mlp, (64, 32, 10))
QUICK = get_recipe("momentum", lr=0.1, target=0.05, max_epochs=500)
LIGHT = Panel(own=("adaptive-average", "weight-norm"), label_free=("input-jacobian",), shared=("adaptive-average",))


@pytest.fixture(scope="module")
def split():
    return digits(train=120)


@pytest.fixture(scope="module")
def found(split):
    return randomisation(SMALL, split, noise=(0.4,), seeds=(0, 1), recipe=QUICK, panel=LIGHT)


def test_everything_is_fitted_and_random_labels_cost_the_test_error(found):
    assert (found["train/accuracy"] == 1).all()
    error = {name: found.where(condition=name)["test/error"].mean() for name in found.levels("condition")}
    assert error["true-labels"] < 0.2 < error["corrupted-0.4"]
    assert error["random-labels"] == pytest.approx(0.9, abs=0.06)
    assert error["gaussian"] == pytest.approx(0.9, abs=0.06)
    assert error["shuffled-pixels"] < 0.25


def test_noise_takes_longer_and_ends_sharper(found):
    cells = found.where(inputs="true").by("noise")
    steps = cells["steps to accuracy 1"]
    assert (steps[1:] > 1.5 * steps[0]).all()
    for name in ("own/adaptive-average", "own/weight-norm", "label-free/input-jacobian"):
        assert cells[name][-1] > cells[name][0]
    assert np.isnan(found.where(condition="true-labels")["corrupted/adaptive-average"]).all()


def test_a_row_holds_what_the_scores_and_the_trainer_say(found, split):
    run = train(get_recipe("momentum", lr=0.1, target=0.05, label_noise=1.0), split, SMALL, seed=1)
    row = found.where(condition="random-labels", seed=1)
    assert row["test/error"][0] == 1 - run.test_accuracy
    panel = sharpness(as_checkpoint(run).objective(), ["adaptive-average", "weight-norm"])
    assert row["own/weight-norm"][0] == panel["weight-norm"].value
    values, errors = (table["own/adaptive-average"][0].tolist() for table in (row.measures, row.errors))
    assert values == [score.value for score in panel.all("adaptive-average")]
    assert errors == [score.standard_error for score in panel.all("adaptive-average")]
    assert found.coordinates["own/adaptive-average"].tolist() == [s.radius for s in panel.all("adaptive-average")]


def test_table_summary_and_figure_say_the_same(found):
    assert "random labels" in found.table()
    assert found.table("markdown").startswith("|")
    words = dict(found.summary())
    assert words["fits"].startswith("training accuracy 100.00%")
    assert "from least to most noise" in words["steps to accuracy 1"]
    assert len(found.plot().axes) == 5  # two scores beside curves, time to fit and test error
    with pytest.raises(KeyError, match="no run with"):
        found.where(condition="nothing")
    with pytest.raises(KeyError, match="no 'own/nothing'; there are"):
        found["own/nothing"]


def test_memorisation_test_in_words(split, tmp_path):
    path = tmp_path / "study.h5"
    panel = Panel(own=("adaptive-average", "weight-norm"), label_free=(), shared=())
    test = memorisation_test(SMALL, split, recipe=QUICK, seeds=range(6), panel=panel, save=path)
    assert "fits random labels in all 6 seeds" in test.finding("says").text
    assert "are sharper" in test.finding("says").text
    slower = test.effect("steps to accuracy 1")
    assert 0 < slower.low <= slower.difference <= slower.high
    assert slower.p_value == pytest.approx(2 / 924)
    true, random = test.array("steps to accuracy 1", "condition", "seed")
    assert slower.difference == pytest.approx(np.log10(random).mean() - np.log10(true).mean())
    assert str(open_study(path)["memorisation-test"].effects) == str(test.effects)
    assert "every network large enough fits noise" in test.finding("does not say").text
    assert len(test.plot().axes[0].get_yticks()) == len(test.effects)
    with pytest.raises(KeyError, match="no effect"):
        test.effect("nothing")
    with pytest.raises(KeyError, match="no finding"):
        test.finding("nothing")


def test_shuffled_pixels_are_one_permutation_and_random_pixels_one_an_image(split):
    X, X_test = split.train[0], split.test[0]
    shuffled, shuffled_test = randomised_inputs(split, "shuffled-pixels", seed=0)
    order = torch.from_numpy(np.random.default_rng(0).permutation(64))
    assert torch.equal(shuffled, X[:, order])
    assert torch.equal(shuffled_test, X_test[:, order])
    random, random_test = randomised_inputs(split, "random-pixels", seed=0)
    assert torch.equal(random.sort(1).values, X.sort(1).values)
    assert torch.equal(random_test.sort(1).values, X_test.sort(1).values)
    assert not torch.equal(random[0], X[0][order])
    assert not torch.equal(random[:2].argsort(1)[0], random[:2].argsort(1)[1])


def test_channels_of_a_pixel_stay_together():
    split = digits(train=50, flatten=False)
    colour = torch.cat([split.train[0], 2 * split.train[0], 3 * split.train[0]], dim=1)
    tripled = replace(split, train=(colour, split.train[1]), image_shape=(3, 8, 8))
    for kind in ("shuffled-pixels", "random-pixels"):
        X, _ = randomised_inputs(replace(tripled, test=tripled.train), kind, seed=1)
        assert X.shape == colour.shape
        assert torch.equal(X[:, 1], 2 * X[:, 0])
        assert not torch.equal(X[:, 0], colour[:, 0])


def test_gaussian_inputs_have_the_mean_and_the_variance_and_no_integers_take_their_place(split):
    X, X_test = randomised_inputs(split, "gaussian", seed=0)
    assert X.mean().item() == pytest.approx(split.train[0].mean().item(), abs=0.05)
    assert X.std().item() == pytest.approx(split.train[0].std().item(), rel=0.03)
    assert X_test.shape == split.test[0].shape
    tokens = replace(split, train=(split.train[0].long(), split.train[1]))
    with pytest.raises(LandscapeError, match="Gaussian inputs cannot take the place"):
        randomised_inputs(tokens, "gaussian", seed=0)


def test_labels_do_not_depend_on_what_is_done_to_the_inputs(split):
    plain = training_set(get_recipe("random-labels"), split, seed=3)
    shuffled = training_set(get_recipe("random-labels", inputs="shuffled-pixels"), split, seed=3)
    assert torch.equal(plain.y, shuffled.y)
    assert not torch.equal(plain.X, shuffled.X)
    assert torch.equal(heldout_set(get_recipe("random-labels"), split, seed=3)[1], split.test[1])


def test_shared_examples_carry_one_label_at_every_level(split):
    levels = (0.0, 0.3, 0.7, 1.0)
    shared = shared_examples(get_recipe("sgd"), split, levels, seed=2)
    sets = [training_set(get_recipe("sgd", label_noise=p), split, seed=2) for p in levels]
    assert len(shared.clean) > 3
    assert all(torch.equal(one.y[shared.clean], split.train[1][shared.clean]) for one in sets)
    assert len({tuple(one.y[shared.corrupted].tolist()) for one in sets[1:]}) == 1
    assert (sets[1].y[shared.corrupted] != split.train[1][shared.corrupted]).all()
    assert len(shared_examples(get_recipe("sgd"), split, (0.0,), seed=2).clean) == 120


def test_time_to_fit_is_read_off_the_history(split):
    history = train(get_recipe("momentum", lr=0.1, max_epochs=6, target=1e-9), split, SMALL).history
    assert steps_to(history, loss=history.loss[3]) <= history.step[3]
    assert np.isnan(steps_to(history, loss=1e-12))
    grid = on_grid(history, np.array([0, 2, 5, 9]))
    assert grid[0, :3].tolist() == history.loss[[0, 2, 5]].tolist()
    assert np.isnan(grid[:, 3]).all()


@pytest.mark.parametrize("off", [-1e-8, 1e-8])
def test_a_run_that_ends_beside_its_target_has_reached_it(split, off):
    run = train(get_recipe("momentum", lr=0.1, target=0.05), split, SMALL)
    beside = replace(run.history, loss=np.append(run.history.loss[:-1], 0.05 * (1 + off)))
    assert steps_to(beside, loss=0.05) == run.steps
    assert steps_to(run.history, loss=0.05) == run.steps
