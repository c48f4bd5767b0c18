"""Memorisation scores against their definition, on data where the answer is known, and what a bad call is told."""

from functools import partial

import numpy as np
import pytest
import torch

from landscape import store
from landscape.datasets import digits
from landscape.models import mlp
from landscape.studies.memorised_examples import memorised_examples, subsets

SMALL = partial(mlp, (64, 32, 10))
QUICK = {"networks": 12, "epochs": 12, "together": 5}


@pytest.fixture(scope="module")
def split():
    return digits(train=150)


@pytest.fixture(scope="module")
def found(split):
    return memorised_examples(SMALL, split, networks=60, epochs=60, label_noise=0.2, together=30)


def test_every_network_has_its_own_subset_of_the_asked_size(found):
    assert (found.included.sum(1) == round(0.7 * 150)).all()
    assert len(np.unique(found.included, axis=0)) == 60
    drawn = subsets(0, np.array([0, 7]), 150, 0.7)
    assert np.array_equal(np.flatnonzero(found.included[7]), np.sort(drawn[1].numpy()))


def test_mean_memorisation_is_the_gap(found):
    """Examples left out are test examples, so both estimate one number."""
    assert abs(np.nanmean(found.memorisation) - found.gap) < 3 * found.gap_error
    assert found.gap > 0.2
    assert found.gap_error < 0.1


def test_changed_labels_are_what_is_memorised(found):
    assert found.train_accuracy > 0.99
    assert found.detection > 0.9
    assert np.nanmean(found.memorisation[found.changed]) > 0.8


def test_the_most_memorised_are_listed_in_order_with_their_pictures(found, split):
    scores = [row.memorisation for row in found.memorised]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] == np.nanmax(found.memorisation)
    first = found.memorised[0]
    expected = (split.train[0][first.index] * split.std + split.mean).view(1, 8, 8)
    np.testing.assert_allclose(found.pictures[0], expected, atol=1e-6)
    out = found.included[:, first.index] == 0
    assert first.elsewhere == np.bincount(found.predictions[out, first.index]).argmax()


def test_pairs_pass_both_thresholds(found):
    assert found.pair_count >= len(found.pairs) > 0
    assert all(pair.memorisation >= 0.25 and pair.influence >= 0.15 for pair in found.pairs)
    values = found.influence
    assert found.pairs[0].influence == values[found.pairs[0].train, found.pairs[0].test]
    assert found.pair_pictures.shape == (len(found.pairs), 2, 1, 8, 8)


def test_neither_groups_nor_a_study_change_numbers(split, tmp_path):
    alone = memorised_examples(SMALL, split, **QUICK)
    stored = memorised_examples(SMALL, split, **{**QUICK, "together": 4}, save=tmp_path / "study.h5")
    assert (alone.predictions == stored.predictions).mean() > 0.999
    again = store.open_study(tmp_path / "study.h5")["memorised-examples"]
    np.testing.assert_array_equal(again.memorisation, stored.memorisation)
    assert again.memorised == stored.memorised


def test_users_own_tensors(split):
    X, y = torch.rand(30, 1, 4, 4), torch.arange(30) % 3
    own = memorised_examples(partial(mlp, (16, 8, 3)), ((X, y), (X[:6], y[:6])), **QUICK)
    np.testing.assert_allclose(own.pictures[0], X[own.memorised[0].index])
