"""Trials: one row per run, with the factors it was made under, what was measured on it, and what follows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import numpy as np

from landscape.errors import LandscapeError
from landscape.lazy import verb
from landscape.results.base import Result
from landscape.results.comparison import Audited, Comparison, Placebo, over_radii
from landscape.results.effects import Effect, Finding, effect_columns
from landscape.results.schema import arrays as per_name
from landscape.results.schema import nested, rows
from landscape.results.tabulate import summary_table
from landscape.tables import Cell, Measured, Table, duration, over_seeds, render

REACHED = "reached"
"""The measure that says whether a run met its target; runs that did not are counted and left out of means and tests."""
GATES = "fact/"
"""Measures of this prefix are what the gates of `landscape.compare` look at; tables leave them out."""
ERROR = " ±"
"""In a row, what follows the name of a measure to name its standard error."""
_WIDE = 12  # measures from which a table has one line per measure instead of one column


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Trials(Result):
    """Runs as a long table: factors, measures with their errors, and arrays of every run beside them.

    Attributes:
        factors: (run,) what each run was made under, by name: numbers or text. ``seed`` tells repetitions apart.
        measures: (run,) or (run, radius) what was measured, by name; NaN where it was not, or has no meaning.
        errors: standard errors of measures, in the same shape.
        arrays: (run, …) anything else of each run, such as learning curves; shorter ones end in NaN.
        coordinates: what the axes of measures and arrays mean, by name: radii of a score, epochs of a curve.
        effects: what factors do to measures.
        findings: what follows, in sentences.
        audited: how transformations that keep the function moved the scores of some runs.
        comparison: what `landscape.compare` says of these runs.
        placebo: how often the rule behind the findings calls equals different.
        study: slug of the study.
        parts: factors held fixed in effects; the table has a part for each of their levels.
        shown: measures of the table; empty: all numbers.
        geometric: measures whose means in the table are geometric.
        words: names in words, of levels and measures.
        view: options of the figure, as in `landscape.plots.trials`.
        settings: what decides the numbers.

    >>> rows = [{"lr": lr, "seed": seed, "loss": lr * (1 + seed)} for lr in (0.1, 0.2) for seed in (0, 1)]
    >>> trials = Trials.of(rows, factors=("lr", "seed"))
    >>> trials.array("loss", "lr", "seed").tolist()
    [[0.1, 0.2], [0.2, 0.4]]
    >>> print(trials.table())
    lr   loss
    ---  -------------
    0.1  0.150 ± 0.071
    0.2  0.30 ± 0.14
    """

    kind: ClassVar[str] = "trials"
    location: ClassVar[str] = "experiments/{entry}"

    factors: Mapping[str, np.ndarray] = per_name("run", long_name="factor")
    measures: Mapping[str, np.ndarray] = per_name("run", ..., long_name="measure")
    errors: Mapping[str, np.ndarray] = per_name("run", ..., long_name="standard error", empty=True)
    arrays: Mapping[str, np.ndarray] = per_name("run", ..., long_name="array of each run", empty=True)
    coordinates: Mapping[str, np.ndarray] = per_name(..., long_name="coordinate", empty=True)
    effects: tuple[Effect, ...] = rows(Effect, dim="effect", empty=True)
    findings: tuple[Finding, ...] = rows(Finding, dim="finding", empty=True)
    audited: tuple[Audited, ...] = rows(Audited, dim="audited", empty=True)
    comparison: Comparison | None = nested(Comparison, optional=True)
    placebo: Placebo | None = nested(Placebo, optional=True)
    study: str = ""
    parts: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    geometric: tuple[str, ...] = ()
    words: Mapping[str, str] = field(default_factory=dict)
    view: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls, table: Sequence[Mapping[str, Any]], *, factors: Sequence[str], arrays: Sequence[str] = (), **about: Any
    ) -> Self:
        """Return trials made of one mapping per run.

        Args:
            table: by name a number, text, or an array: of a measure at several radii, or one of `arrays`. ``NAME ±`` is
                the standard error of NAME. What a run lacks is NaN.
            factors: names that say what the run was made under.
            arrays: names of what stands beside the table.
            **about: other fields.

        Raises:
            LandscapeError: no runs, or a run lacks a factor.
        """
        if not table:
            raise LandscapeError("no runs; expected at least one")
        lacking = next((name for name in factors for row in table if name not in row), None)
        if lacking is not None:
            raise LandscapeError(f"a run lacks the factor {lacking!r}; every run needs one value of each factor")
        names = dict.fromkeys(name for row in table for name in row)
        columns = {name: stacked([row.get(name) for row in table]) for name in names}
        plain = [name for name in names if name not in (*factors, *arrays) and not name.endswith(ERROR)]
        return cls(
            factors={name: columns[name] for name in factors},
            measures={name: columns[name] for name in plain},
            errors={name: columns[name + ERROR] for name in plain if name + ERROR in columns},
            arrays={name: columns[name] for name in arrays if name in columns},
            **about,
        )

    def __len__(self) -> int:
        return len(next(iter(self.factors.values()), ()))

    def __getitem__(self, name: str) -> np.ndarray:
        """Return a factor or a measure, (run,); of a measure at several radii their geometric mean.

        Raises:
            KeyError: there is none of that name.
        """
        if name in self.factors:
            return self.factors[name]
        if name not in self.measures:
            raise KeyError(f"no {name!r}; there are {', '.join([*self.factors, *self.measures])}")
        values = self.measures[name]
        return over_radii(values) if values.ndim > 1 else values

    @property
    def met(self) -> np.ndarray:
        """(run,) whether each run met its target; all did where none is named."""
        reached = self.measures.get(REACHED)
        return np.ones(len(self), dtype=bool) if reached is None else np.asarray(reached) > 0

    def levels(self, factor: str) -> tuple[Any, ...]:
        """Return the values of a factor in the order of the runs."""
        return tuple(dict.fromkeys(self[factor].tolist()))

    def where(self, **levels: Any) -> Self:
        """Return the runs with certain levels, one or several of a factor: ``trials.where(noise=0.4, seed=[0, 1])``.

        Raises:
            KeyError: there is no such factor, or no such run.
        """
        chosen = np.ones(len(self), dtype=bool)
        for factor, wanted in levels.items():
            several = wanted if isinstance(wanted, list | tuple | set | range | np.ndarray) else [wanted]
            chosen &= np.isin(self[factor], list(several))
        if not chosen.any():
            there = "; ".join(f"{factor}: {', '.join(map(in_words, self.levels(factor)))}" for factor in levels)
            raise KeyError(f"no run with {levels}; there are {there}")
        return self.take(np.flatnonzero(chosen))

    def take(self, chosen: np.ndarray) -> Self:
        """Return the runs at certain positions, with the effects of their parts; what was found of all does not go along."""
        if len(chosen) == len(self):
            return self
        names = ("factors", "measures", "errors", "arrays")
        kept = {name: {key: values[chosen] for key, values in getattr(self, name).items()} for name in names}
        part = self.replace(**kept, findings=(), comparison=None, placebo=None)
        present = set(part.part)
        return part.replace(effects=tuple(effect for effect in self.effects if effect.part in present))

    @property
    def part(self) -> list[str]:
        """The part that each run belongs to: its levels of `parts`, in words."""
        columns = [self.factors[name].tolist() for name in self.parts]
        return [", ".join(map(in_words, levels)) for levels in zip(*columns)] if columns else [""] * len(self)

    def array(self, name: str | np.ndarray, *factors: str) -> np.ndarray:
        """Return a measure or an array of the runs by the levels of factors: (levels, levels, …), then its own axes.

        Args:
            name: of a factor, a measure (all its radii) or an array; or the values themselves, (run, …).
            factors: together they tell the runs apart; a combination without a run is NaN.

        Raises:
            KeyError: there is no such name.
            LandscapeError: two runs share all these levels.
        """
        values = name if isinstance(name, np.ndarray) else self._values(name)
        levels = [self.levels(factor) for factor in factors]
        places = tuple(
            np.array([of.index(level) for level in self[factor].tolist()], dtype=int)
            for factor, of in zip(factors, levels, strict=True)
        )
        if len(set(zip(*places))) < len(self):
            raise LandscapeError(
                f"several runs share their {', '.join(factors)}; name more of {', '.join(self.factors)}"
            )
        out = np.full((*map(len, levels), *values.shape[1:]), np.nan)
        out[places] = values
        return out

    def _values(self, name: str) -> np.ndarray:
        known = {**self.factors, **self.arrays, **self.measures}
        return known[name] if name in known else self[name]

    def by(self, *factors: str) -> Self:
        """Return one row per combination of factors: means over the runs that met their target, ± standard deviations.

        Args:
            factors: by which; none: all runs together.

        Returns:
            Trials whose measures are means and whose errors are standard deviations (of a single run, its own errors), with
            the ``runs`` that entered and ``tried``.

        >>> rows = [{"lr": 0.1, "seed": seed, "loss": 1.0 + seed} for seed in (0, 1)]
        >>> Trials.of(rows, factors=("lr", "seed")).by("lr").measures["loss"]
        array([1.5])
        """
        groups: dict[tuple[Any, ...], list[int]] = {}
        for i, key in enumerate(zip(*(self[name].tolist() for name in factors)) if factors else [()] * len(self)):
            groups.setdefault(key, []).append(i)
        numbers = [name for name, values in self.measures.items() if values.dtype.kind in "biuf" and name != REACHED]
        table = []
        for key, members in groups.items():
            kept = [i for i in members if self.met[i]]
            row: dict[str, Any] = {**dict(zip(factors, key, strict=True)), "runs": len(kept), "tried": len(members)}
            for name in numbers:
                mean, error = self._mean(name, kept)
                row |= {name: mean, name + ERROR: error}
            table.append(row)
        same = ("study", "shown", "geometric", "words", "view", "settings", "provenance")
        return type(self).of(table, factors=factors, **{name: getattr(self, name) for name in same})

    def _mean(self, name: str, chosen: list[int]) -> tuple[float, float]:
        values = np.asarray(self[name][chosen], dtype=float)
        values = values[np.isfinite(values)]
        if name in self.geometric and values.size > 1 and (values > 0).all():
            return float(np.exp(np.log(values).mean())), np.nan
        errors = self.errors.get(name)
        if len(chosen) == 1 and errors is not None and errors.ndim == 1:
            return float(values[0]) if values.size else np.nan, float(errors[chosen[0]])
        cell = over_seeds(values) or Measured(np.nan)
        return cell.value, np.nan if cell.error is None else cell.error

    def contrast(self, measure: str, factor: str, a: Any = None, b: Any = None, **options: Any) -> Effect:
        """Compare two levels of a factor in one measure: difference or ratio, interval and exact test.

        Args:
            measure: what to compare.
            factor: what differs.
            a: the reference; `None`: the first level.
            b: the other; `None`: the last.
            **options: ``pair="seed"`` for runs that share what they started from, ``scale``, ``fewest``; see
                `landscape.statistics.contrast`.

        Returns:
            An `Effect`.
        """
        effect: Effect = verb("contrast")(self, measure, factor, a, b, **options)
        return effect

    def finding(self, label: str) -> Finding:
        """Return one finding.

        Raises:
            KeyError: there is none of that label.
        """
        for row in self.findings:
            if row.label == label:
                return row
        raise KeyError(f"no finding {label!r}; there are {', '.join(row.label for row in self.findings)}")

    def effect(self, measure: str, part: str | None = None, b: Any = None) -> Effect:
        """Return one effect.

        Args:
            measure: of which.
            part: the levels that were held fixed; `None`: the first.
            b: the level compared; `None`: the first.

        Raises:
            KeyError: there is none.
        """
        for row in self.effects:
            if row.measure == measure and part in (None, row.part) and (b is None or row.b == in_words(b)):
                return row
        raise KeyError(
            f"no effect on {measure!r}; there are {', '.join(dict.fromkeys(e.measure for e in self.effects))}"
        )

    def tables(self, by: Sequence[str] = (), measures: Sequence[str] = ()) -> tuple[Table, ...]:
        """Return means ± standard deviations over the runs that met their target, with effects beside them: one per part.

        One line per combination of the factors that vary; one per measure where there are many, or an effect on each.

        Args:
            by: factors; empty: all that vary but the seed and `parts`.
            measures: which; empty: those of `shown`.
        """
        if not len(self) or not self.measures:
            return (summary_table(self),)
        every = self.part
        parts = (self.take(np.flatnonzero([one == part for one in every])) for part in dict.fromkeys(every))
        return tuple(part._table(tuple(by), tuple(measures)) for part in parts)

    def table(self, style: str = "text", *, by: Sequence[str] = (), measures: Sequence[str] = ()) -> str:
        """Return all `tables`, each under its part.

        Args:
            style: as for every result.
            by: factors; empty: all that vary but the seed and `parts`.
            measures: which; empty: those of `shown`.
        """
        tables = self.tables(by, measures)
        if len(tables) == 1:
            return render(tables[0], style)
        heading = "### {}\n\n{}" if style == "markdown" else "{}\n{}"
        return "\n\n".join(heading.format(table.title, render(table, style)) for table in tables)

    def _table(self, by: tuple[str, ...], measures: tuple[str, ...]) -> Table:
        by = by or self._design("seed", *self.parts)
        cells = self.by(*by)
        known = [name for name, values in cells.measures.items() if np.isfinite(values).any() or name in measures]
        shown = [name for name in (measures or self.shown or known) if name in known and not name.startswith(GATES)]
        columns = {name: cells._cells(name) for name in shown if name not in ("runs", "tried")}
        if REACHED in self.measures:
            counts = zip(cells["runs"].tolist(), cells["tried"].tolist(), strict=True)
            columns[REACHED] = [f"{kept} of {tried}" for kept, tried in counts]
        effects = {effect.measure: effect for effect in self.effects}
        single = len(effects) == len(self.effects) > 0
        keys = [[self._word(level) for level in cells[name].tolist()] for name in by]
        title = ", ".join(self._word(self.levels(name)[0]) for name in self.parts) if len(self) else ""
        if len(columns) <= _WIDE and not single:
            header = (*by, *(self.words.get(name, name) for name in columns))
            return Table(title, header, tuple(zip(*keys, *columns.values(), strict=True)))
        across = [", ".join(key) for key in zip(*keys)] or ["value"]
        if len(by) == 1 and cells[by[0]].dtype.kind in "iuf":
            across = [f"{self.words.get(by[0], by[0])} = {name}" for name in across]
        extra = effect_columns([effects.get(name) for name in columns]) if single else {}
        beside = list(zip(*extra.values())) if extra else [()] * len(columns)
        body = [
            (self.words.get(name, name), *cells_of, *more) for (name, cells_of), more in zip(columns.items(), beside)
        ]
        return Table(title, ("", *across, *extra), tuple(body))

    def columns(self) -> dict[str, Any]:
        """Return one row per run: factors and measures, errors as ``NAME ±``; at several radii as ``NAME@RADIUS``."""
        found: dict[str, Any] = dict(self.factors)
        for name, values in self.measures.items():
            for end, table in (("", values), (ERROR, self.errors.get(name))):
                if table is None or table.ndim == 1:
                    found |= {} if table is None else {name + end: table}
                    continue
                grid = self.coordinates.get(name, np.arange(table.shape[1]))
                found |= {f"{name}@{radius:g}{end}": column for radius, column in zip(grid, table.T)}
        return found

    def _design(self, *without: str) -> tuple[str, ...]:
        """The factors that tell the lines of a table apart: that vary, and do not follow from those before."""
        chosen: list[str] = []
        for name in (name for name in self.factors if name not in without and len(self.levels(name)) > 1):
            before = list(zip(*(self[one].tolist() for one in chosen))) if chosen else [()] * len(self)
            if len(set(before)) < len(set(zip(before, self[name].tolist()))):
                chosen.append(name)
        return tuple(chosen)

    def _cells(self, name: str) -> list[Cell]:
        errors = self.errors.get(name, np.full(len(self), np.nan))
        return [_cell(mean, error) for mean, error in zip(self[name].tolist(), errors.tolist(), strict=True)]

    def _word(self, level: Any) -> str:
        return self.words.get(in_words(level), in_words(level))

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield the study, how many runs there are of what, then the findings."""
        if self.study:
            yield "study", self.study
        counts = " × ".join(f"{len(self.levels(name))} {name}" for name in self._design())
        yield "rows", f"{len(self)}: {counts}" if counts else str(len(self))
        missed = int(len(self) - self.met.sum())
        if missed:
            yield "target not reached", f"by {missed} of {len(self)} runs, which are left out of means and tests"
        for finding in self.findings:
            yield finding.label, finding.text
        yield "time", duration(self.seconds)


def stacked(values: Sequence[Any]) -> np.ndarray:
    """Stack one value per run; what a run lacks, or has less of than others, is NaN."""
    parts = [np.asarray(np.nan if value is None else value) for value in values]
    if len({part.shape for part in parts}) == 1:
        return np.array(parts)
    axes = max(part.ndim for part in parts)
    parts = [part.reshape(part.shape + (1,) * (axes - part.ndim)) for part in parts]
    out = np.full((len(parts), *np.max([part.shape for part in parts], axis=0)), np.nan)
    for i, part in enumerate(parts):
        corner: tuple[Any, ...] = (i, *map(slice, part.shape))
        out[corner] = part
    return out


def _cell(mean: float, error: float) -> Cell:
    if np.isnan(mean):
        return None
    if not error > 0 and mean == round(mean):
        return int(mean)  # counts are written in full
    return Measured(mean, error if error > 0 else None)


def in_words(level: Any) -> str:
    """Return the level of a factor as it is printed."""
    return f"{level:g}" if isinstance(level, float) else str(level)
