"""What holds for all experiments: they take the user's own network, and refuse what they cannot use in one line."""

import dataclasses
import inspect
from functools import partial

import pytest
import torch
from matplotlib import pyplot
from torch import nn

from landscape import experiments
from landscape.comparison import PRIMARY
from landscape.datasets import digits
from landscape.errors import LandscapeError
from landscape.models import mlp
from landscape.models.common import seeded
from landscape.store import open_study
from landscape.store.encode import content_sha256
from landscape.studies.descents import chebyshev_network, chebyshev_problem
from landscape.studies.evaluations import Panel
from landscape.studies.large_batch import f1_mlp

QUICK = experiments.get_recipe("momentum", lr=0.1, examples=60, target=0.1)
NOISY = experiments.get_recipe("random-labels")
LIGHT = Panel(own=("weight-norm",), label_free=(), shared=())


def own(width=16, *, seed=0):
    """A network that is none of the package's: only its factory can build it."""
    with seeded(seed):
        return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.Tanh(), nn.Linear(width, 10))


NETWORK = own()
CALLS = {
    "architecture": partial(
        experiments.architecture, recipe=QUICK, seeds=[0], epochs=[1], points=3, ratio_points=2, examples=20
    ),
    "basin-volume": partial(
        experiments.basin_volume, poison=[5], recipe=dataclasses.replace(QUICK, examples=None), seeds=[0], directions=2
    ),
    "double-descent": partial(experiments.double_descent, widths=(4, 8), epochs=2, scores=["weight-norm"], seeds=[0]),
    "edge-of-stability": partial(
        experiments.edge_of_stability, descents=[experiments.Descent(lr=0.1, steps=2)], every=1
    ),
    "guess-and-check": partial(experiments.guess_and_check, guesses=100, networks=2, epochs=2),
    "kernel-regime": partial(
        experiments.kernel_regime,
        widths=(4, 8),
        labels=["true"],
        recipe=experiments.get_recipe("sgd", lr=0.2, target=1.0, target_accuracy=0.0),
        examples=20,
        seeds=[0],
    ),
    "large-batch": partial(
        experiments.large_batch, small=5, large=20, epochs=2, matchings=["epochs"], scores=["weight-norm"], seeds=[0]
    ),
    "memorisation-test": partial(experiments.memorisation_test, recipe=QUICK, seeds=[0], panel=LIGHT),
    "memorised-examples": partial(experiments.memorised_examples, networks=4, epochs=2),
    "optimisers": partial(
        experiments.optimisers,
        recipes=[QUICK, dataclasses.replace(QUICK, name="slower", lr=0.05)],
        scores=["weight-norm"],
        seeds=[0],
    ),
    "randomisation": partial(experiments.randomisation, recipe=QUICK, noise=(), seeds=[0], panel=LIGHT),
    "randomisation-table": partial(
        experiments.randomisation_table,
        recipes=[QUICK],
        noise=(0, 1),
        losses=(0.1,),
        epoch=None,
        norm=None,
        seeds=[0],
        panel=LIGHT,
    ),
}


@pytest.fixture(scope="module")
def split():
    return digits(train=80)


@pytest.mark.parametrize("name", CALLS)
def test_it_takes_the_users_own_network_and_the_study_keeps_every_number(name, split, tmp_path):
    """The same call finds its result; a call without a study gives the same numbers again."""
    call = partial(CALLS[name], {"mine": own} if name == "architecture" else own, split)
    found = call(save=tmp_path / "study.h5")
    stored, again = open_study(tmp_path / "study.h5")[name], call(save=tmp_path / "study.h5")
    assert not list(tmp_path.glob("*.partial"))
    for other in (stored, again, call()):
        assert content_sha256(other) == content_sha256(found)
    if name in ("architecture", "double-descent", "kernel-regime"):
        widths = {"architecture": (16,)}.get(name, (4, 8))
        assert set(found["parameters"].tolist()) == {64 * width + width + 10 * width + 10 for width in widths}


SEEDED = [name for name, call in CALLS.items() if "seeds" in call.keywords]
TRAINED = [name for name in CALLS if "recipe" in inspect.signature(CALLS[name].func).parameters]
SEVERAL = ["optimisers", "randomisation-table"]


