"""Is a wide network lazy? Weights, tangent kernel and linearisation over the width, for true and for random labels."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from landscape.arguments import numbers_checked, several, several_seeds
from landscape.datasets import Split, digits
from landscape.errors import LandscapeError, NumericalError
from landscape.models.common import seeded
from landscape.results.kernel_regime import KernelRegime, KernelRun
from landscape.scores import sharpness
from landscape.training.checkpoints import as_checkpoint
from landscape.training.factories import as_split, check_width_factory
from landscape.training.jobs import Row, finished_rows, run_jobs
from landscape.training.recipes import Recipe, check_recipe
from landscape.training.runs import ModelFactory, describe_model
from landscape.training.train import train

NAME = "kernel-regime"
WIDTHS = (16, 64, 256, 1024, 4096)
LABELS = {"true": 0.0, "random": 1.0}

RECIPE = Recipe(name="kernel-regime", long_name="SGD", lr=1.0, batch_size=50, target=0.1, max_epochs=4000)
"""One step size for all widths, which the network's parametrisation allows."""


class ScaledLinear(nn.Linear):
    """A linear layer in the parametrisation of the tangent kernel: y = (gain/√inputs) W x, W standard normal, no bias.

    Args:
        inputs: features in.
        outputs: features out.
        gain: √2 before a ReLU, 1 at the output.
    """

    def __init__(self, inputs: int, outputs: int, *, gain: float):
        super().__init__(inputs, outputs, bias=False)
        self.scale = gain / math.sqrt(inputs)
        nn.init.normal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Return (gain/√inputs) W x."""
        return self.scale * F.linear(x, self.weight)


def ntk_mlp(width: int, *, inputs: int = 64, classes: int = 10, hidden: int = 1, seed: int = 0) -> nn.Sequential:
    """Build a ReLU network whose tangent kernel has a limit as the width grows.

    Args:
        width: hidden units a layer; with one layer, P = (inputs + classes)·width.
        inputs: features of an example.
        classes: logits C.
        hidden: hidden layers.
        seed: of the weights.

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


@numbers_checked
def kernel_regime(
    factory: Callable[..., nn.Module] = ntk_mlp,
    split: Split | Any = None,
    *,
    widths: Sequence[int] = WIDTHS,
    labels: Sequence[str] = ("true", "random"),
    recipe: Recipe = RECIPE,
    examples: int = 100,
    seeds: Iterable[int] = range(3),
    workers: int = 1,
    save: str | os.PathLike[str] | None = None,
) -> KernelRegime:
    r"""Train networks of several widths to one training loss; measure how far each left the kernel it started with.

    Relative weight movement :math:`\lVert w - w_0\rVert/\lVert w_0\rVert`, change and distance of the tangent kernel
    :math:`\Theta = JJ^T`, the part of the outputs that the expansion at :math:`w_0` misses, the share of test inputs on
    which the linearised network, trained with the same schedule, decides alike, and the alignment of the kernel with the
    labels, before and after. All are scores of `landscape.scores`. In the kernel regime the first three vanish with the
    width and the agreement goes to one. Random labels are aligned less with the kernel, which predicts slower fitting.

    Args:
        factory: called with ``(width, seed=)``.
        split: data with labels; `None`: 200 of the embedded digits to train on, the rest to test on.
        widths: at least two.
        labels: of ``true`` and ``random``; random ones are redrawn with every seed.
        recipe: SGD and the training loss to stop at; runs that do not get there are reported and not compared.
        examples: training examples the kernel is computed on.
        seeds: one network of each width and kind of labels a seed.
        workers: processes.
        save: study file to keep the result in, as ``kernel-regime``; finished runs survive an interruption.

    Returns:
        A `KernelRegime`.

    Raises:
        LandscapeError: data without labels, unknown labels, fewer than two widths, a factory that does not fit, a recipe
            other than SGD, or a study begun with other settings.

    Source: Jacot et al. 2018 (arXiv 1806.07572); Chizat et al. 2019 (arXiv 1812.07956); Lee et al. 2019 (arXiv
    1902.06720); Fort et al. 2020 (arXiv 2010.15110); for labels, Arora et al. 2019 (arXiv 1901.08584).

    >>> easy = dataclasses.replace(RECIPE, target=1.5, target_accuracy=0.0)
    >>> found = kernel_regime(split=digits(train=60), widths=(8, 32), recipe=easy, examples=20, seeds=[0])
    >>> found.labels, len(found.runs)
    (('true', 'random'), 4)
    """
    split = digits(train=200) if split is None else as_split(split)
    check_recipe(recipe)
    widths, seeds, labels = several(widths, "widths"), several_seeds(seeds), list(labels)
    _check(widths, seeds, labels, recipe, examples)
    check_width_factory(factory, widths, split.train[0][:2], classes=split.classes)
    settings = {
        "model": describe_model(factory),
        "data": split.fingerprint,
        "recipe": dataclasses.asdict(recipe),
        "widths": widths,
        "labels": labels,
        "examples": examples,
        "seeds": seeds,
    }
    jobs = {
        f"{name}-{width}-{seed}": (partial(factory, width), split, recipe, name, width, examples, seed)
        for name in labels
        for width in widths
        for seed in seeds
    }
    with finished_rows(save, NAME, settings) as done:
        run_jobs(_train, jobs, done, workers=workers, desc="networks")
        result = KernelRegime(
            runs=tuple(KernelRun(**done[key]) for key in jobs),
            examples=len(split.train[1]) if recipe.examples is None else recipe.examples,
            settings=settings,
        )
        return done.conclude(result)


