"""How skip connections and norm layers change the loss surface (Li et al. 2018, Santurkar et al. 2018)."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from landscape.arguments import several, several_seeds
from landscape.datasets import Split, digits
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.models import resnet
from landscape.results.effects import Finding
from landscape.results.trials import Trials
from landscape.scores import sharpness
from landscape.slices import eigen_ratio, plane, random_directions, smoothness
from landscape.studies.grid import grid
from landscape.studies.registry import Experiment, published
from landscape.training.checkpoints import as_checkpoint
from landscape.training.factories import as_split, check_factory
from landscape.training.jobs import Row
from landscape.training.recipes import Recipe, check_recipe, get_recipe
from landscape.training.runs import ModelFactory, TrainedRun, describe_model
from landscape.training.train import train_through
from landscape.training.trainer import Goal, LossGoal
from landscape.workers import Workers

SMALL: Mapping[str, Any] = {"depth": 8, "width": 4, "in_channels": 1}
VARIANTS: Mapping[str, ModelFactory] = MappingProxyType(
    {
        "batch norm": partial(resnet, **SMALL),
        "batch norm, no skips": partial(resnet, **SMALL, skip=False),
        "no norm": partial(resnet, **SMALL, norm="none"),
        "no norm, no skips": partial(resnet, **SMALL, norm="none", skip=False),
        "standardised weights": partial(resnet, **SMALL, norm="none", standardise=True),
        "standardised weights, no skips": partial(resnet, **SMALL, norm="none", standardise=True, skip=False),
    }
)
"""ResNets of 8 layers for the digits. Norm-free means without norm layers: with filters standardised or as they are."""
STEPS = (0.5, 1.0, 2.0, 4.0)
"""Step lengths of the effective smoothness in learning rates, the range of Santurkar et al."""
SCORES = ("lambda-max", "filter-curvature", "adaptive-worst-linf", "adaptive-average")
DEFAULT = get_recipe("momentum", lr=0.02, target=0.05, target_accuracy=0.9, max_epochs=200)
"""One learning rate that all of `VARIANTS` can be trained with."""


@published
def architecture(
    variants: Mapping[str, ModelFactory] = VARIANTS,
    split: Split | Any = None,
    *,
    recipe: Recipe | None = None,
    seeds: Iterable[int] = range(3),
    epochs: Sequence[int] = (1, 3, 10),
    span: float = 1.0,
    points: int = 15,
    ratio_points: int = 5,
    examples: int = 200,
    workers: Workers = 1,
    save: str | os.PathLike[str] | None = None,
) -> Trials:
    """Train architectures by one recipe to one loss; compare planes, eigenvalue ratios, smoothness and scores.

    Planes have one span in filter-normalised directions and are drawn on one scale; maps of |λmin/λmax| cover the same
    window. The effective smoothness β along the gradient is measured in training mode on one batch, the same for all, at
    the start, after some epochs and at the end, for steps of half to four times the recipe's learning rate.

    Args:
        variants: factories by name, each called with ``seed=``; importable by name if there are several workers.
        split: images with labels; `None`: the digits as 8 × 8 images.
        recipe: how to train, the same for all; `None`: momentum with lr 0.02 to a cross-entropy of 0.05.
        seeds: one network per variant and seed; planes and maps are those of the first.
        epochs: after which smoothness is measured, if training gets that far.
        span: of planes and maps.
        points: of a plane, per side.
        ratio_points: of a map, per side; each costs a Lanczos run.
        examples: training examples that maps, curvatures and the smoothness batch use, at most.

    Returns:
        `Trials` by architecture and seed, with ``beta`` beside, and of the first seed ``loss`` (the plane) and ``eigen ratio``
        (the map). Networks that never met the target are listed and not compared.

    Source: H. Li et al. 2018 (arXiv 1712.09913), figures 1, 5 and 7; S. Santurkar et al. 2018 (arXiv 1805.11604),
    section 3.
    """
    split = digits(flatten=False) if split is None else as_split(split)
    recipe = DEFAULT if recipe is None else recipe
    check_recipe(recipe)
    seeds, epochs = several_seeds(seeds), several(epochs, "epochs")
    if not isinstance(variants, Mapping):
        raise LandscapeError(
            f"variants is a {type(variants).__name__}; expected factories by name, {{'mine': factory}}"
        )
    if not variants or not seeds or min(points, ratio_points, examples) < 2 or min([1, *epochs]) < 1:
        raise LandscapeError(
            f"{len(variants)} variants, {len(seeds)} seeds, epochs {list(epochs)}, {points} and {ratio_points} points, "
            f"{examples} examples; expected at least one variant and seed, positive epochs and 2 points and examples"
        )
    for factory in variants.values():
        check_factory(factory, split.train[0][:2], classes=split.classes)
    places = sorted(set(epochs))
    settings = {
        "variants": {name: describe_model(factory) for name, factory in variants.items()},
        "data": split.fingerprint,
        "recipe": dataclasses.asdict(recipe),
        "epochs": places,
        "span": span,
        "points": points,
        "ratio_points": ratio_points,
        "examples": examples,
        "mapped": seeds[0],
    }
    along, along_ratio = np.linspace(-span, span, points), np.linspace(-span, span, ratio_points)
    return grid(
        partial(_measure, split, recipe, places, examples, (span, points, ratio_points), seeds[0]),
        {"architecture": variants, "seed": seeds},
        name=STUDY.name,
        settings=settings,
        arrays=("beta", "loss", "eigen ratio"),
        coordinates={"beta": np.array([0.0, *places, -1.0]), "loss": along, "eigen ratio": along_ratio},
        findings=_findings,
        shown=("step", "test/accuracy", "beta start", "beta peak", *SCORES, "median eigen ratio"),
        workers=workers,
        save=save,
        desc="architectures",
    )


def _measure(
    split: Split,
    recipe: Recipe,
    places: Sequence[int],
    examples: int,
    window: tuple[float, int, int],
    mapped: int,
    *,
    architecture: ModelFactory,
    seed: int,
) -> Row:
    """Train one network and measure it; planes and maps only of one seed."""
    goals: dict[str, Goal | int] = {f"epoch-{epoch}": epoch for epoch in places}
    end = LossGoal(recipe.target, recipe.target_accuracy)
    runs = train_through(recipe, split, architecture, seed=seed, goals={**goals, "end": end})
    last = runs["end"]
    beta = _smoothness(runs, last, architecture, recipe, places, examples)
    objective = as_checkpoint(last, architecture).objective(norm="frozen")
    few = objective.subset(range(min(examples, objective.n)))
    panel = sharpness(few, list(SCORES), seed=0)
    row: dict[str, Any] = {
        "parameters": objective.size,
        "reached": last.reached,
        "step": last.steps,
        "train/loss": last.train_loss,
        "test/accuracy": last.test_accuracy,
        "beta": beta,
        "beta start": float(beta[0]),
        "beta peak": float(np.nanmax(beta)),
        **{name: float(panel[name].value) for name in SCORES},
    }
    if seed == mapped:
        span, points, ratio_points = window
        directions = random_directions(objective, n=2, seed=0)
        row["loss"] = plane(objective, directions, span=span, points=points).loss
        ratio = eigen_ratio(few, directions, span=span, points=ratio_points, tol=0.05).value("eigen-ratio")
        row |= {"eigen ratio": ratio, "median eigen ratio": float(np.nanmedian(ratio))}
    return row


def _smoothness(
    runs: Mapping[str, TrainedRun],
    last: TrainedRun,
    factory: ModelFactory,
    recipe: Recipe,
    places: Sequence[int],
    examples: int,
) -> np.ndarray:
    """Return β at the start, after each of the epochs and at the end; NaN where training had ended before."""
    batch = (last.data.X[:examples], last.data.y[:examples])
    objective = Objective(last.network(factory), batch, "cross_entropy", mode="train")
    kept = {0: last.init, **{epoch: runs[f"epoch-{epoch}"].weights for epoch in places if _before(last, epoch)}}
    eta = [step * recipe.lr for step in STEPS]
    found = dict(zip(kept, smoothness(objective, list(kept.values()), eta=eta).beta, strict=True))
    final = smoothness(objective, [last.weights], eta=eta).beta
    return np.array([*(found.get(place, np.nan) for place in (0, *places)), *final])


def _before(last: TrainedRun, epoch: int) -> bool:
    return epoch < int(last.history.epoch[-1])


def _findings(trials: Trials) -> Iterator[Finding]:
    """Say the order of the architectures by each measure."""
    cells = trials.by("architecture")
    labels_of = {
        name: f"{name.replace('-', ' ').replace(' linf', '')}, smoothest first" for name in ("beta peak", *SCORES)
    }
    for name, label in {**labels_of, "median eigen ratio": "median |λmin/λmax|, most convex first"}.items():
        means = {
            one: mean
            for one, mean in zip(cells["architecture"].tolist(), cells[name], strict=True)
            if np.isfinite(mean)
        }
        digits_of = ".2g" if name == "median eigen ratio" else ".3g"
        if means:
            yield Finding(
                label, ", ".join(f"{one} {means[one]:{digits_of}}" for one in sorted(means, key=means.__getitem__))
            )


STUDY = Experiment(
    name="architecture",
    question="Do skip connections and norm layers smooth the loss surface?",
    function=architecture,
    full={"points": 11},
    quick={
        "split": digits(train=60, flatten=False),
        "recipe": get_recipe("momentum", lr=0.02, target=1.5, target_accuracy=0.5, max_epochs=20),
        "seeds": range(1),
        "epochs": (1,),
        "points": 5,
        "ratio_points": 2,
        "examples": 20,
    },
)