@pytest.mark.parametrize("name", CALLS)
def test_factory_and_data_are_checked_before_anything_is_trained(name, split):
    def called(factory, data):
        CALLS[name]({"mine": factory} if name == "architecture" else factory, data)

    for factory, message in (
        (own(), "factory is a Sequential; expected a function"),
        (lambda *width, seed: NETWORK, "same network twice"),
        (lambda *width, seed: mlp((5, 10), seed=seed), "does not take inputs of shape"),
    ):
        with pytest.raises(LandscapeError, match=message) as raised:
            called(factory, split)
        assert "\n" not in str(raised.value)
    if name != "edge-of-stability":  # which takes targets of any kind
        with pytest.raises(LandscapeError, match="has no labels"):
            called(own, ((torch.zeros(3, 64),), (torch.zeros(3, 64),)))


@pytest.mark.parametrize(
    ("names", "changed", "message"),
    [
        (CALLS, {"workers": 0}, "workers=0, expected at least 1"),
        (CALLS, {"workers": -2}, "workers=-2, expected at least 1"),
        (CALLS, {"workers": "2"}, "workers='2' is str, expected a whole number"),
        (SEEDED, {"seeds": 3}, r"seeds=3 is a single number, expected several: range\(3\) or \[3\]"),
        (SEEDED, {"seeds": [-1]}, "seed=-1, expected a whole number from 0 on"),
        (SEEDED, {"seeds": [0.5]}, "seeds=0.5 is float, expected a whole number"),
        (SEEDED, {"seeds": [0, 0]}, r"seeds \[0, 0\] repeat"),
        (SEEDED, {"seeds": []}, "seed"),
        (TRAINED, {"recipe": "sgd"}, r"recipe='sgd' is str, expected a Recipe: get_recipe\('sgd'\)"),
        (SEVERAL, {"recipes": QUICK}, "is Recipe, expected several recipes"),
        (SEVERAL, {"recipes": ["sgd", "momentum"]}, "is str, expected a Recipe"),
        (SEVERAL, {"recipes": [QUICK, QUICK]}, "names repeat"),
        (["guess-and-check", "memorised-examples"], {"seed": -1}, "seed=-1, expected a whole number from 0 on"),
        (["double-descent", "kernel-regime"], {"widths": 8}, "widths=8 is int, expected several numbers"),
        (["double-descent", "kernel-regime"], {"widths": ["a", "b"]}, "widths='a' is str, expected a whole number"),
        (["randomisation", "randomisation-table"], {"noise": 0.5}, "noise=0.5 is float, expected several numbers"),
        (["basin-volume"], {"poison": 5}, "poison=5 is int, expected several numbers"),
        (["architecture"], {"epochs": 2}, "epochs=2 is int, expected several numbers"),
        (["edge-of-stability"], {"descents": experiments.Descent(lr=0.1)}, "expected several descents"),
        (["edge-of-stability"], {"descents": ["sgd"]}, "expected several descents"),
        (["edge-of-stability"], {"descents": []}, "expected several descents"),
        (["edge-of-stability"], {"every": 4}, "expected an odd number of steps"),
        (["architecture"], {"epochs": (0,)}, "positive epochs"),
        (["basin-volume"], {"poison": ()}, "positive numbers"),
        (["basin-volume"], {"poison": (5, 5)}, "positive numbers"),
        (["double-descent", "kernel-regime"], {"widths": (8,)}, "two or more ascending widths"),
        (["double-descent", "kernel-regime"], {"widths": (8, 8)}, "two or more ascending widths"),
        (["double-descent"], {"epochs": 0}, "0 epochs"),
        (["double-descent"], {"recipe": NOISY}, "label_noise of its own"),
        (["guess-and-check"], {"guesses": 0}, "positive numbers"),
        (["guess-and-check"], {"span": -1.0}, "positive numbers"),
        (
            ["guess-and-check", "memorised-examples"],
            {"recipe": experiments.get_recipe("sgd", shift=1)},
            "shift|augment",
        ),
        (["kernel-regime"], {"labels": ["wrong"]}, "labels wrong"),
        (["kernel-regime", "large-batch"], {"labels": [], "matchings": []}, "are missing"),
        (["kernel-regime"], {"recipe": dataclasses.replace(QUICK, weight_decay=1e-4)}, "plain SGD"),
        (["kernel-regime"], {"recipe": experiments.get_recipe("sgd", optimiser="adam")}, "plain SGD"),
        (["large-batch"], {"matchings": ["time"]}, "matchings time"),
        (["large-batch"], {"small": 40}, "below the large one"),
        (["large-batch"], {"epochs": 0}, "an epoch"),
        (["large-batch"], {"recipe": QUICK}, "whole training part"),
        (["memorised-examples"], {"ratio": 1.0}, "in and out"),
        (["memorised-examples"], {"networks": 1}, "networks must be"),
        (["memorised-examples"], {"recipe": experiments.get_recipe("poisoned")}, "use one without"),
        (["memorised-examples"], {"recipe": NOISY}, "argument of its own"),
        (["optimisers"], {"recipes": [QUICK]}, "two recipes or more"),
        (["optimisers"], {"recipes": [QUICK, dataclasses.replace(QUICK, name="b", target=0.3)]}, "one target"),
        (["randomisation"], {"noise": (0.5, 0.2)}, "ascending probabilities"),
        (["randomisation"], {"noise": (0.0, 0.5)}, "ascending probabilities"),
        (["randomisation"], {"noise": (1.0,)}, "ascending probabilities"),
        (["randomisation-table"], {"noise": (0.0,)}, "two ascending noise levels"),
        (["randomisation-table"], {"noise": (0.5, 0.0)}, "two ascending noise levels"),
        (["randomisation-table"], {"recipes": []}, "at least one recipe"),
    ],
)
def test_options_of_the_wrong_kind_are_refused(names, changed, message, split):
    for name in names:
        taken = {key: value for key, value in changed.items() if key in inspect.signature(CALLS[name].func).parameters}
        with pytest.raises(LandscapeError, match=message):
            CALLS[name]({"mine": own} if name == "architecture" else own, split, **taken)


