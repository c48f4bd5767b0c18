"""Writing a study file: into a fresh copy that replaces the old one, so that it is complete and valid or absent."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import h5py

from landscape.errors import LandscapeError
from landscape.results import Result
from landscape.store.decode import change_in, check_version, read_attributes, read_result, results_called
from landscape.store.encode import content_sha256, write_attributes, write_result
from landscape.store.files import WorkingFile, locked, ordinary, put_in_place
from landscape.store.identity import canonical, difference
from landscape.store.names import check_slug, path_of
from landscape.store.origin import FORMAT, root_attributes
from landscape.store.safe import first_line, member, opened, read_attribute
from landscape.store.values import dumps

_NEW = "being-written"
_OF_CHECKPOINTS = ("model", "parameters", "weights_sha256", "loss", "data_sha256")
_OPEN: ContextVar[Mapping[Path, Writer]] = ContextVar("open batches", default=MappingProxyType({}))


def save(result: Result, path: str | os.PathLike[str], name: str, *, overwrite: bool = False) -> None:
    """Write a result into a study file under a name.

    Saving the same numbers again changes nothing, whatever their provenance and seconds say; with ``overwrite`` the new
    provenance replaces the old. Each call rewrites the file; within a `batch` of the same file many are stored in one.

    Args:
        result: any result of this package.
        path: the study file, created when absent.
        name: ``owner/entry`` for what belongs to one checkpoint, ``entry`` for the rest.
        overwrite: replace a different result of that name.

    Raises:
        LandscapeError: the name is taken by something different, or the file cannot be written.

    >>> import tempfile
    >>> from landscape.results import Estimate
    >>> path = Path(tempfile.mkdtemp()) / "study.h5"
    >>> save(Estimate(value=2.0, standard_error=0.1, matvecs=3, method="xtrace", quantity="trace"), path, "sgd-0/trace")
    """
    with batch(path) as writer:
        writer.save(result, name, overwrite=overwrite)


def describe_checkpoint(path: str | os.PathLike[str], name: str, attributes: Mapping[str, Any]) -> None:
    """Record what is known of a checkpoint: file name, sha256, architecture, recipe, metrics, ``long_name`` …

    Args:
        path: the study file, created when absent.
        name: slug of the checkpoint.
        attributes: numbers, text, `None`, tuples or mappings; those of the same names are replaced.

    Raises:
        LandscapeError: the name is no slug, a value cannot be stored, or the file cannot be written.
    """
    with batch(path) as writer:
        writer.describe_checkpoint(name, attributes)


@contextmanager
def batch(path: str | os.PathLike[str], *, wait: float = 10.0) -> Iterator[Writer]:
    """Store many results in one rewrite of the file; nothing is stored when the block raises.

    Whatever the block saves into the same file, by `Result.save`, by ``save=`` or in another batch, is stored with it.

    Args:
        path: the study file, created when absent.
        wait: seconds to wait for another writer to finish.

    Raises:
        LandscapeError: another process writes, the file is damaged or foreign, or the disk is full or read-only.

    >>> import tempfile
    >>> from landscape.results import Estimate
    >>> traces = [Estimate(value=v, standard_error=0.0, matvecs=1, method="exact", quantity="trace") for v in (1.0, 2.0)]
    >>> with batch(Path(tempfile.mkdtemp()) / "study.h5") as writer:
    ...     for i, estimate in enumerate(traces):
    ...         writer.save(estimate, f"sgd-{i}/trace")
    """
    target = ordinary(path)
    if (outer := _OPEN.get().get(target)) is not None:
        outer.depth += 1
        try:
            yield outer
        finally:
            outer.depth -= 1
        return
    with locked(target, wait=wait):
        writer = Writer(target)
        within = _OPEN.set({**_OPEN.get(), target: writer})
        try:
            yield writer
            writer.commit()
        finally:
            _OPEN.reset(within)
            writer.discard()


class Writer:
    """What `batch` gives: results are gathered in a working copy until the block ends."""

    def __init__(self, target: Path):
        self._target = target
        self._copy = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
        self._disk: WorkingFile | None = None
        self._file: h5py.File | None = None
        self._afterwards: list[Callable[[], None]] = []
        self.depth = 0

    @property
    def shared(self) -> bool:
        """Whether this is a batch within another of the same study, which stores what both gather."""
        return self.depth > 0

    def afterwards(self, act: Callable[[], None]) -> None:
        """Call a function when the batch is stored."""
        self._afterwards.append(act)

    def save(
        self, result: Result, name: str, *, overwrite: bool = False, identity: Mapping[str, Any] | None = None
    ) -> None:
        """Add a result, as `landscape.store.save` does, with what makes its computation the same when it is called again."""
        if not isinstance(result, Result):
            raise LandscapeError(f"a study file stores results of this package, not a {type(result).__name__}")
        path, content = path_of(type(result), name), content_sha256(result)
        taken = self._taken(name)
        if any((old.group, old.content) != ("/" + path, content) for old in taken):
            if not overwrite:
                raise LandscapeError(
                    f"{name!r} in {self._target.name} already holds a different result; "
                    "choose another name, or replace it with overwrite=True"
                )
        elif (
            taken
            and (identity is None or taken[0].identity == canonical(identity))
            and (not overwrite or taken[0].provenance == dumps(result.provenance))
        ):
            return
        with self._explained():
            file = self._working(result.provenance)
            try:
                self._write(file.create_group(_NEW), result, identity)
            except BaseException:
                del file[_NEW]  # a batch may go on after an error, without half a result
                raise
            for old in taken:
                del file[old.group]
            parent, _, last = path.rpartition("/")
            file.move(_NEW, f"{_require(file, parent).name}/{last}")
            self._describe(file, path, result.provenance)

    def _write(self, group: h5py.Group, result: Result, identity: Mapping[str, Any] | None) -> None:
        write_result(group, result)
        if identity is not None:
            write_attributes(group, {"identity": identity})
        if self._disk is not None:
            self._disk.check()

    def _describe(self, file: h5py.File, path: str, provenance: Mapping[str, Any]) -> None:
        """Say of a checkpoint what its first result knows of it, where nobody has said more."""
        part, owner, *_ = path.split("/")
        known = {name: provenance[name] for name in _OF_CHECKPOINTS if provenance.get(name) not in (None, "")}
        if part == "checkpoints" and known and not file[f"{part}/{owner}"].attrs:
            write_attributes(file[f"{part}/{owner}"], known)

    def describe_checkpoint(self, name: str, attributes: Mapping[str, Any]) -> None:
        """Record what is known of a checkpoint, as `landscape.store.describe_checkpoint` does."""
        with self._explained():
            write_attributes(_require(self._working({}), f"checkpoints/{check_slug(name)}"), attributes)

    def commit(self) -> None:
        """Put the working copy in the place of the file, when anything changed."""
        if self._file is not None:
            with self._explained():
                self._close()
                if self._target.exists():
                    shutil.copymode(self._target, self._copy)
                put_in_place(self._copy, self._target)
        for act in self._afterwards:
            act()

    def discard(self) -> None:
        """Remove the working copy, if it is still there."""
        with suppress(OSError, RuntimeError):
            self._close()
        with suppress(OSError):
            self._copy.unlink(missing_ok=True)

    def _close(self) -> None:
        """Close the working copy and raise what failed while it was written."""
        file, disk = self._file, self._disk
        self._file = self._disk = None
        if file is not None and disk is not None:
            file.close()
            disk.close()
            disk.check()

    def _taken(self, name: str) -> list[_Stored]:
        if self._file is not None:
            return _named(self._file, name)
        if not self._target.exists():
            return []
        with opened_study(self._target) as file:
            return _named(file, name)

    def _working(self, provenance: Mapping[str, Any]) -> h5py.File:
        if self._file is not None:
            return self._file
        for left in self._target.parent.iterdir():  # of a writer that was killed
            if left.name.startswith(f".{self._target.name}.") and left.suffix == ".tmp":
                left.unlink(missing_ok=True)
        fresh = not self._target.exists()
        if not fresh:
            with opened_study(self._target):
                pass
            shutil.copyfile(self._target, self._copy)
        self._disk = WorkingFile(self._copy, fresh=fresh)
        # HDF5 1.10's format keeps checksums of its own structures, and a list of the room that deleted results leave
        room = {"fs_strategy": "fsm", "fs_persist": True} if fresh else {}
        self._file = h5py.File(self._disk, "w" if fresh else "r+", libver=("v110", "latest"), **room)
        if fresh:
            write_attributes(self._file, root_attributes(provenance))
        return self._file

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except LandscapeError:
            raise
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            reason = getattr(error, "strerror", None) or first_line(error)
            raise LandscapeError(f"cannot write {self._target.name}: {reason}; it is as it was before") from error


@contextmanager
def opened_study(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading within a `with` block, which must be a study of a known schema."""
    with opened(path) as file:
        if read_attribute(file, "format") != FORMAT:
            raise LandscapeError(f"{path.name} is an HDF5 file but no study (its root lacks format={FORMAT!r})")
        check_version(read_attribute(file, "schema_version"), path.name)
        yield file


