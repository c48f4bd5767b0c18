import os
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from landscape.datasets import digits
from landscape.errors import NumericalError
from landscape.experiments import evaluate, get_recipe, train
from landscape.models import mlp, small_cnn, transformer

SMALL = partial(mlp, (64, 32, 10))


@pytest.fixture(scope="module")
def split():
    return digits(train=200)


def quick(name="sgd", **changes):
    return get_recipe(name, **{"lr": 0.2, "target": 0.05, **changes})


@pytest.mark.parametrize(
    "recipe",
    [
        quick(),
        quick("momentum", lr=0.05, target_accuracy=0.9),
        quick("random-labels", examples=60, max_epochs=600),
        quick(weight_decay=1e-4),
        quick(shift=1, target=0.1, target_accuracy=0.9),
        quick("poisoned", poison=40, target=0.1),
        quick(optimiser="adam", lr=0.01, target_accuracy=0.9),
    ],
    ids=["sgd", "momentum", "random-labels", "decay", "shift", "poison", "adam"],
)
def test_training_stops_at_the_target_loss(split, recipe):
    run = train(recipe, split, SMALL, seed=1)
    assert run.reached
    assert run.train_accuracy >= recipe.target_accuracy
    assert abs(run.overshoot) < 2e-3
    assert 0 < run.last_step <= 1
    assert (run.train_loss, run.train_accuracy) == evaluate(run.network(), run.data.X, run.data.y)
    assert (run.test_loss, run.test_accuracy) == evaluate(run.network(), *split.test)


def with_dropout(seed=0):
    first, second = mlp((64, 32), seed=seed), mlp((32, 10), seed=seed)
    return nn.Sequential(first, nn.ReLU(), nn.Dropout(0.2), second)


@pytest.mark.parametrize(
    "changes",
    [{"momentum": 0.9, "lr": 0.02}, {"weight_decay": 0.01}, {"max_epochs": 2, "target": 1e-9}],
    ids=["momentum", "decay", "out-of-epochs"],
)
def test_the_end_lies_on_the_last_step_of_torch_optim_on_the_same_batches(split, changes):
    recipe = quick(target_accuracy=0.9, **{"target": 0.1, **changes})
    run = train(recipe, split, with_dropout, seed=3)
    model = with_dropout(seed=3)
    optimiser = torch.optim.SGD(model.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)
    X, y = split.train
    before = {}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        for step in range(run.steps):
            epoch, index = step // 4 + 1, step % 4
            order = torch.from_numpy(np.random.default_rng([3, 0, epoch]).permutation(200))
            chosen = order[64 * index : 64 * (index + 1)]
            before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
            optimiser.zero_grad()
            F.cross_entropy(model(X[chosen]), y[chosen]).backward()
            optimiser.step()
    for name, after in model.state_dict().items():
        expected = before[name] + run.last_step * (after - before[name])
        torch.testing.assert_close(run.weights[name], expected, rtol=1e-4, atol=1e-6)


