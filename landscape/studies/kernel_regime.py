"""Is a wide network lazy? Weights, tangent kernel and linearisation over the width, for true and for random labels."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.nn import functional as F

from landscape.datasets import Split, digits
from landscape.errors import LandscapeError, NumericalError
from landscape.models.common import seeded
from landscape.results import Finding, Trials
from landscape.scores import sharpness
from landscape.studies.grid import Row, grid, protocol
from landscape.studies.registry import Experiment, published
from landscape.training import Recipe, as_checkpoint, train
from landscape.workers import Workers

WIDTHS = (16, 64, 256, 1024, 4096)
LABELS = {"true": 0.0, "random": 1.0}

LAZINESS = (
    "weight movement",
    "kernel change",
    "kernel distance",
    "linearisation error",
    "agreement with linearised",
    "alignment before",
    "alignment after",
)
"""Measures, as in the table: ‖w − w₀‖/‖w₀‖; ‖Θ − Θ₀‖_F/‖Θ₀‖_F; 1 − ⟨Θ, Θ₀⟩/(‖Θ‖_F‖Θ₀‖_F); what the expansion at w₀ misses of
the change of the training outputs; share of the test inputs classified as by the linearised network trained alike (NaN where
that diverged); centred alignment of the kernel with the training labels, before and after training."""

RECIPE = Recipe(name="kernel-regime", long_name="SGD", lr=1.0, batch_size=50, target=0.1, max_epochs=4000)
"""One step size for all widths, which the network's parametrisation allows."""


