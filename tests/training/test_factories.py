"""Factories and data that cannot be used are refused before anything is trained, each with its remedy."""

from functools import partial

import pytest
import torch
from torch import nn

from landscape.datasets import digits
from landscape.errors import LandscapeError
from landscape.models import mlp, small_cnn
from landscape.training.factories import as_split, check_factory

ONE = mlp((4, 3))


class Tied(nn.Module):
    """A new module around weights that all of them share."""

    def __init__(self, seed=0):
        super().__init__()
        self.inner = ONE


def unseeded(seed=0):
    return nn.Linear(4, 3)


@pytest.mark.parametrize("factory", [mlp, partial(mlp, (4, 8, 3)), small_cnn])
def test_good_factories_pass_and_leave_the_random_state_alone(factory):
    before = torch.get_rng_state()
    check_factory(factory)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("factory", "words"),
    [
        (lambda seed: ONE, "same network twice"),
        (Tied, "share weights in memory"),
        (unseeded, "with seed=0 differ"),
        (lambda: mlp(), r"cannot be called as factory\(seed=0\)"),
        (lambda seed: 3, "returned a int"),
        (lambda seed: nn.Flatten(), "no trainable parameters"),
        (mlp(), "is a Sequential"),
        (None, "is a NoneType"),
    ],
)
def test_bad_factories_are_refused(factory, words):
    with pytest.raises(LandscapeError, match=words):
        check_factory(factory)


def test_networks_must_fit_the_data():
    X = torch.ones(2, 4)
    check_factory(partial(mlp, (4, 3)), X, classes=3)
    with pytest.raises(LandscapeError, match="3 logits for 10 classes"):
        check_factory(partial(mlp, (4, 3)), X, classes=10)
    with pytest.raises(LandscapeError, match=r"does not take inputs of shape \(2, 4\)"):
        check_factory(partial(mlp, (5, 3)), X, classes=3)
    with pytest.raises(LandscapeError, match="expected logits"):
        check_factory(lambda seed: nn.Sequential(*mlp((4, 3), seed=seed), nn.Flatten(0)), X)


def test_tensors_of_the_user_become_a_split():
    X, y = torch.rand(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    split = as_split(((X[:4], y[:4]), (X[4:], y[4:])))
    assert (split.classes, split.image_shape) == (3, (1, 1, 4))
    assert torch.equal(split.train[0], X[:4])
    assert as_split(((X[:4].view(4, 1, 2, 2), y[:4]), (X[4:].view(2, 1, 2, 2), y[4:]))).image_shape == (1, 2, 2)
    whole = digits(train=50)
    assert as_split(whole) is whole


def test_arrays_are_as_good_as_tensors():
    X, y = torch.rand(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    tensors = as_split(((X[:4], y[:4]), (X[4:], y[4:])))
    X, y = X.double().numpy(), y.numpy().astype("int32")
    arrays = as_split(((X[:4], y[:4]), (X[4:], y[4:])))
    assert arrays.train[0].dtype == torch.float32
    assert arrays.fingerprint == tensors.fingerprint


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda X, y: X, "neither a Split nor"),
        (lambda X, y: ((X,), (X, y)), "training part has no labels"),
        (lambda X, y: ((X, y), (X, None)), "test part has no labels"),
        (lambda X, y: ((X, y[:2]), (X, y)), "expected \\(N, …\\) and \\(N,\\)"),
        (lambda X, y: ((X, y.double()), (X, y)), "not class indices"),
        (lambda X, y: ((X, y - 1), (X, y)), "not class indices"),
        (lambda X, y: ((X, y), (X[:, :2], y)), "expected the same"),
    ],
)
def test_data_without_labels_are_refused(change, words):
    X, y = torch.rand(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])
    with pytest.raises(LandscapeError, match=words):
        as_split(change(X, y))
