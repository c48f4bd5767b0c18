import numpy as np
import pytest
import torch

from landscape.datasets import digits
from landscape.errors import LandscapeError


def test_the_embedded_images_are_scikit_learns():
    original = pytest.importorskip("sklearn.datasets").load_digits()
    split = digits(standardize=False)
    X = torch.empty(1797, 64)
    y = torch.empty(1797, dtype=torch.long)
    for (inputs, labels), indices in ((split.train, split.train_indices), (split.test, split.test_indices)):
        X[indices], y[indices] = inputs * 16, labels
    assert np.array_equal(X.numpy(), original.data)
    assert np.array_equal(y.numpy(), original.target)


def test_train_and_test_parts_are_a_permutation_drawn_from_the_seed():
    split = digits(seed=3, train=1000)
    indices = torch.cat([split.train_indices, split.test_indices])
    assert torch.equal(indices.sort().values, torch.arange(1797))
    assert not torch.equal(split.train_indices.sort().values, torch.arange(1000))
    assert digits(seed=3).fingerprint == split.fingerprint
    assert digits(seed=4).fingerprint != split.fingerprint


def test_training_pixels_have_mean_zero_and_deviation_one_unless_constant():
    split = digits()
    X, raw = split.train[0].double(), digits(standardize=False).train[0]
    varying = raw.std(0) > 0
    assert 0 < (~varying).sum() < 10
    torch.testing.assert_close(X.mean(0), torch.zeros(64).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(X.std(0, correction=0)[varying], torch.ones(int(varying.sum())).double())
    assert split.train[0].isfinite().all()
    assert split.test[0].isfinite().all()


def test_test_pixels_are_standardised_with_training_statistics():
    split, raw = digits(), digits(standardize=False)
    torch.testing.assert_close(split.test[0] * split.std + split.mean, raw.test[0], atol=1e-5, rtol=0)


def test_images_keep_their_shape_when_not_flattened():
    flat, images = digits(), digits(flatten=False)
    assert images.train[0].shape == (1000, 1, 8, 8)
    assert torch.equal(images.train[0].flatten(1), flat.train[0])


@pytest.mark.parametrize("train", [0, 1797, -3])
def test_a_split_needs_both_parts(train):
    with pytest.raises(LandscapeError, match="both parts must exist"):
        digits(train=train)
