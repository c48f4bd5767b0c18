"""Writing a study file: into a fresh copy that replaces the old one, so that it is complete and valid or absent."""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from types import MappingProxyType
from typing import Any

import h5py

from landscape.errors import LandscapeError
from landscape.results import Result
from landscape.store.decode import change_in, check_version, read_attributes, read_result, stored_results
from landscape.store.disk import WorkingFile
from landscape.store.encode import content_sha256, write_attributes, write_result
from landscape.store.files import locked
from landscape.store.heaps import check_heaps
from landscape.store.identity import canonical, difference
from landscape.store.journal import sync_folder
from landscape.store.names import check_slug, path_of
from landscape.store.origin import FORMAT, root_attributes
from landscape.store.repack import repack
from landscape.store.safe import first_line, member, opened, read_attribute
from landscape.store.seal import check_seal, seal, unseal
from landscape.store.text import dumps

_NEW = "being-written"
_OPEN: ContextVar[Mapping[Path, Writer]] = ContextVar("open batches", default=MappingProxyType({}))


def save(
    result: Result, path: str | os.PathLike[str], name: str, *, overwrite: bool = False, settings_sha256: str = ""
) -> None:
    """Write a result into a study file under a name.

    Saving the same numbers again changes nothing, whatever their provenance and seconds say; with ``overwrite`` the new
    provenance replaces the old. Each call rewrites the file; use `batch` to store many results in a large one.

    Args:
        result: any result of this package.
        path: the study file, created when absent.
        name: ``owner/entry`` for what belongs to one checkpoint, ``entry`` for the rest.
        overwrite: replace a different result of that name.
        settings_sha256: fingerprint of the settings of a resumable computation.

    Raises:
        LandscapeError: the name is taken by something different, or the file cannot be written.

    >>> import tempfile
    >>> from landscape.results import Estimate
    >>> path = Path(tempfile.mkdtemp()) / "study.h5"
    >>> save(Estimate(value=2.0, standard_error=0.1, matvecs=3, method="xtrace", quantity="trace"), path, "sgd-0/trace")
    """
    with batch(path) as writer:
        writer.save(result, name, overwrite=overwrite, settings_sha256=settings_sha256)


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
    target = Path(path).expanduser().resolve()  # a link stays a link: the file it points to is replaced
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
        self._deleted = False
        self._afterwards: list[Callable[[], None]] = []
        self.depth = 0
        if target.exists():
            check_seal_of(target)

    @property
    def shared(self) -> bool:
        """Whether this is a batch within another of the same study, which stores what both gather."""
        return self.depth > 0

    def afterwards(self, act: Callable[[], None]) -> None:
        """Call a function when the batch is stored."""
        self._afterwards.append(act)

    def save(
        self,
        result: Result,
        name: str,
        *,
        overwrite: bool = False,
        identity: Mapping[str, Any] | None = None,
        settings_sha256: str = "",
    ) -> None:
        """Add a result, as `landscape.store.save` does.

        Args:
            result: any result of this package.
            name: see `landscape.store.save`.
            overwrite: replace a different result of that name.
            identity: what makes its computation the same when it is called again, see `landscape.store.Run`.
        """
        if not isinstance(result, Result):
            raise LandscapeError(f"a study file stores results of this package, not a {type(result).__name__}")
        path = path_of(type(result), name)
        stored = ("/" + path, content_sha256(result))
        taken = self._taken(name)
        different = any(there[:2] != stored for there in taken)
        if different and not overwrite:
            raise LandscapeError(
                f"{name!r} in {self._target.name} already holds a different result; "
                "choose another name, or replace it with overwrite=True"
            )
        if taken and not different:
            (_, _, settings, provenance, known), *_ = taken
            same = settings == settings_sha256 and known == (None if identity is None else canonical(identity))
            if same and (not overwrite or provenance == dumps(result.provenance)):
                return
        with self._explained():
            file = self._working(result.provenance)
            try:
                self._write(file.create_group(_NEW), result, identity, settings_sha256)
            except BaseException:
                del file[_NEW]  # a batch may go on after an error, without half a result
                raise
            for old, *_ in taken:
                del file[old]
                self._deleted = True
            parent, _, last = path.rpartition("/")
            file.move(_NEW, f"{_require(file, parent).name}/{last}")

    def _write(
        self, group: h5py.Group, result: Result, identity: Mapping[str, Any] | None, settings_sha256: str
    ) -> None:
        write_result(group, result)
        if identity is not None:
            write_attributes(group, {"identity": identity})
        if settings_sha256:
            group.attrs["settings_sha256"] = settings_sha256
        if self._disk is not None:
            self._disk.check()

    def describe_checkpoint(self, name: str, attributes: Mapping[str, Any]) -> None:
        """Record what is known of a checkpoint, as `landscape.store.describe_checkpoint` does."""
        with self._explained():
            write_attributes(_require(self._working({}), f"checkpoints/{check_slug(name)}"), attributes)

    def commit(self) -> None:
        """Put the working copy in the place of the file, when anything changed."""
        if self._file is not None:
            self._replace()
        for act in self._afterwards:
            act()

    def _replace(self) -> None:
        with self._explained():
            self._close()
            if self._deleted:
                loose = self._copy.with_suffix(".loose.tmp")
                os.replace(self._copy, loose)
                repack(loose, self._copy)
                loose.unlink()
            if self._target.exists():
                shutil.copymode(self._target, self._copy)
            seal(self._copy)
            os.replace(self._copy, self._target)
            sync_folder(self._target.parent)

    def discard(self) -> None:
        """Remove the working copy, if it is still there."""
        with suppress(OSError, RuntimeError):
            self._close()
        with suppress(OSError):
            for copy in (self._copy, self._copy.with_suffix(".loose.tmp")):
                copy.unlink(missing_ok=True)

    def _close(self) -> None:
        """Close the working copy and raise what failed while it was written."""
        file, disk = self._file, self._disk
        self._file = self._disk = None
        if file is not None and disk is not None:
            file.close()
            disk.close()
            disk.check()

    def _taken(self, name: str) -> list[tuple[str, str, str, str, str | None]]:
        """Return (group, content, settings, provenance, identity) of the results stored under a name."""
        if self._file is not None:
            return _named(self._file, name)
        if not self._target.exists():
            return []
        with opened(self._target) as file:
            check_format(file, self._target)
            return _named(file, name)

    def _working(self, provenance: Mapping[str, Any]) -> h5py.File:
        if self._file is None:
            for left in self._target.parent.glob(f".{self._target.name}.*.tmp"):  # of a writer that was killed
                left.unlink(missing_ok=True)
            fresh = not self._target.exists()
            if not fresh:
                with opened(self._target) as file:
                    check_format(file, self._target)
                shutil.copyfile(self._target, self._copy)
                unseal(self._copy)
            self._disk = WorkingFile(self._copy, fresh=fresh)
            # HDF5 1.10's format keeps checksums of all its own structures
            self._file = h5py.File(self._disk, "w" if fresh else "r+", libver=("v110", "latest"))
            if fresh:
                write_attributes(self._file, root_attributes(provenance))
        return self._file

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except LandscapeError:
            raise
        except (OSError, RuntimeError, KeyError) as error:
            reason = getattr(error, "strerror", None) or first_line(error)
            raise LandscapeError(f"cannot write {self._target.name}: {reason}; it is as it was before") from error


