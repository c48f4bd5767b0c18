"""Do large batches find sharper minima than small ones? (Keskar et al. 2017)"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from torch import nn

from landscape.datasets import Split, digits
from landscape.errors import LandscapeError
from landscape.models.common import seeded
from landscape.results import Effect, Finding, Trials
from landscape.scores import sharpness
from landscape.studies.grid import Row, grid, protocol
from landscape.studies.registry import Experiment, published
from landscape.tables import Measured, number_text, over_seeds
from landscape.training import ModelFactory, Recipe, as_checkpoint, train
from landscape.workers import Workers

MATCHINGS = {"epochs": "equal epochs", "loss": "equal training loss", "steps": "equal steps"}
"""What small and large batches may have in common when they are compared, in words."""
SCORES = ("keskar", "lambda-max")
RADII = {"keskar": (1e-3, 5e-4)}
"""The ε of the published table."""

RECIPE = Recipe(name="large-batch", long_name="Adam", optimiser="adam", lr=1e-3, max_epochs=1000)

_UNREACHABLE = 1e-300
"""A target that never stops the training, where its length is given."""


def f1_mlp(width: int = 512, *, inputs: int = 64, classes: int = 10, hidden: int = 5, seed: int = 0) -> nn.Sequential:
    """Build a network like F1 of Keskar et al. 2017: hidden layers of 512 ReLU units, each with batch norm.

    >>> len([layer for layer in f1_mlp(8) if isinstance(layer, nn.BatchNorm1d)])
    5
    """
    with seeded(seed):
        layers: list[nn.Module] = [nn.Flatten()]
        for layer in range(hidden):
            layers += [nn.Linear(width if layer else inputs, width), nn.BatchNorm1d(width), nn.ReLU()]
        layers.append(nn.Linear(width, classes))
    return nn.Sequential(*layers)


@published
def large_batch(
    factory: ModelFactory = f1_mlp,
    split: Split | Any = None,
    *,
    small: int = 16,
    large: int | None = None,
    recipe: Recipe = RECIPE,
    epochs: int = 30,
    matchings: Sequence[str] = ("epochs", "loss"),
    scores: Sequence[str] = SCORES,
    radii: Mapping[str, Sequence[float]] = RADII,
    seeds: Sequence[int] = range(6),
    workers: Workers = 1,
    save: str | os.PathLike[str] | None = None,
) -> Trials:
    r"""Train with small and with large batches and compare the sharpness of what they find.

    Keskar's is :math:`100\,(\max_{|y_i| \le \epsilon(|w_i|+1)} L(w + y) - L(w))/(1 + L(w))` in the full space. At equal epochs,
    as published, the arms differ in training loss and in steps as well, on which every such score depends; at equal loss
    they do not. Norm statistics are re-estimated over the training data before anything is measured.

    Args:
        split: data with labels; `None`: the embedded digits, 1,000 to train on.
        small: examples per step of the first arm.
        large: of the second; `None`: a tenth of the training data, as published.
        recipe: optimiser, learning rate and, for ``loss``, the training loss to stop at.
        epochs: length of the training at equal epochs, and of the small-batch one at equal steps.
        matchings: of ``epochs``, ``loss`` and ``steps``.
        scores: what to measure, as in `landscape.sharpness`.
        radii: their radii by slug.

    Returns:
        `Trials` by matching, batch and seed, with large against small batches in each score; networks that never reached a
        target loss are kept and not compared.

    Source: N. S. Keskar et al., *On large-batch training for deep learning*, 2017 (arXiv 1609.04836), table 3: for F1 on
    MNIST at ε = 10⁻³, 205.14 against 1.23 (a ratio of 167), at 5·10⁻⁴ 42.90 against 0.61. For what the number of steps
    has to do with it: E. Hoffer et al. 2017 (arXiv 1705.08741).

    >>> from functools import partial
    >>> options = {"epochs": 3, "matchings": ["epochs"], "scores": ["keskar"], "seeds": [0]}
    >>> found = large_batch(partial(f1_mlp, 16), digits(train=60), small=3, **options)
    >>> found["batch size"].tolist(), [effect.measure for effect in found.effects]
    ([3, 6], ['keskar/0.001', 'keskar/0.0005'])
    """
    split, matchings = digits() if split is None else split, list(matchings)
    sizes = {"small": small, "large": max(1, len(split.train[1]) // 10) if large is None else large}
    unknown = [name for name in matchings if name not in MATCHINGS]
    if unknown or not matchings:
        raise LandscapeError(
            f"matchings {', '.join(unknown) or 'are missing'}; expected some of {', '.join(MATCHINGS)}"
        )
    if not 1 <= small < sizes["large"] or epochs < 1:
        raise LandscapeError(
            f"batches of {small} and {sizes['large']}, {epochs} epochs; expected a small batch below the large one, and "
            "an epoch"
        )
    if recipe.examples is not None or recipe.poison:
        raise LandscapeError("the arms train on the whole training part; use a recipe without examples or poison")
    chosen = {name: list(radii[name]) for name in scores if name in radii}
    settings = protocol(
        factory, split, recipe=recipe, sizes=sizes, epochs=epochs, matchings=matchings, scores=scores, radii=chosen,
        seeds=seeds,
    )  # fmt: skip
    columns = [f"{name}{end}" for name in scores for end in [f"/{radius:g}" for radius in chosen.get(name, ())] or [""]]
    return grid(
        partial(_train, factory, split, recipe, sizes, epochs, tuple(scores), chosen),
        {"matching": matchings, "batch": list(sizes), "seed": seeds},
        name=STUDY.name,
        settings=settings,
        parts=("matching",),
        effects=_effects,
        findings=_findings,
        words={**MATCHINGS, **{size: f"{size} batch" for size in sizes}},
        view={"x": "matching", "hue": "batch", "y": columns, "join": "seed"},
        workers=workers,
        save=save,
        desc="networks",
    )


def _planned(recipe: Recipe, sizes: Mapping[str, int], epochs: int, matching: str, batch: str) -> Recipe:
    planned = dataclasses.replace(recipe, name=f"{matching}-{batch}", batch_size=sizes[batch])
    if matching == "loss":
        return planned
    longer = sizes["large"] / sizes["small"] if (matching, batch) == ("steps", "large") else 1
    return dataclasses.replace(planned, target=_UNREACHABLE, max_epochs=round(longer * epochs))


def _train(
    factory: ModelFactory,
    split: Split,
    recipe: Recipe,
    sizes: Mapping[str, int],
    epochs: int,
    scores: tuple[str, ...],
    radii: Mapping[str, Sequence[float]],
    *,
    matching: str,
    batch: str,
    seed: int,
) -> Row:
    run = train(_planned(recipe, sizes, epochs, matching, batch), split, factory, seed=seed)
    checkpoint = as_checkpoint(run, factory)
    objective = checkpoint.objective("train", norm="frozen")
    panel = sharpness(objective, list(scores), seed=seed, checkpoint=checkpoint, radii=radii)
    here = objective.evaluate()
    return {
        "batch size": sizes[batch],
        "reached": run.reached or matching != "loss",
        "epoch": int(run.history.epoch[-1]),
        "step": run.steps,
        "train/loss": here["loss"],
        "train/accuracy": here["accuracy"],
        "test/accuracy": checkpoint.objective("test").evaluate()["accuracy"],
        **{row.name + (f"/{row.radius:g}" if row.radius is not None else ""): row.value for row in panel.rows},
    }


def _effects(trials: Trials) -> list[Effect]:
    """Compare large with small batches in every score, where both have networks."""
    found = []
    for matching in trials.levels("matching"):
        part = trials.where(matching=matching)
        if all(part.where(batch=batch).met.any() for batch in ("small", "large")):
            found += [part.contrast(score, "batch", "small", "large") for score in part.view["y"]]
    return found


def _findings(trials: Trials) -> Iterator[Finding]:
    for matching in trials.levels("matching"):
        for batch in ("small", "large"):
            arm = trials.where(matching=matching, batch=batch)
            kept, label = int(arm.met.sum()), f"{MATCHINGS[matching]}, batches of {arm['batch size'][0]}"
            if kept:
                mean = {name: float(arm.by()[name][0]) for name in ("epoch", "step", "train/loss", "test/accuracy")}
                missed = f", {len(arm) - kept} did not reach the target" if kept < len(arm) else ""
                yield Finding(
                    label,
                    f"{kept} networks, {mean['epoch']:.0f} epochs, {mean['step']:.0f} steps, training loss "
                    f"{mean['train/loss']:.3g}, test accuracy {mean['test/accuracy']:.2%}{missed}",
                )
            else:
                yield Finding(label, f"none of {len(arm)} networks reached the target")
    for effect in trials.effects:
        part = trials.where(matching=effect.part)
        arms = [part.where(batch=batch) for batch in ("small", "large")]
        small, large = (over_seeds(arm[effect.measure][arm.met]) or Measured(float("nan")) for arm in arms)
        ratio = large.value / small.value if small.value else float("nan")
        chance = "" if effect.p_value is None else f", p = {effect.p_value:.2g}"
        text = f"large {number_text(large)}, small {number_text(small)}: ratio {ratio:.3g}{chance}"
        yield Finding(f"{effect.measure}, {MATCHINGS[effect.part]}", text)


STUDY = Experiment(
    name="large-batch",
    question="Do large batches find sharper minima than small ones?",
    function=large_batch,
    full={"epochs": 20, "seeds": range(3)},
    quick={"factory": partial(f1_mlp, 64), "matchings": ("epochs",), "epochs": 8, "seeds": (0, 1)},
)
