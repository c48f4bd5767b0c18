"""Results that grow row by row: finished rows are journalled beside the study, and merged into it at the end.

The rows of a journal are those of the arrays by name of a result (``values`` of a plane): row ``j`` of a plane, point
``i`` of a line. The journal begins with the result as it was before any row was finished, written as an HDF5 file in
memory, so that a reader can show what is there so far.
"""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np

from landscape.errors import LandscapeError
from landscape.results import Result, role_of
from landscape.store.decode import read_result, stored_results
from landscape.store.encode import write_result
from landscape.store.files import locked
from landscape.store.heaps import heap_problem
from landscape.store.journal import Journal, fingerprint, read_journal
from landscape.store.names import path_of
from landscape.store.safe import explained, opened, read_attribute
from landscape.store.writer import check_format, check_seal_of, save

_ROW = struct.Struct("<QI")
COMPUTED = "computed"
"""Under this name a record holds which entries of its row were computed, when not all of them were."""


class Rows:
    """Rows of one result, finished and to come.

    Attributes:
        finished: arrays of each finished row by its index, ``{3: {"train/loss": (nx,)}}``, and under ``computed`` which
            of its entries are, when it was appended in parts.
        template: the result as it was before any row was finished.
        stored: the complete result, when the same computation finished before; then there is nothing left to do.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        template: Result | Callable[[], Result],
        settings: Mapping[str, Any],
        overwrite: bool,
    ):
        self._path, self._name, self._overwrite = path, name, overwrite
        self._fingerprint = fingerprint(settings)
        self._held = ExitStack()
        self._journal: Journal | None = None
        self.finished: dict[int, dict[str, np.ndarray]] = {}
        self.stored = None if overwrite else self._complete()
        if self.stored is None:
            with ExitStack() as held:
                log = _made(journal_of(path, name))
                held.enter_context(locked(log, wait=0.0))
                before = _settings_of(log)
                same = before is not None and fingerprint(before) == self._fingerprint
                if overwrite and before is not None and not same:
                    log.unlink()
                if callable(template):
                    template = _template_of(log) if same else template()
                self.template = template
                _rows_field(type(self.template))
                self._journal = held.enter_context(Journal(log, settings, _image(self.template)))
                self.finished = dict(map(_unpack, self._journal.records))
                self._held = held.pop_all()

    def append(self, index: int, arrays: Mapping[str, np.ndarray], computed: np.ndarray | None = None) -> None:
        """Add one finished row and return when it is on the disk.

        Args:
            index: of the row; of a row that is appended again, the last record counts.
            arrays: its values by name.
            computed: which of them were computed, for a row that is done in parts; by default all.

        Raises:
            LandscapeError: the names or shapes are not those of the result, or the disk is full.
        """
        if self._journal is None:
            raise LandscapeError(f"the rows of {self._name!r} are closed; open them again to append")
        arrays = {key: np.asarray(value) for key, value in arrays.items()}
        if computed is not None:
            arrays[COMPUTED] = np.asarray(computed, dtype=np.uint8)
        _check_row(getattr(self.template, _rows_field(type(self.template)).name), index, arrays)
        self._journal.append(_pack(index, arrays))
        self.finished[index] = arrays

    def result(self) -> Result:
        """Return the result with the rows finished so far; the others are NaN and not marked computed."""
        return _filled(self.template, self.finished) if self.stored is None else self.stored

    def merge(self, result: Result | None = None) -> Result:
        """Store the finished result in the study, remove the journal, and return the result.

        Args:
            result: what to store; by default the rows gathered here.
        """
        result = self.result() if result is None else result
        if self._journal is not None:
            save(result, self._path, self._name, overwrite=self._overwrite, settings_sha256=self._fingerprint)
            self._journal.delete()
            self.close()
            with suppress(OSError):  # other results still have their rows there
                journal_of(self._path, self._name).parent.rmdir()
        return result

    def close(self) -> None:
        """Close the journal; its rows stay for the run that resumes."""
        self._journal = None
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _complete(self) -> Result | None:
        if not self._path.exists():
            return None
        check_seal_of(self._path)
        with opened(self._path) as file:
            check_format(file, self._path)
            for name, _, group in stored_results(file):
                if name == self._name:
                    if read_attribute(group, "settings_sha256") == self._fingerprint:
                        return read_result(group)
                    raise LandscapeError(
                        f"{name!r} in {self._path.name} already holds a result of other settings; "
                        "choose another name, or replace it with overwrite=True"
                    )
        return None


def open_rows(
    path: str | os.PathLike[str],
    name: str,
    template: Result | Callable[[], Result],
    settings: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Rows:
    """Begin or resume a result that is computed row by row.

    Args:
        path: the study file that will hold the finished result.
        name: its name there, ``owner/entry``.
        template: the result before any row is finished: coordinates, and values that are NaN; or what makes it, which
            is called only when no run began before, so that costly parts of it are made once.
        settings: JSON values that decide every number of the result (points, seeds, fingerprints of parameters and
            data); rows of other settings are not mixed in.
        overwrite: replace a different result of that name, finished or not.

    Returns:
        `Rows`: skip the indices in ``.finished``, ``.append`` each new row, and ``.merge()`` at the end.

    Raises:
        LandscapeError: rows of other settings exist, another process computes this result, or nothing can be written.

    >>> import tempfile
    >>> from landscape.results import Line
    >>> blank = Line(x=np.arange(3.0), values={"train/loss": np.full(3, np.nan)})
    >>> path = Path(tempfile.mkdtemp()) / "study.h5"
    >>> with open_rows(path, "sgd-0/line", blank, {"seed": 0}) as rows:
    ...     for i in set(range(3)) - rows.finished.keys():
    ...         rows.append(i, {"train/loss": np.array(i * i)})
    ...     rows.merge().loss
    array([0., 1., 4.])
    """
    path = Path(path).expanduser().resolve()
    if isinstance(template, Result):
        path_of(type(template), name)
        _rows_field(type(template))
    return Rows(path, name, template, settings, overwrite)


def journal_of(path: Path, name: str) -> Path:
    """Return the journal of a result: ``study.h5.rows/sgd-0+plane.journal``."""
    return path.with_name(path.name + ".rows") / (name.replace("/", "+") + ".journal")


def journalled(path: Path) -> tuple[str, ...]:
    """Return the names of the results of a study that have a journal."""
    folder = path.with_name(path.name + ".rows")
    if not folder.is_dir():
        return ()
    return tuple(sorted(file.stem.replace("+", "/") for file in folder.glob("*.journal")))


def read_rows(path: Path, name: str) -> Result:
    """Return an unfinished result with the rows journalled so far, also while they are being computed.

    Raises:
        LandscapeError: the journal is damaged.
    """
    _, _, records = read_journal(journal_of(path, name))
    return _filled(_template_of(journal_of(path, name)), dict(map(_unpack, records)))


def _settings_of(log: Path) -> dict[str, Any] | None:
    """Return the settings of a journal; `None` when there is none that a run could go on with."""
    try:
        return read_journal(log)[0] if log.exists() else None
    except LandscapeError:
        return None


def _template_of(log: Path) -> Result:
    """Return the result a journal began with."""
    image = read_journal(log)[1]
    if problem := heap_problem(image):
        raise LandscapeError(f"the journal {log.name} is damaged: {problem}")
    with explained(log), h5py.File(io.BytesIO(image), "r") as file:
        return read_result(file)


def _made(file: Path) -> Path:
    """Return a path after making its folder."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LandscapeError(f"cannot write {file.parent.name}: {error.strerror}; choose another folder") from error
    return file


