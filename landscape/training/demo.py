"""The main job, end to end: train three recipes over seeds, measure, compare, and write one study with its figures."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

from landscape import plots, store
from landscape.bars import bar
from landscape.comparison import compare
from landscape.datasets import digits
from landscape.function.checkpoint import Checkpoint
from landscape.models import mlp
from landscape.operators import Hessian
from landscape.results import Comparison, Eigenpairs, Line, Plane
from landscape.slices import interpolate, line, plane, random_directions
from landscape.spectra import top_eigenpairs
from landscape.store.names import slugify
from landscape.training.recipes import get_recipe
from landscape.training.runs import as_checkpoint
from landscape.training.train import train_many
from landscape.workers import Workers

RECIPES = {"sgd": "SGD", "momentum-matched": "Momentum (matched)", "random-labels": "Random labels"}
"""What is compared, by the names used in tables. Momentum runs at the learning rate that gives it SGD's step length,
η(1 − β): at SGD's own rate it stops before its gradient is within sampling noise, and the gates refuse to compare it."""


@dataclass(frozen=True)
class Demo:
    """What the main job found, the HDF5 file with every result, and the figures as PNG and PDF."""

    comparison: Comparison
    study: Path
    figures: tuple[Path, ...]


def demo(out: str | os.PathLike[str], *, seeds: int = 8, quick: bool = False, workers: Workers = 2) -> Demo:
    """Train SGD, momentum and random labels on the digits to cross-entropy 0.01, measure and compare them.

    Args:
        out: folder for ``checkpoints/``, ``study.h5`` and ``figures/``; finished work found there is used again.
        seeds: networks per recipe; fewer than 6 cannot support a claim of significance.
        quick: a small network, few examples, 2 seeds, small grids: a minute, to see that everything works.
        workers: processes that train.

    Raises:
        LandscapeError: the folder cannot be written, or holds runs made with other settings.
    """
    out = Path(out)
    seeds = min(seeds, 2) if quick else seeds
    sizes, examples = ((64, 128, 10), 400) if quick else ((64, 256, 256, 10), 1000)
    runs = train_many(
        [get_recipe(name) for name in RECIPES],
        digits(train=examples),
        functools.partial(mlp, sizes=sizes),
        seeds=range(seeds),
        out=out / "checkpoints",
        workers=workers,
    )
    arms = {RECIPES[name]: [as_checkpoint(run) for run in members] for name, members in runs.items()}
    path = out / "study.h5"
    comparison = compare(arms, save=path)
    comparison.save(path, "main", overwrite=True)
    points = 11 if quick else 25
    figures = out / "figures"
    made = [
        *_eigenvalues(arms, path, figures),
        *_slices({name: members[0] for name, members in arms.items()}, path, figures, points, 3 if quick else 8),
        *_paths(arms, path, figures, points),
        *plots.save(plots.comparison(comparison), figures / "scores"),
        *(plots.save(plots.effects(comparison), figures / "effects") if comparison.tests else ()),
        *plots.save(plots.comparison_table(comparison), figures / "table"),
    ]
    return Demo(comparison, path, tuple(made))


def _eigenvalues(arms: dict[str, list[Checkpoint]], path: Path, figures: Path) -> list[Path]:
    found: dict[str, list[Eigenpairs]] = {name: [] for name in arms}
    with store.batch(path) as writer, bar(total=sum(map(len, arms.values())), desc="eigenvalues") as shown:
        for name, members in arms.items():
            for index, checkpoint in enumerate(members):
                pairs = top_eigenpairs(Hessian(checkpoint.objective()), k=5)
                writer.save(pairs.replace(vectors=None), f"{slugify(name)}-{index}/top5", overwrite=True)
                found[name].append(pairs)
                shown.update()
    return plots.save(plots.eigenvalues(found).figure, figures / "eigenvalues")


def _slices(first: dict[str, Checkpoint], path: Path, figures: Path, points: int, directions: int) -> list[Path]:
    planes: dict[str, Plane] = {}
    lines: dict[str, list[Line]] = {}
    for name, checkpoint in bar(first.items(), desc="slices"):
        objective, also = checkpoint.objective("train"), {"test": checkpoint.objective("test")}
        planes[name] = plane(objective, random_directions(objective, n=2), points=points, also=also)
        lines[name] = [
            line(objective, random_directions(objective, n=1, seed=seed), points=2 * points - 1, also=also)
            for seed in range(directions)
        ]
    with store.batch(path) as writer:
        for name in first:
            writer.save(_light(planes[name]), f"{slugify(name)}-0/plane", overwrite=True)
            for index, one in enumerate(lines[name]):
                writer.save(_light(one), f"{slugify(name)}-0/line-{index}", overwrite=True)
    return [
        *plots.save(plots.grid(planes), figures / "planes"),
        *plots.save(plots.lines_grid(lines, log=True), figures / "lines"),
    ]


def _light(one: Line | Plane) -> Line | Plane:
    """Leave out the directions' vectors, which their seed gives again and their sha256 checks."""
    return one.replace(directions=None if one.directions is None else one.directions.replace(vectors=None))


def _paths(arms: dict[str, list[Checkpoint]], path: Path, figures: Path, points: int) -> list[Path]:
    """From the first SGD solution to another seed's, and to the first of each other recipe, on the true labels."""
    (reference, members), *others = arms.items()
    start = members[0].objective()
    ends = {name: arm[0] for name, arm in others}
    if len(members) > 1:
        ends = {f"another {reference}": members[1], **ends}
    found = {
        f"{reference} to {name}": interpolate(
            start, start.theta, end.objective().theta, points=points, also={"test": members[0].objective("test")}
        )
        for name, end in ends.items()
    }
    with store.batch(path) as writer:
        for name, result in found.items():
            writer.save(result, slugify(name), overwrite=True)
    drawn = {name: [result] for name, result in found.items()}
    return plots.save(plots.lines_grid(drawn, log=True), figures / "paths")
