"""Train several recipes over several seeds, in parallel, keeping what is finished."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from landscape.arguments import checked, several_seeds
from landscape.bars import bar
from landscape.datasets import Split
from landscape.errors import LandscapeError
from landscape.models import mlp
from landscape.training.factories import as_split, check_factory
from landscape.training.recipes import Recipe, as_recipes
from landscape.training.runs import ModelFactory, TrainedRun, describe_model, load_run, read_manifest, save_run
from landscape.training.train import train
from landscape.workers import Workers, completed

Job = tuple[Recipe, int]


@checked
def train_many(
    recipes: Sequence[Recipe],
    split: Split,
    model_factory: ModelFactory = mlp,
    *,
    seeds: Iterable[int] = range(8),
    out: str | os.PathLike[str] | None = None,
    workers: Workers = 1,
) -> dict[str, list[TrainedRun]]:
    """Train every recipe with every seed; the numbers do not depend on the number of workers.

    Each finished run is saved at once, so an interruption (Ctrl-C) loses only those in progress, and the same call
    again trains only what is missing.

    Args:
        recipes: what to train.
        split: data to train and test on.
        model_factory: see `train`; with more than one worker it must be importable by name (or a `functools.partial`).
        seeds: one run of each recipe per seed.
        out: folder to save runs in, or None.
        workers: processes to train in, one thread each; 1 trains in this process. A script that asks for more must
            do so under ``if __name__ == "__main__":``.

    Returns:
        Runs by recipe name, in the order of the seeds.

    Raises:
        LandscapeError: no recipes, two with one name, a seed twice, a factory that does not fit the data, or `out`
            already holds a run of that name made in another way.
        NumericalError: a loss became NaN or infinite.

    >>> from landscape.datasets import digits
    >>> from landscape.experiments import get_recipe
    >>> quick = get_recipe("momentum", examples=50, target=0.1)
    >>> [run.name for run in train_many([quick], digits(train=100), seeds=range(2))["momentum"]]
    ['momentum-0', 'momentum-1']
    """
    seeds, recipes, split = several_seeds(seeds), as_recipes(recipes), as_split(split)
    check_factory(model_factory, split.train[0][:2], classes=split.classes)
    jobs = [(recipe, seed) for recipe in recipes for seed in seeds]
    done = _finished(jobs, split, model_factory, Path(out)) if out is not None else {}
    missing = {
        (recipe, seed): (recipe, split, model_factory, seed) for recipe, seed in jobs if (recipe, seed) not in done
    }
    with bar(total=len(jobs), desc="training", unit="run") as shown:
        shown.update(len(done))
        for job, run in completed(_trained, missing, workers=workers):
            if out is not None:
                save_run(run, out)
            done[job] = run
            shown.update()
    return {recipe.name: [done[recipe, seed] for seed in seeds] for recipe in recipes}


def _finished(jobs: Sequence[Job], split: Split, model_factory: ModelFactory, out: Path) -> dict[Job, TrainedRun]:
    found = {}
    for recipe, seed in jobs:
        path = out / f"{recipe.name}-{seed}.json"
        if not path.exists():
            continue
        manifest = read_manifest(path)
        recorded = (Recipe(**manifest["recipe"]), manifest["model"], manifest["data"]["fingerprint"])
        if recorded != (recipe, describe_model(model_factory), split.fingerprint):
            raise LandscapeError(
                f"{path.name} was made with other settings or data; choose an empty folder or remove it"
            )
        found[recipe, seed] = load_run(path, split=split, factory=model_factory)
    return found


def _trained(recipe: Recipe, split: Split, model_factory: ModelFactory, seed: int) -> TrainedRun:
    return train(recipe, split, model_factory, seed=seed)
