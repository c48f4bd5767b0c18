"""The main job, end to end: train three recipes over seeds, measure, compare, and write one study with its figures."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from pathlib import Path

from landscape import plots, study
from landscape.bars import bar
from landscape.checkpoint import Checkpoint
from landscape.comparison import compare
from landscape.datasets import digits
from landscape.experiments.checkpoints import as_checkpoint
from landscape.experiments.many import train_many
from landscape.experiments.recipes import get_recipe
from landscape.models import mlp
from landscape.operators import Hessian
from landscape.results import Comparison, Eigenpairs, Line, Plane
from landscape.slices import interpolate, line, plane, random_directions
from landscape.spectra import top_eigenpairs

RECIPES = ("sgd", "momentum-matched", "random-labels")


@dataclass(frozen=True)
class Demo:
    """What the main job found and where it is.

    Attributes:
        comparison: scores, gates, tests and verdicts.
        study: the HDF5 file with every result.
        figures: the figures written, PNG and PDF.
    """

    comparison: Comparison
    study: Path
    figures: tuple[Path, ...]


def demo(out: str | os.PathLike[str], *, seeds: int = 8, quick: bool = False, workers: int = 2) -> Demo:
    """Train SGD, momentum and random labels on the digits to cross-entropy 0.01, measure and compare them.

    Args:
        out: folder for ``checkpoints/``, ``study.h5`` and ``figures/``; finished work found there is used again.
        seeds: networks a recipe; fewer than 6 cannot support a claim of significance.
        quick: a small network, 2 seeds, small grids: a minute, to see that everything works.
        workers: processes that train.

    Raises:
        LandscapeError: the folder cannot be written, or holds runs made with other settings.
    """
    out = Path(out)
    seeds = min(seeds, 2) if quick else seeds
    sizes = (64, 32, 10) if quick else (64, 256, 256, 10)
    chosen = [get_recipe(name, **({"target": 0.1} if quick else {})) for name in RECIPES]
    runs = train_many(
        chosen,
        digits(),
        functools.partial(mlp, sizes=sizes),
        seeds=range(seeds),
        out=out / "checkpoints",
        workers=workers,
    )
    arms = {recipe.long_name: [as_checkpoint(run) for run in runs[recipe.name]] for recipe in chosen}
    path = out / "study.h5"
    comparison = compare(arms, save=path)
    comparison.save(path, "main", overwrite=True)
    first = {slug: members[0] for slug, members in zip(comparison.recipes, arms.values(), strict=True)}
    points = 11 if quick else 25
    figures = out / "figures"
    made = [
        *_eigenvalues(dict(zip(comparison.recipes, arms.values(), strict=True)), path, figures),
        *_slices(first, path, figures, points=points, directions=3 if quick else 8),
        *_paths(first, path, figures, points=points),
        *plots.save(plots.comparison(comparison).figure, figures / "scores"),
    ]
    return Demo(comparison, path, tuple(made))


def _eigenvalues(arms: dict[str, list[Checkpoint]], path: Path, figures: Path) -> list[Path]:
    found: dict[str, list[Eigenpairs]] = {}
    with study.batch(path) as writer, bar(total=sum(map(len, arms.values())), desc="eigenvalues") as shown:
        for slug, members in arms.items():
            for index, checkpoint in enumerate(members):
                pairs = top_eigenpairs(Hessian(checkpoint.objective()), k=5)
                writer.save(pairs, f"{slug}-{index}/top5", overwrite=True)
                found.setdefault(slug, []).append(pairs)
                shown.update()
    return plots.save(plots.eigenvalues(found).figure, figures / "eigenvalues")


def _slices(first: dict[str, Checkpoint], path: Path, figures: Path, *, points: int, directions: int) -> list[Path]:
    planes: dict[str, Plane] = {}
    lines: dict[str, list[Line]] = {}
    for slug, checkpoint in bar(first.items(), desc="slices"):
        objective, test = checkpoint.objective("train"), checkpoint.objective("test")
        drawn = random_directions(objective, n=directions)
        planes[slug] = plane(objective, random_directions(objective, n=2), points=points, also={"test": test})
        lines[slug] = [line(objective, d, points=2 * points - 1, also={"test": test}) for d in drawn]
    with study.batch(path) as writer:
        for slug in first:
            writer.save(planes[slug], f"{slug}-0/plane", overwrite=True)
            for index, one in enumerate(lines[slug]):
                writer.save(one, f"{slug}-0/line-{index}", overwrite=True)
    return [
        *plots.save(plots.grid(planes), figures / "planes"),
        *plots.save(plots.lines_grid(lines), figures / "lines"),
    ]


def _paths(first: dict[str, Checkpoint], path: Path, figures: Path, *, points: int) -> list[Path]:
    (start_name, start), *others = first.items()
    found: dict[str, Line] = {}
    for name, end in others:
        found[f"{start_name} to {name}"] = interpolate(
            start.objective(), start.objective().theta, end.objective().theta, points=points,
            also={"test": start.objective("test")},
        )  # fmt: skip
    with study.batch(path) as writer:
        for name, result in found.items():
            writer.save(result, name.replace(" ", "-"), overwrite=True)
    return plots.save(plots.lines_grid({name: [one] for name, one in found.items()}), figures / "paths")
