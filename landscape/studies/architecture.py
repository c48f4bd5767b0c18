"""How skip connections and norm layers change the loss surface (Li et al. 2018, Santurkar et al. 2018)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from landscape.arguments import several
from landscape.datasets import Split, digits
from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.models import resnet
from landscape.results import Finding, Trials
from landscape.scores import sharpness
from landscape.slices import eigen_ratio, plane, random_directions, smoothness
from landscape.studies.grid import Row, grid, protocol
from landscape.studies.registry import Experiment, published
from landscape.training import (
    Goal,
    LossGoal,
    ModelFactory,
    Recipe,
    TrainedRun,
    as_checkpoint,
    get_recipe,
    train_through,
)
from landscape.training.runs import StateDict
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
    recipe: Recipe = DEFAULT,
    seeds: Sequence[int] = range(3),
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
    split, epochs = digits(flatten=False) if split is None else split, several(epochs, "epochs")
    if not isinstance(variants, Mapping):
        raise LandscapeError(
            f"variants is a {type(variants).__name__}; expected factories by name, {{'mine': factory}}"
        )
    if not variants or min(points, ratio_points, examples) < 2 or min([1, *epochs]) < 1:
        raise LandscapeError(
            f"{len(variants)} variants, epochs {list(epochs)}, {points} and {ratio_points} points, {examples} examples; "
            "expected at least one variant, positive epochs and 2 points and examples"
        )
    places = sorted(set(epochs))
    window: dict[str, Any] = {"span": span, "points": points, "ratio_points": ratio_points}
    settings = protocol(variants, split, recipe=recipe, epochs=places, **window, examples=examples, mapped=seeds[0])
    settings["variants"] = settings.pop("model")
    return grid(
        partial(_measure, split, recipe, places, examples, seeds[0], **window),
        {"architecture": variants, "seed": seeds},
        name=STUDY.name,
        settings=settings,
        arrays=("beta", "loss", "eigen ratio"),
        coordinates={
            "beta": np.array([0.0, *places, -1.0]),
            "loss": np.linspace(-span, span, points),
            "eigen ratio": np.linspace(-span, span, ratio_points),
        },
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
    mapped: int,
    *,
    span: float,
    points: int,
    ratio_points: int,
    architecture: ModelFactory,
    seed: int,
) -> Row:
    """Train one network and measure it; planes and maps only of one seed."""
    end = LossGoal(recipe.target, recipe.target_accuracy)
    goals: dict[str, Goal | int] = {**{f"epoch-{epoch}": epoch for epoch in places}, "end": end}
    runs = train_through(recipe, split, architecture, seed=seed, goals=goals)
    last = runs["end"]
    passed = {epoch: runs[f"epoch-{epoch}"].weights for epoch in places if epoch < last.history.epoch[-1]}
    beta = _smoothness(last, {0: last.init, **passed}, architecture, recipe.lr, places, examples)
    objective = as_checkpoint(last, architecture).objective(norm="frozen")
    few = objective.subset(range(min(examples, objective.n)))
    panel = sharpness(few, list(SCORES), seed=0)
    row: dict[str, Any] = {
        "parameters": objective.size,
        **last.measures,
        "beta": beta,
        "beta start": float(beta[0]),
        "beta peak": float(np.nanmax(beta)),
        **{name: float(panel[name].value) for name in SCORES},
    }
    if seed == mapped:
        directions = random_directions(objective, n=2, seed=0)
        row["loss"] = plane(objective, directions, span=span, points=points).loss
        ratio = eigen_ratio(few, directions, span=span, points=ratio_points, tol=0.05).value("eigen-ratio")
        row |= {"eigen ratio": ratio, "median eigen ratio": float(np.nanmedian(ratio))}
    return row


def _smoothness(
    last: TrainedRun,
    passed: Mapping[int, StateDict],
    factory: ModelFactory,
    lr: float,
    places: Sequence[int],
    examples: int,
) -> np.ndarray:
    """Return β at the start, after each of the epochs and at the end; NaN where training had ended before."""
    batch = (last.data.X[:examples], last.data.y[:examples])
    objective = Objective(last.network(factory), batch, "cross_entropy", mode="train")
    eta = [step * lr for step in STEPS]
    found = dict(zip(passed, smoothness(objective, list(passed.values()), eta=eta).beta, strict=True))
    final = smoothness(objective, [last.weights], eta=eta).beta
    return np.array([*(found.get(place, np.nan) for place in (0, *places)), *final])


def _findings(trials: Trials) -> Iterator[Finding]:
    cells = trials.by("architecture")
    scores = {
        name: f"{name.replace('-', ' ').replace(' linf', '')}, smoothest first" for name in ("beta peak", *SCORES)
    }
    for measure, label in {**scores, "median eigen ratio": "median |λmin/λmax|, most convex first"}.items():
        pairs = zip(cells[measure].tolist(), cells["architecture"].tolist(), strict=True)
        order = sorted((mean, name) for mean, name in pairs if np.isfinite(mean))
        digits_of = ".2g" if measure == "median eigen ratio" else ".3g"
        if order:
            yield Finding(label, ", ".join(f"{name} {mean:{digits_of}}" for mean, name in order))


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