THREE = chebyshev_problem(3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (partial(experiments.edge_of_stability, descents=[experiments.Descent(lr=0.1)]), "without a problem"),
        (partial(experiments.edge_of_stability, chebyshev_network), "expected a factory with data"),
        (partial(experiments.edge_of_stability, data=(THREE.X, THREE.y)), "expected a factory with data"),
        (partial(experiments.edge_of_stability, chebyshev_network, THREE.X), "with targets"),
        (
            partial(experiments.edge_of_stability, chebyshev_network, (THREE.X, THREE.y[:3]), loss="mse_loss"),
            "3 targets",
        ),
        (partial(experiments.edge_of_stability, chebyshev_network, (THREE.X, THREE.y)), "say which loss"),
        (partial(experiments.architecture, own), "factories by name"),
        (partial(experiments.architecture, {}), "at least one variant"),
        (partial(experiments.basin_volume, poison=(10_000,), recipe=NOISY), "spare examples"),
        (partial(experiments.guess_and_check, partial(f1_mlp, 4, inputs=2, classes=2)), "norm layers"),
        (partial(experiments.get_recipe, "sgd", shift=1, inputs="gaussian"), "shift moves images"),
        (partial(experiments.get_recipe, "sgd", inputs="upside-down"), "inputs must be one of"),
    ],
)
def test_calls_that_make_no_sense_are_told_why(call, message):
    with pytest.raises(LandscapeError, match=message):
        call()


