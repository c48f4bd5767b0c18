"""What every result is: a frozen dataclass whose fields say how they are stored, drawn and printed.

A field is one of five roles. The study file, the plots and the reprs read roles and never field names, so that a new
result type needs no code outside its own class.

=============  ===========================================  ====================================================
role           declared with                                in the study file
=============  ===========================================  ====================================================
array          ``array("k", "P", units=…, long_name=…)``    a dataset with dimension names, units and long name
arrays         ``arrays("y", "x", long_name=…)``            a dictionary of such arrays, one dataset a key
rows           ``rows(RowClass)``                           a tuple of frozen row dataclasses, one dataset a column
result         ``nested(ResultClass)``                      another result in a sub-group
attribute      a plain annotation                           an attribute (mappings and tuples as JSON text)
=============  ===========================================  ====================================================
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, ClassVar, Literal, Self

import numpy as np

from landscape.errors import LandscapeError
from landscape.lazy import verb
from landscape.results.html import card, lines_of
from landscape.results.numbers import duration
from landscape.results.tables import format_table, hanging

Role = Literal["array", "arrays", "rows", "result", "attribute"]


def _declared(role: Role, optional: bool, **metadata: Any) -> Any:
    default: Any = None if optional else MISSING
    return field(default=default, metadata={"role": role, "optional": optional, **metadata})


def array(*dims: str, long_name: str, units: str = "1", optional: bool = False) -> Any:
    """Declare a NumPy array field with its dimension names, e.g. ``array("k", "P", long_name="eigenvectors")``."""
    return _declared("array", optional, dims=dims, long_name=long_name, units=units)


def arrays(*dims: str, long_name: str, units: str = "1", optional: bool = False) -> Any:
    """Declare a dictionary of arrays with common dimensions; keys such as ``train/loss`` become paths in the file."""
    return _declared("arrays", optional, dims=dims, long_name=long_name, units=units)


def rows(row: type, *, dim: str = "row", optional: bool = False) -> Any:
    """Declare a tuple of row dataclasses, stored by column; `None` in a ``float | None`` column is NaN on disk."""
    return _declared("rows", optional, row=row, dims=(dim,))


def nested(result: type[Result], *, optional: bool = False) -> Any:
    """Declare another result stored in a sub-group of this one."""
    return _declared("result", optional, result=result)


def volatile(default: Any = MISSING) -> Any:
    """Declare a value that differs from run to run (seconds, dates): kept as an attribute, never as a dataset."""
    return field(default=default, metadata={"role": "attribute", "volatile": True})


def role_of(declared: dataclasses.Field[Any]) -> Role:
    """Return the role a dataclass field was declared with."""
    role: Role = declared.metadata.get("role", "attribute")
    return role


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Result:
    """The base of every result: provenance, cost in seconds, saving, drawing and printing.

    Attributes:
        provenance: what produced the result: versions, device, dtype, fingerprints of parameters, data and loss.
        seconds: wall-clock time of the computation.
    """

    kind: ClassVar[str]
    """The slug stored in the file that names this class."""
    location: ClassVar[str]
    """Where the study file keeps it: ``checkpoints/{owner}/eigen/{entry}`` or ``comparisons/{entry}``."""

    provenance: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = volatile(0.0)

    def save(self, path: Any, name: str, *, overwrite: bool = False) -> None:
        """Write this result into a study file under ``name`` (``"sgd-0/top5"``: checkpoint, then entry).

        Args:
            path: the study file; created when absent, replaced atomically when present.
            name: ``owner/entry`` for what belongs to one checkpoint, ``entry`` for what belongs to several.
            overwrite: replace a different result of that name; without it that is an error.

        Raises:
            LandscapeError: the name is taken by something different, or the file cannot be written.
        """
        verb("save")(self, path, name, overwrite=overwrite)

    def plot(self, ax: Any = None, **options: Any) -> Any:
        """Draw this result with matplotlib and return the axes (see `landscape.plots`)."""
        return verb("plot")(self, ax=ax, **options)

    def to_dict(self) -> dict[str, Any]:
        """Return the result as plain lists, numbers and strings, ready for JSON (NaN and inf are kept as floats)."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    def table(self, style: str = "text") -> str:
        """Return the result as a table: one line an eigenvalue, layer, point, score …; else the numbers that it prints.

        Args:
            style: ``text`` (aligned columns) or ``markdown``.

        Raises:
            LandscapeError: another style.
        """
        return format_table(("quantity", "value"), list(self.summary()), style)

    def to_pandas(self) -> Any:
        """Return the main table as a `pandas.DataFrame`: a row a grid point, a score and radius, an eigenvalue, a layer …

        Raises:
            LandscapeError: pandas is not installed.
        """
        try:
            from pandas import DataFrame
        except ModuleNotFoundError:
            raise LandscapeError(
                "to_pandas needs pandas, which is not installed; pip install pandas, or use landscape.export.frame"
            ) from None
        return DataFrame(verb("frame")(self))

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield (label, text) pairs: the few numbers worth reading first."""
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.name not in ("provenance", "seconds") and value is not None:
                yield f.name, describe(value)
        yield "time", duration(self.seconds)

    def __repr__(self) -> str:
        lines = list(self.summary())
        width = max((len(label) for label, _ in lines), default=0)
        return "\n".join([type(self).__name__, *(hanging(f"  {label:<{width}}  ", text) for label, text in lines)])

    def _repr_html_(self) -> str:
        repeats = type(self).table is Result.table  # what is shown above it anyhow
        details = {} if repeats else {"table": self.table()}
        if self.provenance:
            details["provenance"] = lines_of({key: describe(value) for key, value in self.provenance.items()})
        return card(type(self).__name__, self.summary(), self._picture(), details)

    def _picture(self) -> bytes | None:
        """Draw the result small; without a figure, or when drawing fails, the numbers stand alone."""
        try:
            picture: bytes | None = verb("thumbnail")(self)
            return picture
        except Exception:  # a repr that raises would hide the result
            return None


def describe(value: Any) -> str:
    """Print a value in one short line: arrays by shape and range, numbers with four digits."""
    if isinstance(value, np.ndarray):
        if value.size == 0:
            return f"{value.shape} empty"
        if value.size <= 6 and value.ndim == 1:
            return "[" + ", ".join(describe(item) for item in value.tolist()) + "]"
        if not np.issubdtype(value.dtype, np.number):
            return f"{value.shape} {value.dtype}"
        finite = value[np.isfinite(value)]
        text = f"{value.shape} in [{finite.min():.4g}, {finite.max():.4g}]" if finite.size else f"{value.shape}"
        return text if finite.size == value.size else f"{text}, {value.size - finite.size} not finite"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return f"{float(value):.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {describe(item)}" for key, item in value.items())
    if isinstance(value, Result):
        return f"{type(value).__name__} ({', '.join(f'{label} {text}' for label, text in list(value.summary())[:3])})"
    if isinstance(value, tuple | list) and value and dataclasses.is_dataclass(value[0]):
        return f"{len(value)} rows"
    if isinstance(value, tuple | list):
        return ", ".join(describe(item) for item in value)
    return str(value)


def plain(value: Any) -> Any:
    """Turn arrays, tuples, mappings and dataclasses into lists, dictionaries, numbers and strings."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Result):
        return value.to_dict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    return value
