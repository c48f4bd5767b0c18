"""Figures into files: all formats or none, the same bytes every time."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from landscape.errors import LandscapeError
from landscape.plots.style import as_written, style
from landscape.store.files import replacing

_UNDATED: dict[str, dict[str, Any]] = {
    "png": {"Software": None},
    "pdf": {"CreationDate": None},
    "svg": {"Date": None},
}


def save(
    figure: Any, path: str | os.PathLike[str], formats: Sequence[str] = ("png", "pdf"), *, dpi: float = 300
) -> list[Path]:
    """Write a figure in several formats, without dates, so that the same figure gives the same bytes.

    Every format is written beside its target first and renamed when all are complete. Outside interactive sessions the
    figure is then taken off pyplot's list, so that a loop over results does not fill the memory; it can still be drawn.

    Args:
        figure: a figure, or axes of it.
        path: where to, without the suffix; folders are made.
        formats: ``png``, ``pdf``, ``svg``.
        dpi: resolution of PNG and of the rasterised parts of PDF and SVG, in dots per inch.

    Returns:
        The files written.

    Raises:
        LandscapeError: an unknown format, a path with a suffix, or a place that cannot be written.

    >>> import tempfile
    >>> from matplotlib.figure import Figure
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [file.name for file in save(Figure(), Path(folder) / "figure", formats=("svg",))]
    ['figure.svg']
    """
    while (owner := getattr(figure, "figure", figure)) is not figure:  # of axes, or of a part of a figure
        figure = owner
    if not isinstance(figure, Figure):
        raise LandscapeError(f"got {type(figure).__name__}, expected a figure, or axes of it: result.plot()")
    target = Path(path)
    unknown = sorted(set(formats) - set(_UNDATED))
    if unknown or not formats:
        raise LandscapeError(
            f"cannot write {unknown[0] if unknown else 'no format'!r}; expected some of {', '.join(_UNDATED)}"
        )
    if target.suffix[1:] in _UNDATED:
        raise LandscapeError(
            f"{target.name} has a suffix; give the path without it and formats=({target.suffix[1:]!r},)"
        )
    files = [target.with_name(f"{target.name}.{suffix}") for suffix in formats]
    as_written(figure)
    with ExitStack() as stack:
        for file, suffix in zip(files, formats, strict=True):
            drawn = io.BytesIO()  # Matplotlib's writers fail on a full disk with errors of their own
            fresh = stack.enter_context(replacing(file))
            with style():
                figure.savefig(drawn, format=suffix, dpi=dpi, metadata=_UNDATED[suffix])
            fresh.write_bytes(drawn.getvalue())
    if not matplotlib.is_interactive():
        from matplotlib import pyplot

        pyplot.close(figure)
    return files