def stored_as(path: Path, name: str, identity: Mapping[str, Any]) -> Any:
    """Return the result of a computation that a study holds already, or `None` where the name is free."""
    if not path.exists():
        return None
    with opened_study(path) as file:
        group = next(results_called(file, name), None)
        if group is None:
            return None
        known = read_attributes(group, "identity").get("identity")
        if not isinstance(known, Mapping) or (changed := difference(known, identity)):
            how = f"of another computation ({changed})" if isinstance(known, Mapping) else "from elsewhere"
            raise LandscapeError(
                f"{name!r} in {path.name} already holds a result {how}; "
                "choose another name, or replace it (overwrite=True; --overwrite in the shell)"
            )
        return read_checked(group, path)


def read_checked(group: h5py.Group, path: Path) -> Result:
    """Return the result that a group holds, after comparing it with its fingerprints."""
    result = read_result(group)
    if part := change_in(group, result):
        raise LandscapeError(
            f"the {part} of {group.name!r} is not what was saved: {path.name} was edited or damaged elsewhere; "
            "restore it from a copy, or read what it says now with open_study(..., verify=False)"
        )
    return result


class _Stored(NamedTuple):
    """What a file says of a result, without reading it."""

    group: str
    content: str
    provenance: str
    identity: str | None


def _named(file: h5py.File, name: str) -> list[_Stored]:
    """Return what is stored under a name: one result, unless the file was edited."""
    found = []
    for group in results_called(file, name):
        known = read_attributes(group, "identity", "provenance")
        identity = canonical(known["identity"]) if isinstance(known.get("identity"), Mapping) else None
        content = str(read_attribute(group, "content_sha256") or "")
        found.append(_Stored(group.name, content, dumps(known.get("provenance")), identity))
    return found


def _require(file: h5py.File, path: str) -> h5py.Group:
    """Return a group, made with its parents where absent, without following links."""
    group: Any = file
    for part in path.split("/"):
        below = member(group, part)
        group = group.create_group(part) if below is None else below
        if not isinstance(group, h5py.Group):
            raise LandscapeError(f"{part!r} in {path!r} is already the name of a dataset; choose another name")
    return group
