"""Results that grow row by row: what is finished of one that is still being computed can be read and drawn.

The first part that such a `Run` keeps is the result as it was before any row was finished; the others are the rows of
its arrays by name (``values`` of a plane) by their index: row ``j`` of a plane, point ``i`` of a line.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from landscape.errors import LandscapeError
from landscape.results import Result, role_of
from landscape.store.run import read_parts, unfinished

R = TypeVar("R", bound=Result)

TEMPLATE = "template"
"""The key of the part that is the result without its rows."""
COMPUTED = "computed"
"""Under this name a row that is done in parts says which of its entries are."""


def filled(template: R, rows: Mapping[Any, Mapping[str, np.ndarray]]) -> R:
    """Return a result with rows written into its arrays by their index, and marked in ``computed`` when it has that.

    The template is the result before any row was finished; what is under keys that are no index is left out.
    """
    field = _rows_field(type(template))
    blank: Mapping[str, np.ndarray] = getattr(template, field.name)
    values = {key: value.copy() for key, value in blank.items()}
    computed = getattr(template, "computed", None)
    mask = None if computed is None else computed.copy()
    for index, arrays in rows.items():
        if not isinstance(index, int):
            continue
        _check_row(blank, index, arrays)
        for key, target in values.items():
            target[index] = arrays[key]
        if mask is not None:
            mask[index] = arrays.get(COMPUTED, 1)
    return template.replace(**{field.name: values}, **({} if mask is None else {"computed": mask}))


def growing(study: Path) -> dict[str, Path]:
    """Return the files of the unfinished results of a study that can be shown with the rows they have, by name."""
    found = {}
    for name, file in unfinished(study).items():
        try:
            if TEMPLATE in read_parts(file, 1):
                found[name] = file
        except LandscapeError:  # `validate` says so
            continue
    return found


def read_rows(file: Path) -> Result:
    """Return an unfinished result with the rows kept so far, also while they are being computed."""
    parts = read_parts(file)
    if not isinstance(parts.get(TEMPLATE), Result):
        raise LandscapeError(
            f"{file.name} in {file.parent.name} is unfinished, and of a kind that cannot be shown before it is whole; "
            "repeat the call that computes it"
        )
    return filled(parts[TEMPLATE], parts)


def _rows_field(cls: type[Result]) -> dataclasses.Field[Any]:
    found = [field for field in dataclasses.fields(cls) if role_of(field) == "arrays"]
    if len(found) != 1:
        raise LandscapeError(f"a {cls.kind} is not computed row by row; it needs one field of arrays by name")
    return found[0]


def _check_row(blank: Mapping[str, np.ndarray], index: int, arrays: Mapping[str, np.ndarray]) -> None:
    shapes = {key: np.shape(array) for key, array in arrays.items() if key != COMPUTED}
    expected = {key: array.shape[1:] for key, array in blank.items()}
    if shapes != expected or not all(0 <= index < len(array) for array in blank.values()):
        count = min(map(len, blank.values()), default=0)
        raise LandscapeError(f"row {index} holds {shapes}, expected {expected} and an index below {count}")
