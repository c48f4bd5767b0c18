"""MNIST-1D: procedural digits of 40 numbers, made on the spot by the ``mnist1d`` package."""

from __future__ import annotations

import random

import numpy as np
import torch

from landscape.datasets.split import Pair, Split
from landscape.errors import LandscapeError


def mnist1d(
    *,
    samples: int = 5000,
    train_share: float = 0.8,
    corr_noise_scale: float = 0.25,
    iid_noise_scale: float = 0.02,
    seed: int = 42,
) -> Split:
    """Make MNIST-1D; nothing is downloaded, and the same arguments give the same data.

    The inputs are centred and scaled to variance one over all examples and features, as that package does.

    Args:
        samples: number of examples, a multiple of 10; the default data set has 4,000 to train and 1,000 to test on.
        train_share: share of them to train on.
        corr_noise_scale: amplitude of the smooth noise.
        iid_noise_scale: amplitude of the white noise.
        seed: of every draw.

    Returns:
        A `Split` of inputs (N, 40) in float32 and labels 0 … 9.

    Raises:
        LandscapeError: the package is not installed, or there would be no training or no test example.

    Source: S. Greydanus and D. Kobak, *Scaling down deep learning with MNIST-1D*, 2020 (arXiv 2011.14439).

    >>> mnist1d(samples=100)  # doctest: +SKIP
    Split('mnist1d', train=80, test=20, example=(40,), classes=10, fingerprint=...)
    """
    first = int(samples * train_share)
    if samples < 10 or samples % 10 or not 0 < first < samples:
        raise LandscapeError(
            f"samples={samples}, train_share={train_share}; expected a multiple of 10, and examples in both parts"
        )
    try:
        from mnist1d.data import get_dataset_args, make_dataset
    except ImportError as error:
        raise LandscapeError(
            "MNIST-1D is made by a package that is not installed: pip install 'landscape-sharpness[mnist1d]', "
            "or pass another data set"
        ) from error
    noise = {"corr_noise_scale": corr_noise_scale, "iid_noise_scale": iid_noise_scale}
    options = get_dataset_args()
    vars(options).update(num_samples=samples, train_split=train_share, seed=seed, **noise)
    # That package draws from the global generators of Python and NumPy.
    before = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        made = make_dataset(options)
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])  # noqa: NPY002

    def part(inputs: str, labels: str) -> Pair:
        return torch.from_numpy(made[inputs].astype(np.float32)), torch.from_numpy(made[labels].astype(np.int64))

    return Split(
        name="mnist1d",
        train=part("x", "y"),
        test=part("x_test", "y_test"),
        classes=10,
        image_shape=(1, 1, made["x"].shape[1]),
        mean=torch.zeros(made["x"].shape[1]),
        std=torch.ones(made["x"].shape[1]),
        arguments={"samples": samples, "train_share": train_share, **noise, "seed": seed},
    )
