import numpy as np
import pytest
import torch

from landscape.datasets import digits, spirals
from landscape.errors import LandscapeError
from landscape.experiments import RECIPES, corrupt_labels, get_recipe, training_set
from landscape.training.training_data import poison_points, shift_images


@pytest.fixture(scope="module")
def split():
    return digits()


@pytest.mark.parametrize("p", [0.2, 0.6, 1.0])
def test_wrong_fraction_is_p_times_one_minus_one_over_classes(p):
    y = torch.arange(20_000) % 10
    drawn = corrupt_labels(y, p, 10, seed=1)
    expected = p * 0.9
    assert (drawn != y).double().mean().item() == pytest.approx(
        expected, abs=4 * (expected * (1 - expected) / 2e4) ** 0.5
    )
    changed = drawn[drawn != y].bincount(minlength=10).double()
    assert (changed / changed.mean() - 1).abs().max() < 0.15


def test_labels_corrupted_at_small_p_stay_so_at_large_p():
    y = torch.zeros(1000, dtype=torch.long)
    some, more = corrupt_labels(y, 0.3, 10, seed=2), corrupt_labels(y, 0.8, 10, seed=2)
    assert torch.equal(more[some != y], some[some != y])
    assert (more != y).sum() > (some != y).sum()


def test_no_noise_changes_nothing_and_the_input_is_never_written():
    y = torch.arange(10)
    assert torch.equal(corrupt_labels(y, 0.0, 10, seed=0), y)
    corrupt_labels(y, 1.0, 10, seed=0)
    assert torch.equal(y, torch.arange(10))
    with pytest.raises(LandscapeError, match="between 0 and 1"):
        corrupt_labels(y, -0.1, 10, seed=0)


def test_poison_lies_between_two_examples_of_a_class_and_is_always_wrong():
    X = torch.eye(12, dtype=torch.float64)
    y = torch.arange(12) % 3
    points, labels = poison_points(X, y, 200, 3, seed=0)
    parents = points.nonzero()[:, 1].view(200, 2)
    assert points[points != 0].unique().tolist() == [0.5]
    assert torch.equal(y[parents[:, 0]], y[parents[:, 1]])
    assert (labels != y[parents[:, 0]]).all()
    assert sorted(labels.unique().tolist()) == [0, 1, 2]


def test_poison_needs_inputs_that_average_and_pairs_within_a_class():
    with pytest.raises(LandscapeError, match="poison averages inputs"):
        poison_points(torch.arange(4), torch.tensor([0, 0, 1, 1]), 2, 2, seed=0)
    with pytest.raises(LandscapeError, match="has only one"):
        poison_points(torch.rand(2, 3), torch.tensor([0, 1]), 2, 2, seed=0)
    X, y = torch.rand(2, 3), torch.tensor([0, 0])
    with pytest.raises(LandscapeError, match="at least 2 classes"):
        training_set(get_recipe("poisoned"), ((X, y), (X, y)), seed=0)


def test_recipes_change_the_data_as_they_say(split):
    X, y = split.train
    sets = {name: training_set(recipe, split, seed=0) for name, recipe in RECIPES.items()}
    for name in ("sgd", "momentum", "large-batch", "poisoned"):
        assert torch.equal(sets[name].X, X)
        assert torch.equal(sets[name].y, y)
    assert 850 < len(sets["random-labels"].changed) < 950
    assert 300 < len(sets["corrupted-labels"].changed) < 420
    small = sets["small-data"]
    assert len(small.y) == len(small.indices.unique()) == 100
    assert torch.equal(small.X, X[small.indices])
    assert sets["poisoned"].poison[0].shape == (1000, 64)


def test_changed_lists_exactly_the_labels_that_differ(split):
    recipe = get_recipe("random-labels", examples=300)
    used = training_set(recipe, split, seed=1)
    truth = split.train[1][used.indices]
    kept = torch.ones(300, dtype=torch.bool)
    kept[used.changed] = False
    assert torch.equal(used.y[kept], truth[kept])
    assert (used.y[used.changed] != truth[used.changed]).all()


def test_streams_are_independent_and_follow_the_seed(split):
    plain, noisy = (training_set(get_recipe("small-data", label_noise=p), split, seed=4) for p in (0.0, 1.0))
    assert torch.equal(plain.indices, noisy.indices)
    assert (
        training_set(RECIPES["poisoned"], split, seed=4).fingerprint
        != training_set(RECIPES["poisoned"], split, seed=5).fingerprint
    )
    assert training_set(RECIPES["small-data"], split, seed=4).fingerprint == plain.fingerprint


def test_too_many_examples_are_refused(split):
    with pytest.raises(LandscapeError, match="wants 1001 examples; digits has 1000"):
        training_set(get_recipe("small-data", examples=1001), split, seed=0)


@pytest.mark.parametrize("flatten", [True, False])
def test_shifted_images_are_the_images_moved_with_blank_borders(flatten):
    split, raw = digits(flatten=flatten), digits(standardize=False, flatten=False)
    count = 60
    shifted = shift_images(split.train[0][:count], split, 1, np.random.default_rng(0))
    assert shifted.shape == split.train[0][:count].shape
    intensities = (shifted * split.std + split.mean).view(count, 8, 8)
    padded = torch.nn.functional.pad(raw.train[0][:count, 0], (1, 1, 1, 1))
    used = set()
    for image, source in zip(intensities, padded):
        errors = {(r, c): (source[r : r + 8, c : c + 8] - image).abs().max() for r in range(3) for c in range(3)}
        best = min(errors, key=errors.get)
        assert errors[best] < 1e-5
        used.add(best)
    assert len(used) == 9


def test_a_shift_of_zero_is_the_identity(split):
    X = split.train[0][:5]
    torch.testing.assert_close(shift_images(X, split, 0, np.random.default_rng(0)), X)


def test_spare_examples_are_relabelled_where_there_are_any():
    split = spirals(train=40, spare=60)
    used = training_set(get_recipe("poisoned", poison=50), split, seed=1)
    X, y = split.spare
    at = (used.poison[0][:, None] == X).all(2).nonzero()[:, 1]
    assert len(at.unique()) == 50
    assert (used.poison[1] == 1 - y[at]).all()
    with pytest.raises(LandscapeError, match="60 spare examples"):
        training_set(get_recipe("poisoned", poison=61), split, seed=1)