def test_an_argument_that_does_not_exist_is_told_with_the_name_of_the_study():
    with pytest.raises(TypeError, match=r"large_batch\(\) got an unexpected keyword argument 'batches'"):
        experiments.large_batch(batches=3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda split: experiments.train_many(5, split, own), "recipes=5 is int, expected several recipes"),
        (lambda split: experiments.train_many("sgd", split, own), "recipes='sgd' is str, expected several recipes"),
        (lambda split: experiments.train_many([5], split, own), "recipe=5 is int, expected a Recipe"),
        (lambda split: experiments.train_many([QUICK], None, own), "neither a Split nor"),
        (lambda split: experiments.train_many([QUICK], split, own()), "factory is a Sequential"),
        (lambda split: experiments.train_many([QUICK], split, own, seeds=2), "seeds=2 is a single number"),
        (lambda split: experiments.train_many([QUICK], split, own, workers=0), "workers=0"),
        (lambda split: experiments.train("sgd", split, own), "recipe='sgd' is str"),
        (lambda split: experiments.train(QUICK, "digits", own), "neither a Split nor"),
        (lambda split: experiments.train(QUICK, split, lambda seed: NETWORK), "same network twice"),
        (lambda split: experiments.train(QUICK, split, own, seed=-1), "seed=-1"),
        (lambda split: experiments.train_through("sgd", split, own, goals={"end": 1}), "recipe='sgd' is str"),
        (lambda split: experiments.training_set("sgd", split, seed=0), "recipe='sgd' is str"),
        (lambda split: experiments.training_set(QUICK, 5, seed=0), "neither a Split nor"),
        (lambda split: experiments.corrupt_labels([0, 1], 0.5, 10, seed=0), "tensor of integer labels"),
        (lambda split: experiments.corrupt_labels(split.train[1], "half", 10, seed=0), "p='half' is str"),
        (lambda split: experiments.as_checkpoint("sgd-0"), "run is a str; expected one of train"),
        (lambda split: experiments.save_run([], "runs"), "run is a list; expected one of train"),
        (lambda split: experiments.get_recipe(["sgd"]), "is not known; expected one of"),
        (lambda split: experiments.get_recipe("sgd", lr="0.1"), "lr='0.1' is str, expected a number"),
        (lambda split: experiments.get_recipe("sgd", batch_size=2.5), "batch_size=2.5 is float"),
        (lambda split: experiments.Descent(lr="0.1"), "lr='0.1' is str, expected a number"),
    ],
)
def test_what_trains_refuses_the_same(call, message, split):
    with pytest.raises(LandscapeError, match=message):
        call(split)


HOPELESS = dataclasses.replace(QUICK, lr=1e-6, target=1e-6, max_epochs=1)
PRIMARIES = Panel(own=(*PRIMARY, "weight-norm"), label_free=(), shared=())
MISSED = {
    "architecture": ({"recipe": HOPELESS}, "by 1 of 1 runs, which are left out of means and tests"),
    "basin-volume": (
        {"recipe": dataclasses.replace(HOPELESS, examples=None)},
        "by 2 of 2 runs, which are left out of means and tests",
    ),
    "kernel-regime": (
        {"recipe": dataclasses.replace(HOPELESS, momentum=0.0)},
        "by 2 of 2 runs, which are left out of means and tests",
    ),
    "large-batch": (
        {"recipe": dataclasses.replace(HOPELESS, examples=None), "matchings": ["loss"]},
        "none of 1 networks reached the target",
    ),
    "memorisation-test": ({"recipe": HOPELESS, "panel": PRIMARIES}, "fits random labels in 0 of 1 seeds"),
    "optimisers": (
        {"recipes": [HOPELESS, dataclasses.replace(HOPELESS, name="b")], "scores": PRIMARY},
        "none of 1 runs reached the target",
    ),
    "randomisation": (
        {"recipe": HOPELESS, "panel": PRIMARIES},
        "by 5 of 5 runs, which are left out of means and tests",
    ),
    "randomisation-table": ({"recipes": [HOPELESS], "epoch": 1, "panel": PRIMARIES}, "never got there"),
}


@pytest.mark.parametrize("name", MISSED)
def test_recipes_that_never_reach_their_target_are_reported_as_such(name, split):
    """They learn nothing: some scores have no meaning for such networks, which must not end the experiment."""
    changed, words = MISSED[name]
    found = CALLS[name]({"mine": own} if name == "architecture" else own, split, **changed)
    said = " ".join(text for pair in found.summary() for text in pair)
    assert words in said
    assert "nan" not in said
    assert "nan" not in found.table()
    pyplot.close(getattr(found.plot(), "figure", None))