def check_not_edited(path: Path) -> None:
    """Raise when another program, such as h5py, has a file open for writing, as far as the system tells.

    Raises:
        LandscapeError: it has; what it writes may be half done, and would be lost in a copy.
    """
    if sys.platform == "win32":
        return  # there the file cannot even be opened
    import fcntl

    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise LandscapeError(f"{path.name} is open for writing in another program; close it there first") from None
    except OSError:
        pass  # a file system without locks
    finally:
        os.close(fd)


def check_seal_of(path: Path) -> bool:
    """Compare a file with the checksum behind its end, and walk its heaps of text.

    Returns:
        Whether there is a checksum; another program that edits the file cuts it off.

    Raises:
        LandscapeError: they differ, or the file cannot be read.
    """
    try:
        check_not_edited(path)
        sealed = check_seal(path)
        if h5py.is_hdf5(path):
            check_heaps(path)
        return sealed
    except IsADirectoryError:
        raise LandscapeError(f"{path.name} is a folder; expected a study file such as 'study.h5'") from None
    except OSError as error:
        raise LandscapeError(f"cannot read {path.name}: {error.strerror}") from error


def check_format(file: h5py.File, path: Path) -> None:
    """Raise when an HDF5 file is not a study, or one of a later schema.

    Raises:
        LandscapeError: its root says so.
    """
    if read_attribute(file, "format") != FORMAT:
        raise LandscapeError(f"{path.name} is an HDF5 file but no study (its root lacks format={FORMAT!r})")
    check_version(read_attribute(file, "schema_version"), path.name)


def _named(file: h5py.File, name: str) -> list[tuple[str, str, str, str, str | None]]:
    found = []
    for stored, _, group in stored_results(file):
        if stored == name:
            content, settings = (str(read_attribute(group, key) or "") for key in ("content_sha256", "settings_sha256"))
            known = read_attributes(group, "identity").get("identity")
            identity = canonical(known) if isinstance(known, Mapping) else None
            found.append((group.name, content, settings, dumps(read_attributes(group).get("provenance")), identity))
    return found


def stored_as(path: Path, name: str, identity: Mapping[str, Any]) -> Any:
    """Return the result of a computation that a study holds already, or `None` where the name is free.

    Raises:
        LandscapeError: the name holds something else, the result was edited elsewhere, or the file cannot be read.
    """
    if not path.exists():
        return None
    check_seal_of(path)
    with opened(path) as file:
        check_format(file, path)
        for stored, _, group in stored_results(file):
            if stored == name:
                known = read_attributes(group, "identity").get("identity")
                if not isinstance(known, Mapping) or (changed := difference(known, identity)):
                    how = f"of another computation ({changed})" if isinstance(known, Mapping) else "from elsewhere"
                    raise LandscapeError(
                        f"{name!r} in {path.name} already holds a result {how}; "
                        "choose another name, or replace it (overwrite=True; --overwrite in the shell)"
                    )
                result = read_result(group)
                if part := change_in(group, result):
                    raise LandscapeError(edited(group, part, path))
                return result
    return None


def edited(group: h5py.Group, part: str, path: Path) -> str:
    """Say that a result is not what was saved."""
    return (
        f"the {part} of {group.name!r} is not what was saved: {path.name} was edited or damaged elsewhere; "
        "restore it from a copy, or read what it says now with open_study(..., verify=False)"
    )


def _require(file: h5py.File, path: str) -> h5py.Group:
    """Return a group, made with its parents where absent, without following links."""
    group: Any = file
    for part in path.split("/"):
        below = member(group, part)
        group = group.create_group(part) if below is None else below
        if not isinstance(group, h5py.Group):
            raise LandscapeError(f"{part!r} in {path!r} is already the name of a dataset; choose another name")
    return group
