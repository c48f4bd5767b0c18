"""Results as CSV and JSON, every number with all its digits, and as LaTeX tables, rounded to their errors."""

from __future__ import annotations

import csv as comma_separated
import io
import json as javascript
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landscape.results import Result, plain
from landscape.results.base import expect_result
from landscape.store.files import write_text
from landscape.tables import table_latex


def csv(result: Result, path: str | os.PathLike[str]) -> Path:
    """Write the main table of a result as CSV: a header, then one row per grid point, eigenvalue, score …

    The columns are those of ``result.columns()``. Numbers have as many digits as it takes to read them back bit for bit; NaN
    and infinities are ``nan`` and ``inf``; an empty field means that there is nothing. Planes have x fastest.

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
    >>> one = Line(x=np.array([0.0, 0.5]), values={"train/loss": np.array([0.1, np.inf])})
    >>> print(csv(one, Path(tempfile.mkdtemp()) / "line.csv").read_text())
    x,train/loss
    0.0,0.1
    0.5,inf
    <BLANKLINE>
    """
    expect_result(result, "csv", Result)
    columns = result.columns()
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
    expect_result(result, "json", Result)
    return write_text(path, to_json({"kind": result.kind, **result.to_dict()}, indent=1) + "\n")


def latex(result: Result, path: str | os.PathLike[str], *, caption: str | None = None, label: str = "") -> Path:
    r"""Write the tables of a result as LaTeX; the document needs ``\usepackage{booktabs}``.

    Args:
        result: any result.
        path: the file, for ``\input``.
        caption: of the first table, in LaTeX; `None`: what the table is called.
        label: ``\label`` of the first table; further ones get ``-2``, ``-3`` ….

    Returns:
        The file.

    Raises:
        LandscapeError: the place cannot be written.

    >>> import tempfile
    >>> from landscape.results import Score, Scores
    >>> one = Scores(rows=(Score(name="trace", value=2.0, standard_error=0.13),))
    >>> print(latex(one, Path(tempfile.mkdtemp()) / "scores.tex").read_text().splitlines()[7])
    trace & $2.00 \pm 0.13$ & 0 & ok \\
    """
    expect_result(result, "latex", Result)
    first, *rest = result.tables()
    texts = [table_latex(first, caption=caption, label=label)]
    texts += [table_latex(table, label=label and f"{label}-{i}") for i, table in enumerate(rest, start=2)]
    return write_text(path, "\n".join(texts))


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
