"""Computations that go on where they were: what is finished lies beside the study until the result is in it."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Hashable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, Self, TypeVar, overload

import h5py
import numpy as np

from landscape.errors import LandscapeError
from landscape.results import Result
from landscape.store.decode import read_result
from landscape.store.encode import write_result
from landscape.store.files import locked, ordinary, sync_folder
from landscape.store.identity import canonical, difference
from landscape.store.journal import Journal, Payload, read_journal
from landscape.store.names import check_slug, path_of
from landscape.store.safe import explained
from landscape.store.values import dumps, loads
from landscape.store.writer import batch, stored_as

R = TypeVar("R", bound=Result)
Save = tuple[Path, str] | Path | None
"""Where a computation is kept, as `placed` returns it."""

_RESULT = "__finished__"
"""Under this key lies a finished result that could not be stored yet."""


class Run(Generic[R]):
    """A computation that keeps its parts as they are finished, so that the same call goes on after a crash.

    The parts lie in a folder beside the study, ``study.h5.partial/``, in one file per result. A part is on the disk when
    `keep` returns, and the folder goes when `finish` has stored the result. Use it in a `with` block: a second process
    that opens the same run meanwhile is refused.

    Args:
        save: ``("study.h5", "sgd-0/plane")``; or the path of a file, which keeps the parts and is removed at the end; or
            `None`, when nothing is kept and the loop is the same.
        identity: what decides every number, as `landscape.store.identity` returns it; or a function that returns it,
            which is called only when there is a place. Parts and results of another identity are refused in a line that
            says what differs.
        kind: the class of the result, which decides the form of names.
        overwrite: replace what another computation stored or left under this name, and measure again what the same one
            has stored.
        world: the processes that measure together, as objectives have it; the first alone reads and writes, for all.

    Attributes:
        done: the parts that are finished, by key.
        result: the result, when the same computation was finished before or `finish` has stored it; `None` until then.

    Raises:
        LandscapeError: the place does not exist or cannot be written, holds another computation, or is in use.

    >>> import tempfile, landscape as ls
    >>> study = Path(tempfile.mkdtemp()) / "study.h5"
    >>> def slow(seed):
    ...     print("computing", seed)
    ...     return seed / 4
    >>> def mean_of(seeds):
    ...     with ls.Run((study, "mine/mean"), ls.store.identity(seeds=seeds)) as run:
    ...         if run.result is None:
    ...             for seed in seeds:
    ...                 if seed not in run.done:
    ...                     run.keep(seed, slow(seed))
    ...             mean = sum(run.done.values()) / len(seeds)
    ...             run.finish(ls.Estimate(value=mean, standard_error=0.0, matvecs=0, method="mean", quantity="trace"))
    ...         return run.result.value
    >>> mean_of((0, 1))
    computing 0
    computing 1
    0.125
    >>> mean_of((0, 1))  # found: nothing is computed
    0.125
    """

    def __init__(
        self,
        save: Any,
        identity: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
        *,
        kind: type[R] | None = None,
        overwrite: bool = False,
        world: Any = None,
    ):
        place = placed(save, kind)
        self._study: Path | None
        self._study, self._name = place if isinstance(place, tuple) else (None, "")
        self._file = partial_file(*place) if isinstance(place, tuple) else place
        self._identity: Mapping[str, Any] = {}
        if self._file is not None:
            self._identity = json.loads(canonical(identity() if callable(identity) else identity))
        self._world = world if self._file is not None and world is not None and world.count > 1 else None
        if self._world is not None and self._world.rank:
            self._study = self._file = None
        self._overwrite = overwrite
        self._done: dict[Any, Any] = {}
        self._sizes: dict[Any, int] = {}
        self._journal: Journal | None = None
        self._held = ExitStack()
        self._open = False
        self.result: R | None = None

    @property
    def done(self) -> Mapping[Any, Any]:
        """The parts that are finished, by key."""
        return MappingProxyType(self._done)

    def keep(self, key: Hashable, value: Any) -> None:
        """Keep a finished part and return when it is on the disk.

        Args:
            key: text, a number or a tuple of them. A part that is kept again replaces the one before.
            value: arrays, numbers, text, `None`, and tuples, lists or mappings of them; or a result of this package.
                Leave it as it is from then on.

        Raises:
            LandscapeError: the value is of another kind, the disk is full, or the run is closed. What was kept before is
                still there.
        """
        if not self._open:
            raise LandscapeError("this run is closed; keep parts within its `with` block")
        if self._file is not None:
            self._write(self._file, key, _packed(key, value))
        self._done[key] = value

    @overload
    def finish(self, result: R) -> R: ...
    @overload
    def finish(self, result: None = None) -> None: ...
    def finish(self, result: R | None = None) -> R | None:
        """Store the result in the study, remove the parts, and return the result.

        Within `landscape.store.batch` the parts stay until the batch is stored.

        Raises:
            LandscapeError: it cannot be stored; then it is kept with the parts, and the same call stores it.
        """
        if self._study is not None and result is not None:
            try:
                with batch(self._study) as writer:
                    writer.save(result, self._name, overwrite=self._overwrite, identity=self._identity)
                    if writer.shared:
                        self.keep(_RESULT, result)
                    writer.afterwards(self._drop)
            except LandscapeError as error:
                with suppress(LandscapeError):
                    self.keep(_RESULT, result)
                    error.add_note(f"the finished result is kept in {self._file}; the same call stores it")
                raise
        else:
            self._drop()
        self.result = result
        return result

    def __enter__(self) -> Self:
        try:
            if self._world is not None:
                self._world.attempt(self._resume)
                self._done, self.result = self._world.share((self._done, self.result))
            else:
                self._resume()
        except BaseException:
            self._held.close()
            raise
        self._open = True
        if _RESULT in self._done:
            try:
                self.finish(self._done.pop(_RESULT))
            except BaseException:
                self._close()
                raise
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        self._close()
        if error is None:
            return
        if self._file is None and isinstance(error, KeyboardInterrupt):
            error.add_note("nothing is kept; pass save=('study.h5', name) to a computation that is to be resumed")
        elif self._done and self._file is not None and self.result is None:
            beside = f"of {self._name!r} is kept beside {self._study.name}" if self._study is not None else ""
            error.add_note(
                f"what is finished {beside or f'is kept in {self._file.name}'}; the same call goes on from there"
            )

    def _resume(self) -> None:
        """Lock the run and read what is there of it."""
        file = self._file
        if file is None:
            return
        if self._study is not None:
            self._held.callback(_remove_empty, file.parent)
        for attempt in range(5):  # a run that ends meanwhile removes the folder that was just made
            try:
                file.parent.mkdir(exist_ok=True)
            except OSError as error:
                raise LandscapeError(
                    f"cannot write {file.parent.name}: {error.strerror}; choose another folder"
                ) from error
            try:
                self._held.enter_context(locked(file, wait=0.0))
                break
            except LandscapeError:
                if file.parent.exists() or attempt == 4:
                    raise
        if self._study is not None and not self._overwrite:
            self.result = stored_as(self._study, self._name, self._identity)
            if self.result is not None:  # killed between storing the result and removing the parts
                self._drop()
                return
        if file.exists():
            if self._overwrite and self._study is not None and not _is_of(file, self._identity):
                file.unlink()
                return
            self._journal = Journal(file, self._identity)
            for record in self._journal.records:
                key, value = _unpacked(record, file)
                self._done[key], self._sizes[key] = value, len(record)
            self._journal.records.clear()

    def _write(self, file: Path, key: Any, record: Payload) -> None:
        if self._journal is None:
            self._journal = Journal(file, self._identity)
        size = sum(memoryview(piece).nbytes for piece in record)
        replaced = self._sizes.get(key, 0)
        if replaced and self._journal.size + size >= 2 * (sum(self._sizes.values()) - replaced + size):
            # more than half of the file would be parts that were replaced, as with a state that is kept again and again
            others = ((other, value) for other, value in self._done.items() if other != key)
            self._journal.rewrite([*(_packed(*part) for part in others), record])
        else:
            self._journal.append(record)
        self._sizes[key] = size

    def _drop(self) -> None:
        if self._journal is not None:
            self._journal.delete()
            self._journal = None
        elif self._file is not None and self._file.exists():
            self._file.unlink()
            sync_folder(self._file.parent)
        if self._study is not None and self._file is not None:
            _remove_empty(self._file.parent)

    def _close(self) -> None:
        self._open = False
        if self._journal is not None:
            self._journal.close()
        self._held.close()


@overload
def placed(save: Any, kind: type[Result]) -> tuple[Path, str] | None: ...
@overload
def placed(save: Any, kind: None = None) -> Save: ...
def placed(save: Any, kind: type[Result] | None = None) -> Save:
    """Return where a computation is to be kept, as an absolute path and a name, before anything is computed.

    Args:
        save: ``("study.h5", "sgd-0/plane")``, the path of a file, or `None`.
        kind: the class of the result, which decides the form of names.

    Raises:
        LandscapeError: it is none of these, the name has another form, or there is no such folder.

    >>> placed(None) is None
    True
    """
    if save is None:
        return None
    if kind is None and isinstance(save, str | os.PathLike):
        return _absolute(save)
    if not isinstance(save, tuple | list) or len(save) != 2 or not isinstance(save[0], str | os.PathLike):
        example = (
            "a-to-b"
            if kind is not None and "{owner}" not in kind.location
            else f"sgd-0/{kind.kind if kind else 'mine'}"
        )
        raise LandscapeError(
            f"save={save!r} does not say what to call the result; "
            f"expected the study and a name in it, such as save=('study.h5', {example!r})"
        )
    path, name = save
    if kind is not None:
        path_of(kind, name)
    else:
        for part in name.split("/") if isinstance(name, str) else [name]:
            check_slug(part)
    return _absolute(path), name


def partial_file(study: Path, name: str) -> Path:
    """Return the file that keeps the parts of an unfinished result.

    >>> partial_file(Path("study.h5"), "sgd-0/plane").as_posix()
    'study.h5.partial/sgd-0+plane.journal'
    """
    return study.with_name(study.name + ".partial") / (name.replace("/", "+") + ".journal")


def unfinished(study: Path) -> dict[str, Path]:
    """Return the files of the unfinished results of a study, by name."""
    files = study.with_name(study.name + ".partial").glob("*.journal")
    return {file.stem.replace("+", "/"): file for file in sorted(files)}


def read_parts(file: Path, count: int | None = None) -> dict[Any, Any]:
    """Return the parts of an unfinished result by key, all or so many records from the first on, also while it is computed."""
    return dict(_unpacked(record, file) for record in read_journal(file, count)[1])


def _absolute(path: str | os.PathLike[str]) -> Path:
    given, file = Path(path).expanduser(), ordinary(path)
    if not file.parent.is_dir():
        raise LandscapeError(f"there is no folder {given.parent.name!r} for {given.name}; make it first")
    return file


def _is_of(file: Path, identity: Mapping[str, Any]) -> bool:
    """Whether a file holds parts of this identity, so that a run can go on with them."""
    try:
        return not difference(read_journal(file, 0)[0], identity)
    except LandscapeError:
        return False


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):  # other results still have their parts there
        folder.rmdir()


def _packed(key: Any, value: Any) -> Payload:
    """Return a record: a line of JSON with the types and shapes of the arrays, then their bytes."""
    blobs: list[np.ndarray] = []
    is_result = isinstance(value, Result)
    text = dumps((key, _image(value) if is_result else value, is_result), blobs)
    arrays = [np.ascontiguousarray(blob) for blob in blobs]
    about = dumps((text, tuple((array.dtype.str, blob.shape) for array, blob in zip(arrays, blobs, strict=True))))
    return [about.encode() + b"\n", *(array.reshape(-1).view(np.uint8).data for array in arrays if array.size)]


def _unpacked(record: bytearray, file: Path) -> tuple[Any, Any]:
    try:
        start = record.index(b"\n") + 1
        text, shapes = loads(bytes(record[:start]))
        blobs = []
        for code, shape in shapes:
            dtype, count = np.dtype(code), int(np.prod(shape, dtype=object))
            if dtype.kind not in "biufU" or not 0 <= count * dtype.itemsize <= len(record) - start:
                raise ValueError("an array claims more than is there")
            whole = np.frombuffer(record, np.uint8)[start : start + count * dtype.itemsize]
            blobs.append(whole.copy().view(dtype).reshape(shape) if count else np.empty(shape, dtype))
            start += count * dtype.itemsize
        key, value, is_result = loads(text, blobs)
        hash(key)
    except (ValueError, TypeError, AttributeError) as error:
        raise LandscapeError(f"{file.name} holds a part that cannot be read: {error}; delete the file") from error
    return key, _result(value, file) if is_result else value


def _image(result: Result) -> np.ndarray:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "latest")) as file:
        write_result(file, result)
    return np.frombuffer(buffer.getvalue(), np.uint8)


def _result(image: np.ndarray, file: Path) -> Result:
    with explained(file), h5py.File(io.BytesIO(image.tobytes()), "r") as image_file:
        return read_result(image_file)
