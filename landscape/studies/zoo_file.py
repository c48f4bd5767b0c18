"""The zoo as it comes with the package: its table, and its networks with their data."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

import landscape
from landscape.errors import LandscapeError
from landscape.function.checkpoint import Checkpoint
from landscape.function.objective import Objective
from landscape.results.trials import Trials
from landscape.store import open_study
from landscape.studies.zoo import STUDY, VERSION, checkpoint_of, evaluated, panel_of, scored
from landscape.studies.zoo_networks import WEIGHTS

ENTRY = STUDY.name


@dataclass(frozen=True, eq=False, repr=False)
class Zoo:
    """Trained networks with what was measured on them.

    Attributes:
        trials: one row per network, also of those without weights here.
        kept: (K,) rows of the networks whose weights are here.
    """

    trials: Trials
    kept: np.ndarray

    def __len__(self) -> int:
        return len(self.kept)

    def __repr__(self) -> str:
        return f"Zoo({len(self)} networks with weights, a table of {len(self.trials)} with {len(self.trials.measures)} measures)"

    def checkpoint(self, row: int) -> Checkpoint:
        """Return a network with the data that it was trained on.

        Args:
            row: of the table, one of `kept`.

        Raises:
            LandscapeError: the weights of that network are not here, or the data cannot be made.
        """
        if row not in self.kept:
            raise LandscapeError(f"the zoo has no weights of row {row}; it has those of the rows zoo.kept")
        known = {**self.trials.factors, **self.trials.measures, **self.trials.arrays}
        return checkpoint_of({name: values[row] for name, values in known.items()}, known[WEIGHTS][row])

    def objective(self, row: int) -> Objective:
        """Return the function that a network's scores in the table are of: 250 examples that it was trained on.

        Args:
            row: of the table, one of `kept`.
        """
        return evaluated(self.checkpoint(row).objective())

    def measure(self, rows: Sequence[int], scores: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Measure scores of some networks as those in the table were, with the same options and random draws.

        Args:
            rows: of the table, among `kept`.
            scores: slugs of the register, also of scores that are not in the table.

        Yields:
            For each network, columns as those of the table.
        """
        panel, draws = panel_of(scores), [int(self.trials.arrays["draw"][row]) for row in rows]
        for row, draw in zip(rows, draws, strict=True):
            yield from scored([self.checkpoint(row)], replace(panel, seed=draw), [draw])


def zoo(path: str | os.PathLike[str] | None = None) -> Zoo:
    """Open the zoo: small networks at one training loss, with weights, data and scores. Nothing is downloaded.

    MNIST-1D is made on the spot by the ``mnist1d`` package when a network of it is asked for.

    Args:
        path: a study file of the zoo; `None`: ``data/zoo.h5`` of the repository that the package lies in.

    Raises:
        LandscapeError: there is no file, or it holds no zoo, or one of another version.

    >>> import landscape as ls
    >>> zoo = ls.zoo()  # doctest: +SKIP
    >>> zoo.checkpoint(zoo.kept[0])  # doctest: +SKIP
    Checkpoint(mlp-digits-0.015-0.0-0.0-250-0: P=4,810, lr=0.015, momentum=0.0, step=5242)
    """
    file = Path(landscape.__file__).parents[1] / "data" / "zoo.h5" if path is None else Path(path)
    if not file.exists():
        raise LandscapeError(
            f"no zoo at {file}; pass the path of data/zoo.h5 of the repository, or make it: landscape experiment zoo"
        )
    study = open_study(file)
    trials = study.get(ENTRY)
    if not isinstance(trials, Trials) or WEIGHTS not in trials.arrays:
        raise LandscapeError(f"{file.name} holds no zoo; expected trials with weights under {ENTRY!r}")
    if trials.settings.get("version") != VERSION:
        raise LandscapeError(
            f"{file.name} holds a zoo of version {trials.settings.get('version')}, and this package reads version {VERSION}; "
            "use the file of the same repository, or make it again: landscape experiment zoo"
        )
    return Zoo(trials, np.flatnonzero(trials.arrays[WEIGHTS].any(1)))
