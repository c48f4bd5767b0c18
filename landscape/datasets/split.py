"""A data set cut into training and test parts, with what is needed to cut it the same way again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.hashing import fingerprint

Pair = tuple[Tensor, Tensor]
_CLASSES = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Training and test examples of a classification data set.

    Inputs are ``(raw − mean) / std`` with raw intensities in [0, 1] and statistics of the training examples only.

    Attributes:
        name: slug of the data set, e.g. ``digits``.
        train: inputs (N, …) and integer labels (N,).
        test: the same for examples that are never trained on.
        classes: number of classes C; labels are 0 … C−1.
        image_shape: channels, height and width of one example, also when inputs are flattened.
        mean: training mean, in a shape that broadcasts against one example; zero if not standardised.
        std: training standard deviation likewise; one where a pixel is constant.
        arguments: the keyword arguments that make this split again, without folders.
        train_indices: positions of the training examples in the source, or None where the source is split already.
        test_indices: the same for the test examples.
        spare: further examples with true labels, in neither part, or None.
    """

    name: str
    train: Pair
    test: Pair
    classes: int
    image_shape: tuple[int, int, int]
    mean: Tensor
    std: Tensor
    arguments: Mapping[str, Any]
    train_indices: Tensor | None = None
    test_indices: Tensor | None = None
    spare: Pair | None = None

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of training and test inputs and labels."""
        return fingerprint(*self.train, *self.test)

    def __repr__(self) -> str:
        (X, y), (X_test, _) = self.train, self.test
        return (
            f"Split({self.name!r}, train={len(y)}, test={len(X_test)}, example={tuple(X.shape[1:])}, "
            f"classes={self.classes}, fingerprint={self.fingerprint[:12]!r})"
        )


def split_from_images(
    name: str,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    /,
    *,
    maximum: int,
    pooled: tuple[int, ...],
    standardize: bool,
    flatten: bool,
    **arguments: Any,
) -> Split:
    """Scale raw images (N, channels, height, width) of ten classes to [0, 1], standardise them and make a `Split`.

    Args:
        name: slug of the data set.
        train: raw integer images and labels; the statistics are theirs.
        test: raw integer images and labels.
        maximum: largest raw intensity.
        pooled: axes that share one mean and standard deviation: (0,) for one per pixel, (0, 2, 3) for one per channel.
        standardize: subtract the mean and divide by the standard deviation.
        flatten: inputs of shape (N, features) rather than (N, channels, height, width).
        arguments: what else to record for making the split again.

    Raises:
        LandscapeError: an empty part, counts of images and labels that differ, labels out of range.
    """
    _check(name, "training", *train)
    _check(name, "test", *test)
    shape = train[0].shape[1:]
    X, X_test = (torch.from_numpy(images.astype(np.float32) / maximum) for images in (train[0], test[0]))
    mean, std = torch.zeros(1, *shape), torch.ones(1, *shape)
    if standardize:
        mean = mean + X.mean(pooled, keepdim=True)
        std = std * X.std(pooled, keepdim=True, correction=0)
        # A pixel that never varies has no scale of its own (rounding may give it a tiny one): keep it as it is.
        constant = X.amax(pooled, keepdim=True) == X.amin(pooled, keepdim=True)
        std = torch.where(constant, torch.ones_like(std), std)
    X, X_test = (X - mean) / std, (X_test - mean) / std
    if flatten:
        X, X_test, mean, std = (tensor.flatten(1) for tensor in (X, X_test, mean, std))
    y, y_test = (torch.from_numpy(labels.astype(np.int64)) for labels in (train[1], test[1]))
    return Split(
        name=name,
        train=(X, y),
        test=(X_test, y_test),
        classes=_CLASSES,
        image_shape=(int(shape[0]), int(shape[1]), int(shape[2])),
        mean=mean[0],
        std=std[0],
        arguments={**arguments, "standardize": standardize, "flatten": flatten},
    )


def _check(name: str, part: str, images: np.ndarray, labels: np.ndarray) -> None:
    if len(images) == 0:
        raise LandscapeError(f"{name}: the {part} part is empty; expected at least one example")
    if len(images) != len(labels):
        raise LandscapeError(f"{name}: {len(images)} {part} images but {len(labels)} labels; expected one label each")
    if labels.max() >= _CLASSES:
        raise LandscapeError(f"{name}: {part} label {labels.max()} is out of range; expected 0 to {_CLASSES - 1}")
