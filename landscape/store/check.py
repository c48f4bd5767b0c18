"""Whether all that a study file holds is as the schema says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import h5py

from landscape.errors import LandscapeError
from landscape.store.decode import change_in, read_result, stored_results
from landscape.store.run import read_parts, unfinished
from landscape.store.safe import dataset_problem, link_problem, walk
from landscape.store.writer import opened_study


def validate(path: str | os.PathLike[str]) -> list[str]:
    """Return what is wrong with a study file, one line per problem; an empty list when all of it can be trusted.

    Checked are every link, the type, storage and size of every dataset, every result against its class, the fingerprints
    of its content and its provenance, and the parts of unfinished results.

    >>> import tempfile
    >>> from landscape.results import Estimate
    >>> path = Path(tempfile.mkdtemp()) / "study.h5"
    >>> Estimate(value=2.0, standard_error=0.1, matvecs=3, method="xtrace", quantity="trace").save(path, "sgd-0/trace")
    >>> validate(path)
    []
    """
    path = Path(path).expanduser()
    problems: list[str] = []
    for check in (_check_structure, _check_results, _check_parts):
        try:
            problems += check(path)
        except LandscapeError as error:
            problems.append(str(error))
            break  # what cannot be opened or trusted has no further parts
    return problems


def _check_structure(path: Path) -> Iterator[str]:
    with opened_study(path) as file:
        for where, group in [("", file), *walk(file)]:
            for name in group:
                if problem := link_problem(group, name):
                    yield problem
                elif isinstance(part := group[name], h5py.Dataset) and (problem := dataset_problem(part)):
                    yield f"'/{where}/{name}' {problem}"


def _check_results(path: Path) -> Iterator[str]:
    with opened_study(path) as file:
        seen: set[str] = set()
        for name, kind, group in stored_results(file):
            try:
                if name in seen:
                    yield f"there are two results called {name!r}"
                seen.add(name)
                result = read_result(group)
                if name == group.name.strip("/"):
                    yield f"{name!r} is a {kind} in a place that is not a {kind}'s"
                if part := change_in(group, result):
                    yield f"the {part} of {name!r} is not what was saved: its fingerprint differs"
            except (LandscapeError, TypeError, AttributeError, KeyError, OSError, RuntimeError) as error:
                yield f"{name!r} cannot be read: {error}"


def _check_parts(path: Path) -> Iterator[str]:
    for name, file in unfinished(path).items():
        try:
            read_parts(file)
        except LandscapeError as error:
            yield f"the unfinished {name!r} cannot be read: {error}"
