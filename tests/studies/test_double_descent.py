"""Errors against the networks themselves, where peaks lie, and what a bad call is told."""

from functools import partial

import numpy as np
import pytest
import torch

from landscape import store
from landscape.datasets import digits, mnist1d
from landscape.errors import LandscapeError
from landscape.experiments import get_recipe
from landscape.function.checkpoint import Checkpoint
from landscape.models import mlp
from landscape.results import DoubleDescent, WidthRun
from landscape.scores import sharpness
from landscape.studies.double_descent import RECIPE, double_descent, he_mlp, published_data
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


def curve(errors, fitted=(), scores=None):
    """Make a result with one network a width, widths 1, 2, 3, …"""
    runs = tuple(
        WidthRun(
            width=i + 1,
            parameters=i,
            seed=0,
            train_loss=0.0,
            train_error=0.0 if i + 1 in fitted else 0.2,
            test_loss=0.0,
            test_error=error,
        )
        for i, error in enumerate(errors)
    )
    return DoubleDescent(runs=runs, scores=scores or {}, changed=np.array([0.1]))


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
    row = found.runs[3]
    assert (row.width, row.seed, row.parameters) == (12, 1, 64 * 12 + 12 + 12 * 12 + 12 + 12 * 10 + 10)
    assert row.train_error == pytest.approx(float((trained.predictions(X)[1] != y).double().mean()))
    assert row.test_error == pytest.approx(
        float((trained.predictions(split.test[0])[1] != split.test[1]).double().mean())
    )
    assert row.test_loss == pytest.approx(float(trained.losses(*split.test)[1]), rel=1e-5)
    assert found.changed[0] == pytest.approx(float((y != truth).double().mean()))
    checkpoint = Checkpoint(trained.module, trained.network(1), loss="cross_entropy", train=(X, y))
    panel = sharpness(checkpoint.objective(), ["trace", "weight-norm"], seed=1)
    assert [found.values(name)[1, 1] for name in panel.names] == [score.value for score in panel.rows]


def test_peak_lies_beyond_the_classical_minimum():
    classical = curve([0.9, 0.6, 0.5, 0.7, 0.8, 0.6, 0.4], fitted=(5, 6, 7))
    assert (classical.peak(), classical.interpolation) == (5, 5)
    assert dict(classical.summary())["test error"] == "peaks at width 5 with 80.0 %, falls to 40.0 % beyond it"


@pytest.mark.parametrize(
    ("errors", "fitted"),
    [
        ([0.9, 0.7, 0.5, 0.3], (3, 4)),  # falls all the way
        ([0.9, 0.5, 0.6, 0.7], (4,)),  # still rising at the end
        ([0.5, 0.6, 0.4], (1, 2, 3)),  # fitted from the start: there is no classical part
    ],
)
def test_without_a_second_descent_there_is_no_peak(errors, fitted):
    assert curve(errors, fitted).peak() is None
    assert "no second descent" in dict(curve(errors, fitted).summary())["test error"]


def test_peak_of_a_score_and_missing_columns():
    scored = curve([0.9, 0.5, 0.7, 0.8, 0.6], fitted=(4, 5), scores={"trace": np.array([9.0, 1.0, 5.0, 3.0, 2.0])})
    assert scored.peak("trace") == 3
    with pytest.raises(KeyError, match="trace"):
        scored.values("lambda-max")


def test_a_width_with_fewer_seeds_is_averaged_over_those_it_has():
    runs = curve([0.2, 0.4]).runs
    more = DoubleDescent(runs=(*runs, WidthRun(**{**vars(runs[1]), "seed": 1, "test_error": 0.8})), scores={},
                         changed=np.zeros(1))  # fmt: skip
    np.testing.assert_allclose(more.mean("test_error"), [0.2, 0.6])
    assert np.isnan(more.values("test_error")[0, 1])


def test_the_study_keeps_every_network_and_the_same_call_gives_the_same_numbers(tmp_path, split, found):
    again = double_descent(SMALL, split, **QUICK, save=tmp_path / "study.h5")
    stored = store.open_study(tmp_path / "study.h5")["double-descent"]
    assert stored.runs == again.runs == found.runs
    np.testing.assert_array_equal(stored.scores["trace"], found.scores["trace"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"widths": (8,)}, "ascending widths"),
        ({"widths": (8, 4)}, "ascending widths"),
        ({"seeds": ()}, "a seed"),
        ({"epochs": 0}, "0 epochs"),
        ({"recipe": get_recipe("random-labels")}, "label_noise of its own"),
        ({"factory": he_mlp}, "does not take inputs"),
    ],
)
def test_what_a_bad_call_is_told(split, arguments, message):
    with pytest.raises(LandscapeError, match=message):
        double_descent(**({"factory": SMALL, "split": split} | QUICK | arguments))


def test_a_factory_that_hands_out_one_network_twice_and_data_without_labels_are_refused(split):
    network = mlp((64, 4, 10))
    with pytest.raises(LandscapeError, match="same network twice"):
        double_descent(lambda width, *, seed: network, split, **QUICK)
    with pytest.raises(LandscapeError, match="labels"):
        double_descent(SMALL, (split.train[0], split.test[0]), **QUICK)


def test_the_published_data_are_made_here():
    pytest.importorskip("mnist1d")
    split = published_data()
    assert len(split.train[1]) == len(split.test[1]) == 4000
    assert split.arguments["corr_noise_scale"] == 0.25
    assert split.fingerprint != mnist1d(samples=8000, train_share=0.5, seed=0).fingerprint