def test_the_last_step_is_a_fraction_of_the_step_plain_training_takes(split):
    run = train(quick(), split, SMALL, seed=0)
    epochs, whole = int(run.history.epoch[-1]), -(-200 // 64)
    longer = train(quick(target=1e-9, max_epochs=epochs - 1), split, SMALL, seed=0)
    assert longer.steps == whole * (epochs - 1) < run.steps <= whole * epochs
    assert np.array_equal(longer.history.loss, run.history.loss[:-1])
    assert 0 < run.last_step < 1


def test_the_same_seed_gives_the_same_run_and_another_another(split):
    first, again, other = (train(quick(), split, SMALL, seed=seed) for seed in (7, 7, 8))
    for name in first.weights:
        assert torch.equal(first.weights[name], again.weights[name])
        assert torch.equal(first.init[name], again.init[name])
    assert np.array_equal(first.history.loss, again.history.loss)
    assert not torch.equal(first.weights["linear1.weight"], other.weights["linear1.weight"])


def test_dropout_follows_the_seed_and_the_global_state_and_thread_count_are_left_alone():
    split = digits(train=64, flatten=False)
    factory = partial(transformer, width=16, heads=2, layers=1, dropout=0.3)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    recipe = quick(lr=0.05, optimiser="adam", target=0.9, target_accuracy=0.0)
    runs = []
    for disturbance in range(2):
        torch.rand(disturbance)
        runs.append(train(recipe, split, factory, seed=2))
    assert torch.equal(runs[0].weights["linear.weight"], runs[1].weights["linear.weight"])
    torch.set_rng_state(before)
    train(recipe, split, factory, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert abs(runs[0].overshoot) < 2e-3


def test_threads_are_restored_after_an_exception(split):
    threads = torch.get_num_threads()
    with pytest.raises(NumericalError, match="use a smaller lr"):
        train(quick(lr=1e6), split, SMALL, threads=threads + 1)
    assert torch.get_num_threads() == threads


def test_batch_norm_networks_end_in_evaluation_mode_at_the_target():
    split = digits(train=200, flatten=False)
    run = train(quick(), split, partial(small_cnn, channels=(4, 8)), seed=0)
    assert run.reached
    assert run.train_loss <= 0.05 * (1 + 1e-3)
    assert run.train_loss == pytest.approx(evaluate(run.network(), *split.train)[0])
    assert not torch.equal(run.weights["norm1.running_mean"], run.init["norm1.running_mean"])


def test_out_of_epochs_is_said_and_not_raised(split):
    run = train(quick(max_epochs=2, target=1e-6), split, SMALL)
    assert not run.reached
    assert (run.last_step, run.steps, run.history.epoch.tolist()) == (1.0, 8, [0, 1, 2])


def test_accuracy_is_part_of_the_target(split):
    loose = quick("random-labels", examples=60, target=1.5, target_accuracy=0.0)
    strict = quick("random-labels", examples=60, target=1.5, target_accuracy=1.0)
    early, late = (train(recipe, split, SMALL) for recipe in (loose, strict))
    assert early.train_accuracy < 1.0 == late.train_accuracy
    assert abs(early.overshoot) < 2e-3
    assert late.overshoot < -0.1
    assert late.steps > early.steps


def test_history_starts_at_initialisation_and_ends_at_the_end(split):
    run = train(quick(), split, SMALL, seed=0)
    initial = SMALL(seed=0)
    assert run.history.loss[0] == pytest.approx(
        F.cross_entropy(initial(split.train[0]), split.train[1]).item(), rel=1e-5
    )
    assert (run.history.step[-1], run.history.loss[-1]) == (run.steps, run.train_loss)
    for name, tensor in initial.state_dict().items():
        assert torch.equal(run.init[name], tensor)


def test_evaluate_weights_uneven_chunks_by_their_examples_and_restores_the_mode():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.9)).train()
    generator = torch.Generator().manual_seed(0)
    X, y = torch.randn(3000, 3, generator=generator), torch.randint(0, 4, (3000,), generator=generator)
    loss, accuracy = evaluate(model, X, y)
    logits = model[0](X).detach()
    assert loss == pytest.approx(F.cross_entropy(logits.double(), y).item(), rel=1e-6)
    assert accuracy == pytest.approx((logits.argmax(1) == y).double().mean().item())
    assert model.training


@pytest.mark.slow
def test_digits_reach_the_published_accuracies():
    split = digits()
    for name in ("sgd", "momentum", "momentum-matched"):
        assert train(get_recipe(name), split).test_accuracy > 0.965
    memorised = train(get_recipe("random-labels"), split)
    assert memorised.train_accuracy == 1.0
    assert 0.05 < memorised.test_accuracy < 0.15


def test_out_keeps_the_run(split, tmp_path):
    train(quick(), split, SMALL, out=tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["sgd-0.init.safetensors", "sgd-0.json", "sgd-0.safetensors"]
