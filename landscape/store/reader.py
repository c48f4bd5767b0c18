"""Opening a study: what it holds at a glance, each result read when it is asked for."""

from __future__ import annotations

import html
import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from itertools import groupby
from textwrap import shorten
from typing import Any

import h5py

from landscape.errors import LandscapeError
from landscape.results import Comparison, Result, describe
from landscape.store.decode import read_attributes, read_result, results_called, stored_results
from landscape.store.files import ordinary
from landscape.store.labelled import to_xarray
from landscape.store.rows import growing, read_rows
from landscape.store.run import partial_file, unfinished
from landscape.store.safe import link_problem, member, read_attribute
from landscape.store.writer import opened_study, read_checked
from landscape.tables import hanging


def open_study(path: str | os.PathLike[str], *, verify: bool = True) -> Study:
    """Open a study file for reading; other processes may go on writing it.

    Args:
        path: the file.
        verify: compare each result with its fingerprints when it is read, and refuse one that was edited or damaged.

    Returns:
        A `Study`: ``study["sgd-0/top5"]`` reads a result, ``study.names`` lists them.

    Raises:
        LandscapeError: the file is missing, foreign, truncated or damaged; the message says which.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from landscape.results import Estimate
    >>> path = Path(tempfile.mkdtemp()) / "study.h5"
    >>> Estimate(value=2.0, standard_error=0.1, matvecs=3, method="xtrace", quantity="trace").save(path, "sgd-0/trace")
    >>> study = open_study(path)
    >>> study.names, study["sgd-0/trace"].value
    (('sgd-0/trace',), 2.0)
    """
    return Study(path, verify=verify)


class Study(Mapping[str, Result]):
    """A study file as a mapping from names to results, which are read when asked for.

    The file is opened anew for each look, so a study sees what a running computation has stored since; results that are
    still being computed are shown with the rows finished so far.
    """

    def __init__(self, path: str | os.PathLike[str], *, verify: bool = True):
        self.path = ordinary(path)
        self._verify = verify
        if self.path.exists() or not unfinished(self.path):
            with self.open():
                pass

    def __getitem__(self, name: str) -> Result:
        """Read one result.

        Raises:
            LandscapeError: there is none of that name, or it is damaged.
        """
        for _ in range(2):  # a computation that ends meanwhile moves its rows from the journal into the file
            if (found := self._stored(name)) is not None:
                return found
            if isinstance(name, str) and (parts := partial_file(self.path, name)).exists():
                try:
                    return read_rows(parts)
                except LandscapeError:
                    if parts.exists():
                        raise
        raise LandscapeError(f"{self.path.name} holds no {name!r}; it holds {', '.join(self.names) or 'nothing yet'}")

    def _stored(self, name: str) -> Result | None:
        if self.path.exists():
            with self.open() as file:
                for group in results_called(file, name):
                    return read_checked(group, self.path) if self._verify else read_result(group)
        return None

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all results, slices that are still being computed included."""
        return tuple(sorted({*self.kinds, *growing(self.path)}))

    @property
    def kinds(self) -> dict[str, str]:
        """Kind of each stored result by name: ``{"sgd-0/top5": "eigenpairs"}``."""
        if not self.path.exists() and unfinished(self.path):
            return {}
        with self.open() as file:
            return {name: kind for name, kind, _ in stored_results(file)}

    def identity(self, name: str) -> dict[str, Any] | None:
        """Return what decided the numbers of a result that a `Run` stored; `None` for others."""
        with self.open() as file:
            group = next(results_called(file, name), None)
            return None if group is None else read_attributes(group, "identity").get("identity")

    @property
    def unfinished(self) -> tuple[str, ...]:
        """Names of results that are still being computed, or whose computation was interrupted."""
        return tuple(unfinished(self.path))

    @property
    def attributes(self) -> dict[str, Any]:
        """What the root says of the file's making: created, command, versions."""
        with self.open() as file:
            return read_attributes(file)

    @property
    def checkpoints(self) -> dict[str, dict[str, Any]]:
        """What was recorded of each checkpoint, by name."""
        with self.open() as file:
            group = member(file, "checkpoints")
            if not isinstance(group, h5py.Group):
                return {}
            found = {name: member(group, name) for name in group}
            return {name: read_attributes(part) for name, part in found.items() if isinstance(part, h5py.Group)}

    def to_xarray(self) -> Any:
        """Return an `xarray.DataTree` with one node per result, at the result's name; needs the extra ``[xarray]``."""
        return to_xarray(self)

    def __repr__(self) -> str:
        return _tree(self)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(repr(self))}</pre>"

    def open(self) -> AbstractContextManager[h5py.File]:
        """Open the HDF5 file for reading in a `with` block."""
        return opened_study(self.path)


def info(path: str | os.PathLike[str]) -> str:
    """Return a readable tree of a study file: its making, checkpoints, results with their shapes, unfinished rows.

    Raises:
        LandscapeError: the file is missing, foreign, truncated or damaged.

    >>> import tempfile
    >>> from pathlib import Path
    >>> from landscape.results import Estimate
    >>> path = Path(tempfile.mkdtemp()) / "study.h5"
    >>> Estimate(value=2.0, standard_error=0.1, matvecs=3, method="xtrace", quantity="trace").save(path, "sgd-0/trace")
    >>> print(info(path))
    study.h5: 1 result, schema 2
    ...
    sgd-0
      trace  estimate
    """
    return repr(open_study(path))


def _tree(study: Study) -> str:
    unfinished = [f"unfinished: {name}" for name in study.unfinished]
    if not study.path.exists():
        return "\n".join([f"{study.path.name}: nothing finished yet", *unfinished])
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
    return "\n".join([*lines, *(["verdict", *said] if said else []), *unfinished])


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
