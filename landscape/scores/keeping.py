"""Scores that are kept as they finish: a panel that was interrupted goes on, and one that is stored is found again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from landscape.errors import LandscapeError
from landscape.function.checkpoint import Checkpoint
from landscape.function.objective import Objective
from landscape.hashing import fingerprint
from landscape.results import Score, Scores, plain
from landscape.slices.recording import checked
from landscape.spectra.state import identity
from landscape.store.journal import Journal

Measured = tuple[tuple[Score, ...], float]
"""The rows of a score and the seconds that they took."""


class Finished(dict[str, Measured]):
    """The scores measured so far, by slug, journalled as they are set where there is a journal.

    Args:
        journal: where they are kept, with those of the run before.
    """

    def __init__(self, journal: Journal | None = None):
        super().__init__(map(_unpacked, journal.records) if journal is not None else ())
        self._journal = journal

    def __setitem__(self, slug: str, measured: Measured) -> None:
        if self._journal is not None:
            rows, seconds = measured
            record = {"slug": slug, "rows": [dataclasses.asdict(row) for row in rows], "seconds": seconds}
            self._journal.append(json.dumps(record).encode())
        super().__setitem__(slug, measured)


def _unpacked(record: bytes) -> tuple[str, Measured]:
    found = json.loads(record)
    return found["slug"], (tuple(Score(**row) for row in found["rows"]), found["seconds"])


def settings_of(
    objective: Objective, seed: int, radii: Any, options: Mapping[str, Any] | None, checkpoint: Any
) -> dict[str, Any]:
    """Return what decides the values of scores, besides which scores are asked for, as JSON values."""
    given: dict[str, Any] = {"seed": seed, "settings": {} if options is None else plain(options)}
    if radii is not None:
        given["settings"]["radii"] = plain(radii)
    if isinstance(checkpoint, Checkpoint):
        trained = ("optimizer", "lr", "momentum", "batch_size", "step")
        given["trained"] = {name: plain(getattr(checkpoint, name)) for name in trained}
        given["init"] = None if checkpoint.init is None else fingerprint(objective.at(checkpoint.init).theta)
    return {**identity(objective.provenance()), **json.loads(json.dumps(given, default=repr))}


@contextmanager
def keeping(save: Any, settings: Mapping[str, Any]) -> Iterator[Finished]:
    """Open the scores measured so far; when measuring ends in an exception, it notes what is kept.

    Args:
        save: ``("study.h5", "sgd-0/scores")`` or `None`, when nothing is kept.
        settings: what decides the values, as `settings_of` returns it.

    Raises:
        LandscapeError: `save` is not a file and a name, scores of other settings are kept there, or another process
            measures the same panel.
    """
    place = checked(save, Scores)
    if place is None:
        try:
            yield Finished()
        except KeyboardInterrupt as interrupt:
            interrupt.add_note("nothing is kept; pass save=('study.h5', name) to a panel that is to be resumed")
            raise
        return
    from landscape.store.files import locked  # loads h5py, which panels that are not saved do without

    path = journal_of(*place)
    with locked(path, wait=0.0), Journal(path, settings) as journal:
        found = Finished(journal)
        try:
            yield found
        except BaseException as error:
            if found:
                error.add_note(
                    f"{len(found)} finished scores are kept in {path.name}; the same panel goes on from there"
                )
            else:
                journal.delete()
            raise


def journal_of(study: str | Path, name: str) -> Path:
    """Return where the scores of an unfinished panel are kept.

    >>> journal_of("study.h5", "sgd-0/scores").name
    'study.h5.sgd-0+scores.panel'
    """
    path = Path(study).expanduser().resolve()
    return path.with_name(f"{path.name}.{name.replace('/', '+')}.panel")


def stored(save: Any, slugs: Sequence[str], settings: Mapping[str, Any], audit: bool) -> Scores | None:
    """Return the panel that a study already holds under this name, or `None` where the name is free.

    Raises:
        LandscapeError: the name holds something else.
    """
    from landscape.store import open_study  # loads h5py, which panels that are not saved do without

    place = checked(save, Scores)
    if place is None or not Path(place[0]).exists():
        return None
    study, name = open_study(place[0]), place[1]
    if name not in study.kinds:
        return None
    held = study[name]
    same = dict(held.provenance).get("panel") == {**settings, "audit": audit}
    if isinstance(held, Scores) and same and set(slugs) == {row.name for row in held.rows}:
        return held
    raise LandscapeError(
        f"{name!r} in {Path(place[0]).name} already holds another result; choose another name, or replace it with "
        "overwrite=True"
    )
