"""Scores that are kept as they finish: a panel that was interrupted goes on, and one that is stored is found again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from landscape.errors import LandscapeError
from landscape.function.checkpoint import Checkpoint
from landscape.function.objective import Objective
from landscape.results import Score, Scores
from landscape.store import Run, identity

Measured = tuple[tuple[Score, ...], float]
"""The rows of a score and the seconds that they took."""
_TRAINED = ("optimizer", "lr", "momentum", "batch_size", "step")


class Finished(dict[str, Measured]):
    """The scores measured so far, by slug, each kept by a run when it is set."""

    def __init__(self, run: Run[Scores]):
        super().__init__((slug, (tuple(Score(**row) for row in rows), s)) for slug, (rows, s) in run.done.items())
        self.run = run

    def __setitem__(self, slug: str, measured: Measured) -> None:
        rows, seconds = measured
        self.run.keep(slug, ([dataclasses.asdict(row) for row in rows], seconds))
        super().__setitem__(slug, measured)


def panel_identity(
    objective: Objective, seed: int, radii: Any, options: Mapping[str, Any] | None, checkpoint: Any, audit: bool
) -> dict[str, Any]:
    """Return what decides the values of scores, besides which scores are asked for."""
    settings = {**(options or {}), **({} if radii is None else {"radii": radii})}
    given: dict[str, Any] = {"seed": seed, "settings": settings, "audit": audit}
    if isinstance(checkpoint, Checkpoint):
        given["trained"] = {name: getattr(checkpoint, name) for name in _TRAINED}
        given["init"] = None if checkpoint.init is None else objective.at(checkpoint.init).theta
    return identity(objective, **given)


@contextmanager
def keeping(run: Run[Scores], slugs: Sequence[str]) -> Iterator[Finished]:
    """Open the scores measured so far.

    Args:
        run: the run of the panel.
        slugs: the scores that are asked for.

    Raises:
        LandscapeError: scores of another identity are kept or stored there, or a finished panel has other scores.
    """
    with run:
        if run.result is not None and (held := {row.name for row in run.result.rows}) != set(slugs):
            raise LandscapeError(
                f"that name already holds a panel of other scores ({', '.join(sorted(held))}); choose another name, "
                "or replace it with overwrite=True"
            )
        yield Finished(run)
