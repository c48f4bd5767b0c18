import random
import sys

import numpy as np
import pytest
import torch

from landscape.datasets import mnist1d
from landscape.errors import LandscapeError

pytest.importorskip("mnist1d")


def test_the_same_arguments_make_the_same_data_and_another_seed_others():
    assert mnist1d(samples=50).fingerprint == mnist1d(samples=50).fingerprint
    assert mnist1d(samples=50).fingerprint != mnist1d(samples=50, seed=1).fingerprint


def test_parts_labels_and_scale():
    split = mnist1d(samples=200, train_share=0.5)
    X = torch.cat([split.train[0], split.test[0]]).double()
    assert split.train[0].shape == split.test[0].shape == (100, 40)
    assert torch.cat([split.train[1], split.test[1]]).bincount().tolist() == [20] * 10
    assert abs(float(X.mean())) < 1e-6
    assert abs(float(X.std(correction=0)) - 1) < 1e-6


def test_the_global_random_states_are_as_before():
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    before = random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    mnist1d(samples=10, train_share=0.5)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # noqa: NPY002


def test_without_the_package_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "mnist1d.data", None)
    with pytest.raises(LandscapeError, match="pip install"):
        mnist1d()


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"samples": 15}, {"train_share": 1.0}, {"train_share": 0.0}])
def test_wrong_sizes(wrong):
    with pytest.raises(LandscapeError, match="multiple of 10"):
        mnist1d(**wrong)
