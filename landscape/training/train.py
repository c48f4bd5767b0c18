"""Train reference networks to a stated training loss, so that solutions can be compared at matched loss: one, or many."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from landscape.arguments import checked, several_seeds
from landscape.bars import bar
from landscape.datasets import Split
from landscape.errors import LandscapeError
from landscape.models import mlp
from landscape.training.factories import as_split, check_factory
from landscape.training.recipes import Recipe, as_recipe, as_recipes
from landscape.training.runs import History, ModelFactory, TrainedRun, describe_model, load_run, read_manifest, save_run
from landscape.training.trainer import Goal, LossGoal, Reading, Trainer, copied, evaluate, isolated, met
from landscape.training.training_data import heldout_set, training_set
from landscape.workers import Workers, completed


@checked
def train(
    recipe: Recipe,
    split: Split,
    model_factory: ModelFactory = mlp,
    *,
    seed: int = 0,
    out: str | os.PathLike[str] | None = None,
    threads: int = 1,
) -> TrainedRun:
    """Train one network on the CPU until its training cross-entropy is the recipe's target.

    The loss over all training examples (evaluation mode, no augmentation, no poison) is checked after every epoch. The
    first epoch that ends with both target loss and target accuracy met is run again from its start, checked after every
    step; the first step that meets both is the last. Of that step only the fraction is taken that ends at the target
    loss (θ ← θ_before + f·(θ_after − θ_before), a last step with a smaller learning rate), so that runs match to about
    1e-4 relative. Where the accuracy is met only below the target loss, the step is taken in full and `overshoot` says
    how far below (up to 6 % for momentum at the same learning rate on digits, where 3 of 8 seeds do so).

    Args:
        recipe: see `Recipe`.
        split: data to train and test on.
        model_factory: called with ``seed=seed``; bind other arguments with `functools.partial`.
        seed: of everything random in the run; the global generator is left as it was.
        out: folder to save the run in (`save_run`), or None.
        threads: of PyTorch during the run; 1 is fastest for small networks, and the number changes the last digits.

    Returns:
        A `TrainedRun`; its `reached` is False if `max_epochs` passed first.

    Raises:
        LandscapeError: the recipe or the factory does not fit the data.
        NumericalError: the loss became NaN or infinite.

    >>> from landscape.datasets import digits
    >>> from landscape.experiments import get_recipe
    >>> run = train(get_recipe("momentum", examples=50, target=0.1), digits(train=100))
    >>> round(run.train_loss, 4), run.train_accuracy
    (0.1, 1.0)
    """
    goal = LossGoal(as_recipe(recipe).target, recipe.target_accuracy)
    (run,) = train_through(recipe, split, model_factory, seed=seed, goals={"end": goal}, threads=threads).values()
    if out is not None:
        save_run(run, out)
    return run


@checked
def train_through(
    recipe: Recipe,
    split: Split,
    model_factory: ModelFactory = mlp,
    *,
    goals: Mapping[str, Goal | int],
    seed: int = 0,
    threads: int = 1,
) -> dict[str, TrainedRun]:
    """Train one network and keep it at several places on the way, each as if training had stopped there.

    Every goal is met exactly, as in `train`, by shortening one step; then training goes on from the step as it was, so
    that each network is bit for bit the one that `train` gives for that goal alone.

    Args:
        recipe: its `target` and `target_accuracy` are not used: the goals say where to stop.
        split: data to train and test on.
        model_factory: called with ``seed=seed``.
        goals: by name, a `LossGoal`, a `NormGoal`, or a number of epochs. Training ends when all are met.
        seed: of everything random in the run.
        threads: of PyTorch during the run.

    Returns:
        One run per goal, in their order; one that was not met before `max_epochs` holds the network at the end, with
        ``reached=False``.

    Raises:
        LandscapeError: no goals, or the recipe or the factory does not fit the data.
        NumericalError: the loss became NaN or infinite.

    >>> from landscape.datasets import digits
    >>> from landscape.experiments import get_recipe
    >>> goals = {"early": 2, "fit": LossGoal(0.1)}
    >>> runs = train_through(get_recipe("momentum", examples=50), digits(train=100), goals=goals)
    >>> runs["early"].steps, round(runs["fit"].train_loss, 4)
    (2, 0.1)
    """
    if not goals:
        raise LandscapeError("no goals to train to; expected at least one, such as {'end': LossGoal(0.01)}")
    recipe, split = as_recipe(recipe), as_split(split)
    check_factory(model_factory, split.train[0][:2])
    started = time.perf_counter()
    model = describe_model(model_factory)
    data, test = training_set(recipe, split, seed=seed), heldout_set(recipe, split, seed=seed)
    kept: dict[str, TrainedRun] = {}
    with isolated(seed, threads):
        trainer = Trainer(model_factory(seed=seed), recipe, split, data, seed)
        init = copied(trainer.module)
        rows: list[_Row] = [(0, 0, trainer.check())]

        def keep(name: str, row: _Row, fraction: float | None) -> None:
            _, _, reading = row
            test_loss, test_accuracy = evaluate(trainer.module, *test)
            kept[name] = TrainedRun(
                recipe=recipe,
                seed=seed,
                model=model,
                weights=copied(trainer.module),
                init=init,
                history=_history([*rows, row]),
                steps=trainer.steps,
                reached=fraction is not None,
                last_step=1.0 if fraction is None else fraction,
                train_loss=reading.loss,
                train_accuracy=reading.accuracy,
                test_loss=test_loss,
                test_accuracy=test_accuracy,
                data=data,
                test=test,
                split={"name": split.name, "arguments": dict(split.arguments), "fingerprint": split.fingerprint},
                seconds=time.perf_counter() - started,
            )

        for epoch in bar(range(1, recipe.max_epochs + 1), desc=f"{recipe.name}-{seed}", unit="epoch"):
            before = trainer.snapshot()
            reading = trainer.epoch(epoch)
            row = (epoch, trainer.steps, reading)
            waiting = {name: goal for name, goal in goals.items() if name not in kept}
            for name, goal in waiting.items():
                if isinstance(goal, int):
                    if epoch == goal:
                        keep(name, row, 1.0)
                elif met(goal, reading):
                    after = trainer.snapshot()
                    trainer.restore(before)
                    fraction = trainer.approach(epoch, goal)
                    keep(name, (epoch, trainer.steps, trainer.check()), fraction)
                    trainer.restore(after)
            if len(kept) == len(goals):
                break
            rows.append(row)
        last = rows.pop()
        for name in goals:
            if name not in kept:
                keep(name, last, None)
    return {name: kept[name] for name in goals}


_Row = tuple[int, int, Reading]


def _history(rows: Sequence[_Row]) -> History:
    epoch, step, readings = zip(*rows)
    return History(
        epoch=np.array(epoch),
        step=np.array(step),
        loss=np.array([reading.loss for reading in readings]),
        accuracy=np.array([reading.accuracy for reading in readings]),
    )


@checked
def train_many(
    recipes: Sequence[Recipe],
    split: Split,
    model_factory: ModelFactory = mlp,
    *,
    seeds: Sequence[int] = range(8),
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
    jobs = {(recipe, seed): (recipe, split, model_factory, seed) for recipe in recipes for seed in seeds}
    done = {} if out is None else _finished(jobs, split, model_factory, Path(out))
    with bar(total=len(jobs), desc="training", unit="run") as shown:
        shown.update(len(done))
        missing = {job: arguments for job, arguments in jobs.items() if job not in done}
        for job, run in completed(_trained, missing, workers=workers):
            if out is not None:
                save_run(run, out)
            done[job] = run
            shown.update()
    return {recipe.name: [done[recipe, seed] for seed in seeds] for recipe in recipes}


def _finished(
    jobs: Iterable[tuple[Recipe, int]], split: Split, model_factory: ModelFactory, out: Path
) -> dict[tuple[Recipe, int], TrainedRun]:
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
