"""Tasks in the plane that small networks learn in seconds, whose test examples are as many as one likes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from landscape.datasets.split import Pair, Split
from landscape.errors import LandscapeError

Sampler = Callable[[np.random.Generator, int], tuple[np.ndarray, np.ndarray]]


def kink(*, seed: int = 0, train: int = 16, test: int = 1000, spare: int = 100, margin: float = 0.25) -> Split:
    """Draw points of two parallel bent lines, y = −|x| (class 1) and y = −|x| + margin (class 0), |x| ≤ 1.

    Args:
        seed: of the draw.
        train, test, spare: numbers of examples; poison is made of the spare ones.
        margin: distance between the lines.

    Returns:
        A `Split` with inputs (N, 2), not standardised.

    Raises:
        LandscapeError: no training or test examples.

    Source: P. Chiang et al., *Loss landscapes are all you need: neural network generalization can be explained without
    the implicit bias of gradient descent*, ICLR 2023, figure 2.

    >>> kink()
    Split('kink', train=16, test=1000, example=(2,), classes=2, fingerprint=...)
    """

    def draw(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        x, y = rng.uniform(-1, 1, count), rng.integers(0, 2, count)
        return np.stack([x, -np.abs(x) + margin * (1 - y)], axis=1), y

    return _planar("kink", draw, seed=seed, train=train, test=test, spare=spare, margin=margin)


def slab(*, seed: int = 0, train: int = 200, test: int = 1000, spare: int = 100) -> Split:
    """Draw points of four slabs stacked in y, alternately left (class 1) and right (class 0) of a gap about x = 0.

    Two rules separate the classes with the same margin of 0.1: the straight line x = 0, and a zigzag between the slabs.

    Args:
        seed: of the draw.
        train, test, spare: numbers of examples; poison is made of the spare ones.

    Returns:
        A `Split` with inputs (N, 2), not standardised.

    Raises:
        LandscapeError: no training or test examples.

    Source: P. Chiang et al., *Loss landscapes are all you need*, ICLR 2023, figure 3.
    """
    margin, slabs = 0.1, 4
    thickness = (2 - (slabs - 1) * 2 * margin) / slabs

    def draw(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        which = rng.integers(0, slabs, count)
        y = 1 - which * (thickness + 2 * margin) - thickness * rng.random(count)
        x = rng.uniform(margin, 1, count) * np.where(which % 2 == 0, -1, 1)
        return np.stack([x, y], axis=1), 1 - which % 2

    return _planar("slab", draw, seed=seed, train=train, test=test, spare=spare)


def spirals(*, seed: int = 0, train: int = 400, test: int = 2000, spare: int = 400, noise: float = 0.5) -> Split:
    r"""Draw points of two interleaved spirals, :math:`\pm 1.5\,n\,(-\cos n, \sin n)` plus noise, n up to 600°.

    Args:
        seed: of the draw.
        train, test, spare: numbers of examples; poison is made of the spare ones.
        noise: standard deviation of both coordinates, before they are divided by 8 to be of order one.

    Returns:
        A `Split` with inputs (N, 2).

    Raises:
        LandscapeError: no training or test examples.

    Source: W. R. Huang et al., *Understanding generalization through visualizations*, 2020 (arXiv 1906.03291), the
    "swiss roll" of figures 3, 5 and 6.
    """

    def draw(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.integers(0, 2, count)
        n = np.sqrt(rng.random(count)) * np.radians(600)
        arm = 1.5 * n[:, None] * np.stack([-np.cos(n), np.sin(n)], axis=1)
        return (arm * (1 - 2 * y)[:, None] + noise * rng.standard_normal((count, 2))) / 8, y

    return _planar("spirals", draw, seed=seed, train=train, test=test, spare=spare, noise=noise)


def _planar(name: str, draw: Sampler, *, seed: int, train: int, test: int, spare: int, **settings: Any) -> Split:
    if train < 1 or test < 1 or spare < 0:
        raise LandscapeError(
            f"{name}: train={train}, test={test}, spare={spare}; expected at least 1, 1 and 0 examples"
        )
    # A stream for each part: more examples of one leave the others as they are.
    parts: Mapping[str, Pair] = {
        part: _tensors(*draw(np.random.default_rng([seed, stream]), count))
        for stream, (part, count) in enumerate({"train": train, "test": test, "spare": spare}.items())
    }
    return Split(
        name=name,
        train=parts["train"],
        test=parts["test"],
        spare=parts["spare"] if spare else None,
        classes=2,
        image_shape=(1, 1, 2),
        mean=torch.zeros(2),
        std=torch.ones(2),
        arguments={"seed": seed, "train": train, "test": test, "spare": spare, **settings},
    )


def _tensors(X: np.ndarray, y: np.ndarray) -> Pair:
    return torch.from_numpy(X.astype(np.float32)), torch.from_numpy(y.astype(np.int64))
