"""What a study file holds, as a readable tree, and whether all of it is as the schema says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from textwrap import shorten
from typing import Any

import h5py

from landscape.errors import LandscapeError
from landscape.results import Comparison, describe
from landscape.store.decode import change_in, read_attributes, read_result, stored_results
from landscape.store.reader import Study, open_study
from landscape.store.run import read_parts, unfinished
from landscape.store.safe import dataset_problem, link_problem, opened, read_attribute, walk
from landscape.store.writer import check_format
from landscape.tables import hanging


def info(path: str | os.PathLike[str]) -> str:
    """Return a readable tree of a study file: its making, checkpoints, results with their shapes, unfinished rows.

    Raises:
        LandscapeError: the file is missing, foreign, truncated or damaged.

    >>> import tempfile
    >>> from landscape.results import Estimate
    >>> path = Path(tempfile.mkdtemp()) / "study.h5"
    >>> Estimate(value=2.0, standard_error=0.1, matvecs=3, method="xtrace", quantity="trace").save(path, "sgd-0/trace")
    >>> print(info(path))
    study.h5: 1 result, schema 2
    ...
    sgd-0
      trace  estimate
    """
    return tree(open_study(path))


def tree(study: Study) -> str:
    """Return the tree that `info` and the repr of a study show."""
    if not study.path.exists():
        return "\n".join([f"{study.path.name}: nothing finished yet", *_unfinished(study)])
    with study.open() as file:
        about, version = read_attributes(file), read_attribute(file, "schema_version")
        found = [(name, kind, _shapes(group)) for name, kind, group in stored_results(file)]
        read = [read_result(group) for _, kind, group in stored_results(file) if kind == "comparison"]
    described = study.checkpoints
    lines = [
        f"{study.path.name}: {len(found)} result{'' if len(found) == 1 else 's'}, schema {version}",
        shorten(f"created {about.get('created')} by {about.get('command')}", 120, placeholder=" …"),
        f"landscape {about.get('landscape_version')}, torch {about.get('torch_version')}",
    ]
    owners: dict[str, list[tuple[str, str, str]]] = {name: [] for name in described}
    texts = [result.verdict for result in read if isinstance(result, Comparison)]
    said = [hanging("  ", line) for text in texts for line in text.splitlines()]
    for name, kind, shapes in found:
        owner, _, entry = name.rpartition("/")
        owners.setdefault(owner, []).append((entry, kind, shapes))
    widths = [max((len(row[i]) for rows in owners.values() for row in rows), default=0) for i in (0, 1)]
    for owner, rows in owners.items():
        facts = ", ".join(
            f"{key} {describe(value)[:60]}" for key, value in described.get(owner, {}).items() if "sha256" not in key
        )
        lines.append(f"{owner or 'of several checkpoints'}{'  ' + facts if facts else ''}")
        lines += [
            hanging(f"  {entry:<{widths[0]}}  {kind:<{widths[1]}}  ", text).rstrip() for entry, kind, text in rows
        ]
    return "\n".join([*lines, *(["verdict", *said] if said else []), *_unfinished(study)])


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
    with opened(path) as file:
        check_format(file, path)
        for where, group in [("", file), *walk(file)]:
            for name in group:
                if problem := link_problem(group, name):
                    yield problem
                elif isinstance(part := group[name], h5py.Dataset) and (problem := dataset_problem(part)):
                    yield f"'/{where}/{name}' {problem}"


def _check_results(path: Path) -> Iterator[str]:
    with opened(path) as file:
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


def _shapes(group: h5py.Group) -> str:
    """Return ``name (shape)`` of every array of a result; columns of rows and large groups are counted, not listed."""
    texts: list[str] = []
    for name, parts in groupby(_arrays(group), lambda text: text.partition("/")[0]):
        found = [*parts]
        texts += found if len(found) <= 3 else [f"{name}/ {len(found)} arrays"]
    return ", ".join(text.replace(" ", "\N{NO-BREAK SPACE}") for text in texts)


def _arrays(group: h5py.Group, prefix: str = "") -> Iterator[str]:
    columns = 0
    for name in group:
        if link_problem(group, name):
            continue
        part: Any = group[name]
        if isinstance(part, h5py.Group):
            yield from _arrays(part, f"{prefix}{name}/")
        elif part.dims and part.dims[0].label in ("", "row") and part.ndim == 1:
            columns += 1
        else:
            yield f"{prefix}{name} {part.shape}"
    if columns:
        yield f"{prefix}{columns} columns"


def _unfinished(study: Study) -> list[str]:
    return [f"unfinished: {name}" for name in study.unfinished]
