"""Trained runs as checkpoints: the seam between the recipes and everything that measures."""

from __future__ import annotations

import os
from pathlib import Path

from landscape.function.checkpoint import Checkpoint
from landscape.training.runs import ModelFactory, TrainedRun, check_run, load_run


def as_checkpoint(run: TrainedRun, factory: ModelFactory | None = None) -> Checkpoint:
    """Return a trained run as a `Checkpoint`: its network, cross-entropy, the examples it was really trained on.

    Args:
        run: what `train` returned.
        factory: what it was trained with; needed only if the network is not one of `landscape.models`.

    Raises:
        LandscapeError: no run, or the network is not one of the package's and no factory was given.

    >>> from landscape.datasets import digits
    >>> from landscape.experiments import get_recipe, train
    >>> as_checkpoint(train(get_recipe("sgd", examples=20, target=1.0), digits(train=100), seed=0))
    Checkpoint(sgd-0: P=..., optimizer=sgd, lr=0.05, momentum=0.0, batch_size=64, step=...)
    """
    check_run(run)
    return Checkpoint(
        run.network(factory),
        loss="cross_entropy",
        train=(run.data.X, run.data.y),
        test=run.test,
        init=run.init,
        optimizer=run.recipe.optimiser,
        lr=run.recipe.lr,
        momentum=run.recipe.momentum,
        batch_size=run.recipe.batch_size,
        step=run.steps,
        name=run.name,
    )


def load_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint that `landscape train` wrote, named by its manifest or by its weights.

    Raises:
        LandscapeError: there is no manifest beside the weights, or a file was altered.
    """
    return as_checkpoint(load_run(Path(path).with_suffix(".json")))