def _check(widths: list[int], seeds: list[int], labels: list[str], recipe: Recipe, examples: int) -> None:
    unknown = [name for name in labels if name not in LABELS]
    if unknown or not labels:
        raise LandscapeError(f"labels {', '.join(unknown) or 'are missing'}; expected some of {', '.join(LABELS)}")
    if len(widths) < 2 or any(a >= b for a, b in pairwise(widths)) or widths[0] < 1 or not seeds or examples < 2:
        raise LandscapeError(
            f"widths {widths}, {len(seeds)} seeds, {examples} examples; expected ascending widths, a seed, two examples"
        )
    if recipe.optimiser != "sgd" or recipe.shift or recipe.poison or recipe.weight_decay or recipe.label_noise:
        raise LandscapeError(
            "the linearised network is trained by plain SGD on the same examples; use a recipe of SGD without "
            "weight_decay, shift, poison or label_noise"
        )


def _train(
    factory: ModelFactory, split: Split, recipe: Recipe, labels: str, width: int, examples: int, seed: int
) -> Row:
    """Train one network and measure how far it left its kernel."""
    run = train(dataclasses.replace(recipe, label_noise=LABELS[labels]), split, factory, seed=seed)
    checkpoint = as_checkpoint(run, factory)
    after = checkpoint.objective("train")
    moved = ["relative-movement", "ntk-movement", "ntk-distance", "ntk-alignment", "linearisation-error"]
    options = {"ntk-movement": {"examples": examples}, "ntk-alignment": {"examples": examples}}
    values = _values(sharpness(after, moved, seed=seed, checkpoint=checkpoint, options=options))
    before = sharpness(
        after.at(run.init), ["ntk-alignment"], seed=seed, options={"ntk-alignment": {"examples": examples}}
    )
    try:
        test = sharpness(checkpoint.objective("test"), ["linearised-agreement"], seed=seed, checkpoint=checkpoint)
        agreement = _values(test)["linearised-agreement"]
    except NumericalError:  # the linearised network diverges: there is nothing to agree with
        agreement = math.nan
    return {
        "labels": labels,
        "width": width,
        "parameters": after.size,
        "seed": seed,
        "reached": run.reached,
        "epochs": int(run.history.epoch[-1]),
        "train_loss": run.train_loss,
        "train_accuracy": run.train_accuracy,
        "test_accuracy": run.test_accuracy,
        "relative_movement": values["relative-movement"],
        "kernel_movement": values["ntk-movement"],
        "kernel_distance": values["ntk-distance"],
        "linearisation_error": values["linearisation-error"],
        "agreement": agreement,
        "alignment_before": _values(before)["ntk-alignment"],
        "alignment_after": values["ntk-alignment"],
    }


def _values(found: Any) -> dict[str, float]:
    return {row.name: row.value for row in found.rows}