class ScaledLinear(nn.Linear):
    """A linear layer in the parametrisation of the tangent kernel: y = (gain/√inputs) W x, W standard normal, no bias.

    The gain is √2 before a ReLU and 1 at the output.
    """

    def __init__(self, inputs: int, outputs: int, *, gain: float):
        super().__init__(inputs, outputs, bias=False)
        self.scale = gain / math.sqrt(inputs)
        nn.init.normal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return (gain/√inputs) W x."""
        return self.scale * F.linear(x, self.weight)


def ntk_mlp(width: int, *, inputs: int = 64, classes: int = 10, hidden: int = 1, seed: int = 0) -> nn.Sequential:
    """Build a ReLU network whose tangent kernel has a limit as the width grows; P = (inputs + classes)·width of one layer.

    Source: Jacot et al. 2018 (arXiv 1806.07572), section 2; Lee et al. 2019 (arXiv 1902.06720).

    >>> sum(p.numel() for p in ntk_mlp(16).parameters())
    1184
    """
    sizes = (inputs, *[width] * hidden)
    with seeded(seed):
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(sizes):
            layers += [ScaledLinear(before, after, gain=math.sqrt(2)), nn.ReLU()]
        layers.append(ScaledLinear(sizes[-1], classes, gain=1.0))
    return nn.Sequential(*layers)


@published
def kernel_regime(
    factory: Callable[..., nn.Module] = ntk_mlp,
    split: Split | Any = None,
    *,
    widths: Sequence[int] = WIDTHS,
    labels: Sequence[str] = ("true", "random"),
    recipe: Recipe = RECIPE,
    examples: int = 100,
    seeds: Sequence[int] = range(3),
    workers: Workers = 1,
    save: str | os.PathLike[str] | None = None,
) -> Trials:
    r"""Train networks of several widths to one training loss; measure how far each left the kernel it started with.

    Relative weight movement :math:`\lVert w - w_0\rVert/\lVert w_0\rVert`, change and distance of the tangent kernel
    :math:`\Theta = JJ^T`, the part of the outputs that the expansion at :math:`w_0` misses, the share of test inputs on
    which the linearised network, trained with the same schedule, decides alike, and the alignment of the kernel with the
    labels, before and after. All are scores of `landscape.scores`. In the kernel regime the first three vanish with the
    width and the agreement goes to one. Random labels are aligned less with the kernel, which predicts slower fitting.

    Args:
        factory: called with ``(width, seed=)``.
        split: data with labels; `None`: 200 of the embedded digits to train on, the rest to test on.
        labels: of ``true`` and ``random``; random ones are redrawn with every seed.
        recipe: SGD and the training loss to stop at; runs that do not get there are reported and not compared.
        examples: training examples the kernel is computed on.

    Returns:
        `Trials` by labels, width and seed, with the measures of `LAZINESS`.

    Source: Jacot et al. 2018 (arXiv 1806.07572); Chizat et al. 2019 (arXiv 1812.07956); Lee et al. 2019 (arXiv
    1902.06720); Fort et al. 2020 (arXiv 2010.15110); for labels, Arora et al. 2019 (arXiv 1901.08584).

    >>> easy = dataclasses.replace(RECIPE, target=1.5, target_accuracy=0.0)
    >>> found = kernel_regime(split=digits(train=60), widths=(8, 32), recipe=easy, examples=20, seeds=[0])
    >>> found.levels("labels"), len(found)
    (('true', 'random'), 4)
    """
    split, labels = digits(train=200) if split is None else split, list(labels)
    unknown = [name for name in labels if name not in LABELS]
    if unknown or not labels:
        raise LandscapeError(f"labels {', '.join(unknown) or 'are missing'}; expected some of {', '.join(LABELS)}")
    if examples < 2:
        raise LandscapeError(f"{examples} examples; expected two or more, whose kernel can change")
    if recipe.optimiser != "sgd" or recipe.shift or recipe.poison or recipe.weight_decay or recipe.label_noise:
        raise LandscapeError(
            "the linearised network is trained by plain SGD on the same examples; use a recipe of SGD without "
            "weight_decay, shift, poison or label_noise"
        )
    return grid(
        partial(_train, factory, split, recipe, examples),
        {"labels": labels, "width": widths, "seed": seeds},
        name=STUDY.name,
        settings=protocol(factory, split, recipe=recipe, widths=widths, labels=labels, examples=examples, seeds=seeds),
        findings=partial(_findings, examples=len(split.train[1]) if recipe.examples is None else recipe.examples),
        shown=("epoch", "test/accuracy", *LAZINESS),
        view={"x": "width", "hue": "labels", "y": [*LAZINESS[:5], LAZINESS[5:]]},
        workers=workers,
        save=save,
        desc="networks",
    )


def _train(
    factory: Callable[..., nn.Module],
    split: Split,
    recipe: Recipe,
    examples: int,
    *,
    labels: str,
    width: int,
    seed: int,
) -> Row:
    build = partial(factory, width)
    run = train(dataclasses.replace(recipe, label_noise=LABELS[labels]), split, build, seed=seed)
    checkpoint = as_checkpoint(run, build)
    after = checkpoint.objective("train")
    few = {"examples": examples}
    moved = ["relative-movement", "ntk-movement", "ntk-distance", "linearisation-error", "ntk-alignment"]
    options = {"ntk-movement": few, "ntk-alignment": few}
    values = sharpness(after, moved, seed=seed, checkpoint=checkpoint, options=options)
    before = sharpness(after.at(run.init), ["ntk-alignment"], seed=seed, options={"ntk-alignment": few})
    try:
        test = sharpness(checkpoint.objective("test"), ["linearised-agreement"], seed=seed, checkpoint=checkpoint)
        agreement = test["linearised-agreement"].value
    except NumericalError:  # the linearised network diverges: there is nothing to agree with
        agreement = math.nan
    *first, aligned = (values[name].value for name in moved)
    laziness = (*first, agreement, before["ntk-alignment"].value, aligned)
    return {"parameters": after.size, **run.measures, **dict(zip(LAZINESS, laziness, strict=True))}


def exponent(trials: Trials, measure: str) -> float:
    """Return the slope of log mean over log width; the theory of wide networks gives −1/2 for weight movement.

    NaN where fewer than two widths have a positive mean.
    """
    cells = trials.by("width")
    widths, mean = cells["width"], cells[measure]
    usable = np.isfinite(mean) & (mean > 0)
    if usable.sum() < 2:
        return math.nan
    return float(np.polyfit(np.log(widths[usable]), np.log(mean[usable]), 1)[0])


def _findings(trials: Trials, examples: int) -> Iterator[Finding]:
    widths = sorted(trials.levels("width"))
    yield Finding("networks", f"{len(trials)} on {examples} examples, widths {widths[0]} to {widths[-1]}")
    for labels in trials.levels("labels"):
        part = trials.where(labels=labels)
        for measure in LAZINESS:
            first, last = part.by("width")[measure][[0, -1]]
            if np.isfinite(first + last):
                yield Finding(
                    f"{measure}, {labels} labels",
                    f"{first:.3g} at width {widths[0]}, {last:.3g} at {widths[-1]} (∝ width^{exponent(part, measure):.2f})",
                )


STUDY = Experiment(
    name="kernel-regime",
    question="Is a wide network lazy: do its weights, kernel and linearisation stay where they were?",
    function=kernel_regime,
    full={"seeds": range(2)},
    quick={"widths": (16, 128), "labels": ("true",), "seeds": (0,)},
)
