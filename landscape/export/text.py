"""Results as CSV and JSON: every number with all its digits."""

from __future__ import annotations

import csv as comma_separated
import io
import json as javascript
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landscape.export.frames import frame
from landscape.results import Result, plain
from landscape.store.files import write_text


def csv(result: Result, path: str | os.PathLike[str]) -> Path:
    """Write the main table of a result as CSV: a header, then one row a grid point, eigenvalue, score …

    Numbers have as many digits as it takes to read them back bit for bit; NaN and infinities are ``nan`` and ``inf``;
    an empty field means that there is nothing. Planes have x fastest.

    Args:
        result: any result; see `landscape.export.frames.frame` for the columns.
        path: the file.

    Returns:
        The file.

    Raises:
        LandscapeError: the place cannot be written.

    >>> import tempfile
    >>> import numpy as np
    >>> from landscape.results import Line
    >>> one = Line(x=np.array([0.0, 0.5]), values={"train/loss": np.array([0.1, np.inf])})
    >>> print(csv(one, Path(tempfile.mkdtemp()) / "line.csv").read_text())
    x,train/loss
    0.0,0.1
    0.5,inf
    <BLANKLINE>
    """
    columns = frame(result)
    text = io.StringIO()
    writer = comma_separated.writer(text, lineterminator="\n")
    writer.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        writer.writerow(["" if value is None else value for value in map(plain, row)])
    return write_text(path, text.getvalue())


def json(result: Result, path: str | os.PathLike[str]) -> Path:
    """Write all of a result as JSON that every reader accepts.

    JSON has no NaN: it and the infinities are the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, which
    ``float()`` and JavaScript's ``Number()`` understand.

    Args:
        result: any result.
        path: the file.

    Returns:
        The file.

    Raises:
        LandscapeError: the place cannot be written.

    >>> import tempfile
    >>> import numpy as np
    >>> from landscape.results import Line
    >>> one = Line(x=np.array([0.0, 0.5]), values={"train/loss": np.array([0.1, np.nan])})
    >>> javascript.loads(json(one, Path(tempfile.mkdtemp()) / "line.json").read_text())["values"]
    {'train/loss': [0.1, 'NaN']}
    """
    return write_text(path, to_json({"kind": result.kind, **result.to_dict()}, indent=1) + "\n")


def to_json(value: Any, indent: int | None = None) -> str:
    """Return strict JSON text of numbers, texts, lists and mappings.

    >>> to_json({"a": float("inf"), "b": (1, 2)})
    '{"a": "Infinity", "b": [1, 2]}'
    """
    return javascript.dumps(_strict(plain(value)), indent=indent, ensure_ascii=False, allow_nan=False)


def _strict(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {key: _strict(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_strict(item) for item in value]
    return value
