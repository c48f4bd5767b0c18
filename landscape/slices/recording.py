"""Where the rows of a slice go as they are finished: into memory, or to disk, from where an interrupted run resumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np

from landscape.errors import LandscapeError
from landscape.function.objective import Objective
from landscape.results import Result

S = TypeVar("S", bound=Result)
Save = tuple[Any, str] | None
Values = dict[str, np.ndarray]
COMPUTED = "computed"
"""Under this name a row that is done in parts says which of its entries are."""
_DECISIVE = ("model", "parameters", "dtype", "weights_sha256", "data_sha256", "examples", "loss", "mode")


class Rows(Protocol[S]):
    """Rows finished so far; `landscape.store.rows.Rows` is one that lasts."""

    finished: dict[int, Values]

    @property
    def template(self) -> S:
        """The slice as it was before any row was finished."""

    @property
    def stored(self) -> S | None:
        """The whole slice, when the same computation finished before."""

    def append(self, index: int, arrays: Mapping[str, np.ndarray], computed: np.ndarray | None = None) -> None:
        """Add a finished row, or a row that is computed in part."""

    def result(self) -> S:
        """Return the slice with its rows."""

    def merge(self, result: S) -> S:
        """Store the finished slice and return it."""


class _Memory(Generic[S]):
    """Rows that last as long as the computation."""

    stored = None

    def __init__(self, template: S):
        self.template = template
        self.finished: dict[int, Values] = {}

    def append(self, index: int, arrays: Mapping[str, np.ndarray], computed: np.ndarray | None = None) -> None:
        self.finished[index] = {**arrays, **({} if computed is None else {COMPUTED: computed})}

    def result(self) -> S:
        rows = [self.finished[index] for index in range(len(self.finished))]
        return finished(self.template.replace(values={name: np.stack([row[name] for row in rows]) for name in rows[0]}))

    def merge(self, result: S) -> S:
        return result


def finished(whole: S) -> S:
    """Return a slice with all of its points marked as computed."""
    computed = getattr(whole, "computed", None)
    return whole if computed is None else whole.replace(computed=np.ones_like(computed))


def checked(save: Any, kind: type[Result]) -> Save:
    """Return where to store a result, before anything is computed.

    Args:
        save: ``("study.h5", "sgd-0/plane")`` or `None`.
        kind: the class of the result, which decides the form of names.

    Raises:
        LandscapeError: it is not a file and a name, or the name has another form.

    >>> from landscape.results import Plane
    >>> checked(("study.h5", "sgd-0/plane"), Plane)
    ('study.h5', 'sgd-0/plane')
    """
    if save is None:
        return None
    if not isinstance(save, tuple | list) or len(save) != 2:
        example = f"sgd-0/{kind.kind}" if "{owner}" in kind.location else "a-to-b"
        raise LandscapeError(
            f"save={save!r} does not say what to call the result; "
            f"expected the study and a name in it, such as save=('study.h5', {example!r})"
        )
    from landscape.store.names import path_of  # loads h5py, which slices that are not saved do without

    path, name = save
    path_of(kind, name)
    if not Path(path).expanduser().resolve().parent.is_dir():
        raise LandscapeError(f"there is no folder {Path(path).parent.name!r} for {Path(path).name}; make it first")
    return path, name


@contextmanager
def recording(
    template: Callable[[], S],
    *,
    settings: Mapping[str, Any],
    objectives: Mapping[str, Objective],
    save: Save,
    overwrite: bool,
) -> Iterator[Rows[S]]:
    """Open the rows of a slice; when it ends in an exception, the exception notes what is kept.

    Args:
        template: makes the slice as it is before any row is finished; a run that resumes does without.
        settings: JSON values that decide every number besides the objectives.
        objectives: what is evaluated, by data set name.
        save: where to, as `checked` returns it.
        overwrite: replace a different result of that name.
    """
    if save is None:
        try:
            yield _Memory(template())
        except KeyboardInterrupt as interrupt:
            interrupt.add_note("nothing is kept; pass save=('study.h5', name) to a computation that is to be resumed")
            raise
        return
    from landscape.store import open_rows  # loads h5py, which slices that are not saved do without

    path, name = save
    decisive = {"objectives": {key: _identity(o) for key, o in objectives.items()}, **settings}
    with open_rows(path, name, template, decisive, overwrite=overwrite) as rows:
        try:
            yield cast(Rows[S], rows)
        except BaseException as error:
            error.add_note(
                f"{len(rows.finished)} finished rows of {name!r} are kept beside {Path(path).name}; "
                "the same computation goes on from there"
            )
            raise


def _identity(objective: Objective) -> dict[str, Any]:
    """Return what decides the numbers of an objective."""
    provenance = objective.provenance()
    return {**{key: provenance[key] for key in _DECISIVE}, "metrics": list(objective.metrics)}
