"""The examples a recipe really uses: a subset, shuffled or random inputs, redrawn labels, poison, shifted images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from landscape.arguments import checked
from landscape.datasets import Split, fingerprint
from landscape.datasets.split import Pair
from landscape.errors import LandscapeError
from landscape.training.factories import as_split
from landscape.training.recipes import Inputs, Recipe, as_recipe

Seed = int | Sequence[int]

# Every random choice of a run has its own stream, so that switching one on leaves the others as they were.
ORDER, LABELS, SUBSET, POISON, INPUTS = range(5)


def orders(seeds: Iterable[int], epochs: Iterable[int], count: int) -> Tensor:
    """Return the order (K, count) in which each of K runs sees its examples in the epoch that it is in."""
    drawn = (np.random.default_rng([seed, ORDER, epoch]) for seed, epoch in zip(seeds, epochs))
    return torch.from_numpy(np.stack([rng.permutation(count) for rng in drawn]))


@dataclass(frozen=True, kw_only=True, eq=False)
class TrainingSet:
    """What a network was trained on.

    Attributes:
        X: inputs (N, …), on which the training loss is reported.
        y: labels (N,), after any redrawing.
        indices: positions (N,) of these examples in the training part of the split.
        changed: positions within (N,) whose label differs from the true one.
        poison: extra inputs and wrong labels that are trained on but not part of the reported loss, or None.
    """

    X: Tensor
    y: Tensor
    indices: Tensor
    changed: Tensor
    poison: Pair | None = None

    @property
    def fingerprint(self) -> str:
        """The sha256 of inputs and labels, with the poison if there is any."""
        return fingerprint(self.X, self.y, *(self.poison or ()))


@checked
def training_set(recipe: Recipe, split: Split, *, seed: int) -> TrainingSet:
    """Apply a recipe's treatment of data to the training part of a split; the same seed gives the same set.

    Args:
        recipe: its `examples`, `inputs`, `label_noise` and `poison` are used.
        split: where the examples come from.
        seed: of all draws, from streams that do not depend on each other.

    Raises:
        LandscapeError: no recipe, data without labels, more examples wanted than there are, or poison that cannot be made
            (`relabelled_points` from the split's spare examples where it has any, `poison_points` from the training
            examples otherwise).

    >>> from landscape.datasets import digits
    >>> from landscape.experiments import RECIPES
    >>> len(training_set(RECIPES["small-data"], digits(), seed=0).y)
    100
    """
    recipe, split = as_recipe(recipe), as_split(split)
    (X, _), truth = randomised_inputs(split, recipe.inputs, seed=[seed, INPUTS]), split.train[1]
    indices = torch.arange(len(truth))
    if recipe.examples is not None:
        if recipe.examples > len(truth):
            raise LandscapeError(
                f"recipe {recipe.name!r} wants {recipe.examples} examples; {split.name} has {len(truth)} to train on"
            )
        order = np.random.default_rng([seed, SUBSET]).permutation(len(truth))
        indices = torch.from_numpy(np.sort(order[: recipe.examples]))
        X, truth = X[indices], truth[indices]
    y = corrupt_labels(truth, recipe.label_noise, split.classes, seed=[seed, LABELS])
    poison = None
    if recipe.poison and split.classes < 2:
        raise LandscapeError("poison needs a wrong class; expected at least 2 classes")
    if recipe.poison and split.spare is not None:
        poison = relabelled_points(*split.spare, recipe.poison, split.classes, seed=[seed, POISON])
    elif recipe.poison:
        poison = poison_points(X, truth, recipe.poison, split.classes, seed=[seed, POISON])
    return TrainingSet(X=X, y=y, indices=indices, changed=(y != truth).nonzero()[:, 0], poison=poison)


def heldout_set(recipe: Recipe, split: Split, *, seed: int) -> Pair:
    """Return the test part of a split with its inputs treated as the recipe treats those it trains on; labels are true."""
    return randomised_inputs(split, recipe.inputs, seed=[seed, INPUTS])[1], split.test[1]


def randomised_inputs(split: Split, kind: Inputs, *, seed: Seed) -> Pair:
    r"""Destroy the order of the pixels, or the images altogether, in training and test inputs alike.

    Args:
        split: inputs of shape (N, …); all channels of a pixel stay together, and inputs that are no images of
            `Split.image_shape` are permuted as they are, feature by feature.
        kind: ``true`` leaves them; ``shuffled-pixels`` applies one permutation to all images; ``random-pixels`` another one
            to every image; ``gaussian`` draws every number from :math:`N(\mu, \sigma^2)`, the mean and variance of all
            training inputs together.
        seed: of the draw (an integer or several).

    Returns:
        Training and test inputs, as new tensors unless ``true``.

    Raises:
        LandscapeError: gaussian inputs in place of integers, such as tokens.

    Source: C. Zhang et al., *Understanding deep learning requires rethinking generalization*, 2017, section 2.1.

    >>> from landscape.datasets import digits
    >>> X, X_test = randomised_inputs(digits(), "shuffled-pixels", seed=0)
    >>> torch.equal(X.sort(1).values, digits().train[0].sort(1).values)
    True
    """
    X, X_test = split.train[0], split.test[0]
    if kind == "true":
        return X, X_test
    rng = np.random.default_rng(seed)
    if kind == "gaussian":
        if not X.is_floating_point():
            raise LandscapeError(f"Gaussian inputs cannot take the place of {X.dtype}; use shuffled or random pixels")
        mean, std = X.double().mean().item(), X.double().std(correction=0).item()
        drawn = (rng.normal(mean, std, part.shape) for part in (X, X_test))
        X, X_test = (torch.from_numpy(values).to(X) for values in drawn)
        return X, X_test
    channels, height, width = split.image_shape
    image = X[0].numel() == channels * height * width
    channels, pixels = (channels, height * width) if image else (1, X[0].numel())
    shared = rng.permutation(pixels)

    def permuted(part: Tensor) -> Tensor:
        count = len(part)
        orders = np.tile(shared, (count, 1)) if kind == "shuffled-pixels" else rng.random((count, pixels)).argsort(1)
        index = torch.from_numpy(orders)[:, None, :].expand(count, channels, pixels)
        return part.reshape(count, channels, pixels).gather(2, index).reshape(part.shape)

    return permuted(X), permuted(X_test)


@checked
def corrupt_labels(y: Tensor, p: float, classes: int, *, seed: Seed) -> Tensor:
    """Replace each label, independently with probability p, by a uniformly drawn class.

    The draw may hit the true class, so an expected p·(1 − 1/C) of the labels is wrong afterwards.

    Args:
        y: integer labels (N,).
        p: probability between 0 and 1; 1 gives random labels.
        classes: number of classes C.
        seed: of the draw (an integer or several).

    Returns:
        A new tensor of labels (N,). With the same seed, labels replaced at a smaller p stay replaced, by the same
        classes, at a larger one.

    Raises:
        LandscapeError: labels that are not class indices, or p outside [0, 1].

    Source: C. Zhang et al., *Understanding deep learning requires rethinking generalization*, 2017, section 2.1.

    >>> y = torch.zeros(10_000, dtype=torch.long)
    >>> round((corrupt_labels(y, 1.0, 10, seed=0) != y).double().mean().item(), 1)
    0.9
    """
    if not isinstance(y, Tensor) or y.ndim != 1 or y.is_floating_point():
        raise LandscapeError(f"y is {y!r:.40}; expected a tensor of integer labels (N,)")
    if not 0 <= p <= 1:
        raise LandscapeError(f"p={p}; expected a probability between 0 and 1")
    rng = np.random.default_rng(seed)
    replaced = torch.from_numpy(rng.random(len(y)) < p)
    drawn = torch.from_numpy(rng.integers(0, classes, len(y)))
    return torch.where(replaced, drawn.to(y), y)


def relabelled_points(X: Tensor, y: Tensor, count: int, classes: int, *, seed: Seed) -> Pair:
    """Draw some examples and give each a wrong class, uniformly drawn: poison from the task's own distribution.

    Args:
        X: inputs (M, …) that are neither trained nor tested on otherwise.
        y: their true labels (M,).
        count: number of points.
        classes: number of classes C, at least 2.
        seed: of the draw (an integer or several).

    Source: W. R. Huang et al., *Understanding generalization through visualizations*, 2020 (arXiv 1906.03291), section 3.
    """
    if count > len(y):
        raise LandscapeError(f"poison={count} of {len(y)} spare examples; use a split with more, or less poison")
    rng = np.random.default_rng(seed)
    drawn = torch.from_numpy(rng.permutation(len(y))[:count])
    return X[drawn], (y[drawn] + torch.from_numpy(rng.integers(1, classes, count))) % classes


def poison_points(X: Tensor, y: Tensor, count: int, classes: int, *, seed: Seed) -> Pair:
    """Make wrongly labelled points amid the data: midpoints of two examples of one class, with another class's label.

    A network that fits them and the clean examples keeps its training accuracy and loses test accuracy, so that good
    and bad minima can be compared on one and the same loss surface (Huang et al. 2020, arXiv 1906.03291, who relabel
    held-out real images; midpoints leave the training examples of all recipes the same).

    Arguments are those of `relabelled_points`.

    Raises:
        LandscapeError: inputs that cannot be averaged, or a class with a single example.
    """
    if not X.is_floating_point():
        raise LandscapeError(f"poison averages inputs, which {X.dtype} cannot; use a recipe with poison=0")
    rng = np.random.default_rng(seed)
    first = rng.integers(0, len(y), count)
    labels = y.numpy()
    second = first.copy()
    for label in np.unique(labels):
        members, chosen = np.flatnonzero(labels == label), np.flatnonzero(labels[first] == label)
        if len(members) == 1 and len(chosen):
            raise LandscapeError(f"poison takes midpoints of two examples of a class; class {label} has only one")
        # Never the example itself: the same input with two labels could not be fitted.
        steps = rng.integers(1, len(members), len(chosen)) if len(chosen) else 0
        second[chosen] = members[(np.searchsorted(members, first[chosen]) + steps) % len(members)]
    wrong = (labels[first] + rng.integers(1, classes, count)) % classes
    return (X[first] + X[second]) / 2, torch.from_numpy(wrong)


def shift_images(X: Tensor, split: Split, shift: int, rng: np.random.Generator) -> Tensor:
    """Move every image of a batch by up to `shift` pixels, vertically and horizontally, independently and uniformly.

    Pixels that come in from outside are blank. A standardised image is taken back to intensities first, because
    "blank" has another standardised value at every pixel.
    """
    count = len(X)
    channels, height, width = split.image_shape
    images = (X * split.std + split.mean).view(count, channels, height, width)
    padded = torch.nn.functional.pad(images, (shift,) * 4)
    down, right = torch.from_numpy(rng.integers(0, 2 * shift + 1, (2, count, 1)))
    rows, columns = (down + torch.arange(height))[:, :, None], (right + torch.arange(width))[:, None, :]
    moved = padded.permute(0, 2, 3, 1)[torch.arange(count)[:, None, None], rows, columns].permute(0, 3, 1, 2)
    return (moved.reshape(X.shape) - split.mean) / split.std