def _image(template: Result) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver=("v110", "latest")) as file:
        write_result(file, template)
    return buffer.getvalue()


def _rows_field(cls: type[Result]) -> dataclasses.Field[Any]:
    found = [field for field in dataclasses.fields(cls) if role_of(field) == "arrays"]
    if len(found) != 1:
        raise LandscapeError(f"a {cls.kind} is not computed row by row; it needs one field of arrays by name")
    return found[0]


def _filled(template: Result, rows: Mapping[int, Mapping[str, np.ndarray]]) -> Result:
    """Return the template with rows written into its arrays and marked in ``computed``, when it has that."""
    field = _rows_field(type(template))
    blank: Mapping[str, np.ndarray] = getattr(template, field.name)
    values = {key: value.copy() for key, value in blank.items()}
    computed = getattr(template, "computed", None)
    mask = None if computed is None else computed.copy()
    for index, arrays in rows.items():
        _check_row(blank, index, arrays)
        for key, target in values.items():
            target[index] = arrays[key]
        if mask is not None:
            mask[index] = arrays.get(COMPUTED, 1)
    return template.replace(**{field.name: values}, **({} if mask is None else {"computed": mask}))


def _check_row(blank: Mapping[str, np.ndarray], index: int, arrays: Mapping[str, np.ndarray]) -> None:
    shapes = {key: array.shape for key, array in arrays.items() if key != COMPUTED}
    expected = {key: array.shape[1:] for key, array in blank.items()}
    if shapes != expected or not all(0 <= index < len(array) for array in blank.values()):
        count = min(map(len, blank.values()), default=0)
        raise LandscapeError(f"row {index} holds {shapes}, expected {expected} and an index below {count}")


def _pack(index: int, arrays: Mapping[str, np.ndarray]) -> bytes:
    about = {key: [array.dtype.str, list(array.shape)] for key, array in arrays.items()}
    header = json.dumps(about).encode()
    return _ROW.pack(index, len(header)) + header + b"".join(array.tobytes() for array in arrays.values())


def _unpack(record: bytes) -> tuple[int, dict[str, np.ndarray]]:
    try:
        index, length = _ROW.unpack_from(record)
        about = json.loads(record[_ROW.size : _ROW.size + length])
        return index, dict(_arrays(about, record, _ROW.size + length))
    except (struct.error, ValueError, TypeError, AttributeError) as error:
        raise LandscapeError(f"a journal holds a row that is not readable: {error}; delete it") from error


def _arrays(about: Mapping[str, Any], record: bytes, start: int) -> Iterator[tuple[str, np.ndarray]]:
    for key, (code, shape) in about.items():
        dtype = np.dtype(code)
        if dtype.kind not in "biuf" or math.prod(shape) * dtype.itemsize > len(record) - start:
            raise ValueError(f"{key!r} claims more than is there")
        yield key, np.frombuffer(record, dtype, math.prod(shape), start).reshape(shape).copy()
        start += math.prod(shape) * dtype.itemsize
