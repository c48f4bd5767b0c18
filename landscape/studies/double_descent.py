"""Where does the test error peak as networks grow? (Belkin et al. 2019, Nakkiran et al. 2020, Greydanus and Kobak 2020)"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from landscape.datasets import Split, mnist1d
from landscape.datasets.split import Pair
from landscape.errors import LandscapeError
from landscape.function.checkpoint import Checkpoint
from landscape.models import mlp
from landscape.models.common import seeded
from landscape.results import Finding, Trials
from landscape.studies.evaluations import score_rows
from landscape.studies.grid import grid, protocol
from landscape.studies.registry import Experiment, published
from landscape.training import Recipe, corrupt_labels
from landscape.training.training_data import LABELS
from landscape.training.vectorised import stack, train_stacked
from landscape.workers import Workers

INTERPOLATED = 0.01
"""Training error from which a width counts as fitting its data."""
WIDTHS = (10, 20, 30, 40, 50, 80, 160, 320)
PUBLISHED_WIDTHS = (10, 20, 30, 40, 50, 80, 160, 400)
SCORES = ("lambda-max", "trace", "adaptive-average", "weight-norm")

RECIPE = Recipe(name="double-descent", long_name="SGD with momentum 0.9", lr=0.01, momentum=0.9, batch_size=100)
"""Of Greydanus and Kobak 2020; it trains for a fixed number of epochs."""


def he_mlp(width: int, *, inputs: int = 40, classes: int = 10, hidden: int = 2, seed: int = 0) -> nn.Sequential:
    """Build a ReLU network with hidden layers of one width h, He-uniform weights and zero biases: P = 41h + h(h + 1) + 10(h + 1).

    >>> sum(p.numel() for p in he_mlp(40).parameters())
    3690
    """
    network = mlp((inputs, *[width] * hidden, classes), seed=seed)
    with seeded(seed):
        for layer in network:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
    return network


def published_data() -> Split:
    """Return the MNIST-1D of the published curve: 4,000 examples to train and 4,000 to test on."""
    return mnist1d(samples=8000, train_share=0.5)


@published
def double_descent(
    factory: Callable[..., nn.Module] = he_mlp,
    split: Split | Any = None,
    *,
    widths: Sequence[int] = WIDTHS,
    label_noise: float = 0.15,
    epochs: int = 300,
    recipe: Recipe = RECIPE,
    scores: Sequence[str] = SCORES,
    seeds: Sequence[int] = range(3),
    workers: Workers = 1,
    save: str | os.PathLike[str] | None = None,
) -> Trials:
    """Train networks of several widths on noisy labels; measure test error and sharpness along the width.

    The labels are redrawn once, alike for all networks, so that widths and seeds differ in nothing else. Networks of one
    width are trained together. Sharpness is that of the training loss with its noisy labels; once a network fits them
    with confidence, curvature falls with the loss itself, so scores beyond the interpolation threshold also tell how far
    training went (`adaptive-average`, on normalised logits, does not see the confidence).

    Args:
        factory: called with ``(width, seed=)``.
        split: data with labels; `None`: MNIST-1D with 4,000 training examples, made by the package ``mnist1d``.
        label_noise: probability with which a training label is redrawn.
        epochs: passes over the training data; nothing stops earlier.
        recipe: its optimiser, lr, momentum, batch_size and weight_decay are used.
        scores: what to measure of every network, as in `landscape.sharpness`; may be empty.

    Returns:
        `Trials` by width and seed: errors, losses and scores.

    Source: the MNIST-1D protocol of S. Greydanus and D. Kobak, 2020 (arXiv 2011.14439), whose test error over the width
    peaks at 58.1 % for 40 units, where P ≈ N, and is 44.2 % for 400; P. Nakkiran et al. 2020 (arXiv 1912.02292).

    >>> from landscape.datasets import digits
    >>> found = double_descent(partial(he_mlp, inputs=64), digits(train=50), widths=(2, 8), epochs=2, seeds=[0], scores=())
    >>> found.levels("width"), len(found)
    ((2, 8), 2)
    """
    split = published_data() if split is None else split
    if epochs < 1:
        raise LandscapeError(f"{epochs} epochs; expected at least one")
    if recipe.label_noise or recipe.poison or recipe.examples or recipe.shift:
        raise LandscapeError("double descent trains on all examples with label_noise of its own; use a recipe without")
    y = corrupt_labels(split.train[1], label_noise, split.classes, seed=[0, LABELS])
    settings = protocol(
        factory, split, recipe=recipe, widths=widths, label_noise=label_noise, epochs=epochs, scores=scores, seeds=seeds
    )
    wrong = float((y != split.train[1]).double().mean())
    return grid(
        partial(_train_width, factory, (split.train[0], y), split.test, recipe, epochs, list(seeds), tuple(scores)),
        {"width": widths},
        name=STUDY.name,
        settings=settings,
        also=("seed",),
        findings=partial(_findings, scores=scores, examples=len(y), wrong=wrong),
        view={"x": "width", "y": [("test/error", "train/error"), *scores]},
        words={"width": "hidden units per layer", "test": "test", "train": "training"},
        workers=workers,
        save=save,
        desc="widths",
    )


def _train_width(
    factory: Callable[..., nn.Module],
    train: Pair,
    test: Pair,
    recipe: Recipe,
    epochs: int,
    seeds: list[int],
    scores: tuple[str, ...],
    *,
    width: int,
) -> list[dict[str, Any]]:
    everything = torch.arange(len(train[1])).expand(len(seeds), -1)
    trained = train_stacked(
        stack(partial(factory, width), seeds), *train, everything, recipe, epochs=epochs, seeds=seeds
    )
    parameters = sum(part[0].numel() for part in trained.parameters.values())
    fits = {
        f"{part}/{measure}": values
        for part, pair in (("train", train), ("test", test))
        for measure, values in (("error", 1 - trained.accuracy(*pair)), ("loss", trained.losses(*pair)))
    }
    rows = []
    for k, seed in enumerate(seeds):
        checkpoint = Checkpoint(trained.module, trained.network(k), loss="cross_entropy", train=train)
        panel = score_rows(checkpoint.objective("train"), scores, seed, checkpoint)
        row = {"seed": seed, "parameters": parameters, **{name: float(values[k]) for name, values in fits.items()}}
        rows.append(row | {name: panel[name][0].value for name in scores})  # the first radius where there are several
    return rows


def interpolation(trials: Trials) -> int | None:
    """Return the smallest width whose mean training error is at most 1 %, None if there is none."""
    cells = trials.by("width")
    fitted = cells["width"][cells["train/error"] <= INTERPOLATED]
    return int(fitted[0]) if len(fitted) else None


def peak(trials: Trials, name: str = "test/error") -> int | None:
    """Return the width at which a mean is largest beyond the first, classical descent of the test error.

    The classical minimum is the smallest test error at widths that do not yet fit the training data. None where there is
    no such peak: the largest value lies at the minimum itself or at the largest width.
    """
    cells = trials.by("width")
    error, fitted = cells["test/error"], cells["train/error"] <= INTERPOLATED
    end = int(np.argmax(fitted)) if fitted.any() else len(error)
    if end == 0:
        return None
    first = int(np.argmin(error[:end]))
    top = first + int(np.argmax(cells[name][first:]))
    return int(cells["width"][top]) if first < top < len(error) - 1 else None


def _findings(trials: Trials, scores: Sequence[str], examples: int, wrong: float) -> Iterator[Finding]:
    cells, top, fitted = trials.by("width"), peak(trials), interpolation(trials)
    widths, error = cells["width"], 100 * cells["test/error"]
    yield Finding("data", f"{examples} examples, {100 * wrong:.1f} % of the training labels wrong")
    if top is None:
        each = ", ".join(f"{value:.1f} % at {width}" for width, value in zip(widths, error, strict=True))
        yield Finding("test error", f"no second descent: {each}")
    else:
        at = int(np.flatnonzero(widths == top)[0])
        text = f"peaks at width {top} with {error[at]:.1f} %, falls to {error[at:].min():.1f} % beyond it"
        yield Finding("test error", text)
    yield Finding("training data fitted", "at no width" if fitted is None else f"from width {fitted}")
    for name in scores:
        at_width = peak(trials, name)
        yield Finding(name, "has no peak within the widths" if at_width is None else f"peaks at width {at_width}")


STUDY = Experiment(
    name="double-descent",
    question="Where does the test error peak as networks grow, and does sharpness peak there too?",
    function=double_descent,
    full={"widths": PUBLISHED_WIDTHS, "epochs": 900},
    quick={"widths": (4, 16, 64), "epochs": 10, "seeds": (0,), "scores": ("lambda-max",)},
)
