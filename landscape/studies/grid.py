"""The one runner of studies: every combination of factors is measured once, resumably, and becomes one row of `Trials`.

Underneath are independent jobs: each finished one is kept beside the study file, so that the same call after Ctrl-C or a
kill computes only what is missing.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from itertools import product
from operator import attrgetter
from typing import Any, TypeVar

from landscape.bars import bar
from landscape.comparison.audits import AUDIT, audited_in
from landscape.datasets import Split
from landscape.hashing import environment
from landscape.results import Effect, Finding, Result, Trials
from landscape.results.comparison import Comparison, Placebo
from landscape.results.trials import stacked
from landscape.store import Run
from landscape.training import check_factory, describe_model
from landscape.training.factories import check_width_factory
from landscape.workers import Workers, completed

Row = Mapping[str, Any]
R = TypeVar("R", bound=Result)
Levels = Sequence[Any] | Mapping[str, Any]
"""The levels of a factor: numbers or text, or any objects by name."""


def run_jobs(
    work: Callable[..., Row],
    jobs: Mapping[str, tuple[Any, ...]],
    run: Run[Any],
    *,
    workers: Workers = 1,
    desc: str = "runs",
) -> None:
    """Do every job that is not done, keeping each row as soon as it is finished.

    Args:
        work: one job: a module-level function of the arguments of a job that returns its row: numbers, text, truth
            values and NumPy arrays by name.
        jobs: the arguments of each job by its key.
        run: keeps the rows by key.
        workers: processes, one thread each; 1 runs in this process. A script that asks for more must do so under
            ``if __name__ == "__main__":``. Or any `concurrent.futures.Executor`, such as that of a Dask client or of MPI.
        desc: label of the progress bar.

    Raises:
        LandscapeError: fewer than one worker, a worker that ended; or whatever a job raises, finished rows being kept.

    >>> with Run(None, {}) as run:
    ...     run_jobs(lambda a, b: {"sum": a + b}, {"one": (1, 2), "two": (3, 4)}, run)
    >>> run.done["two"]
    {'sum': 7}
    """
    missing = {key: arguments for key, arguments in jobs.items() if key not in run.done}
    with bar(total=len(jobs), desc=desc, unit="run") as shown:
        shown.update(len(jobs) - len(missing))
        for key, row in completed(work, missing, workers=workers):
            run.keep(key, dict(row) if isinstance(row, Mapping) else row)
            shown.update()


class JobsRun(Run[Any]):
    """A `Run` whose parts are the rows of jobs, and whose result says what they were made with and how long it took.

    Args:
        save: the study file that will hold the result, or None.
        name: the result's name there.
        settings: JSON values that decide every number of a row; rows and results of other settings are refused. They are
            stored in the provenance of the result.
        overwrite: measure again what the same settings have stored.

    Raises:
        LandscapeError: the study holds rows or a result of other settings, another process writes it, or the disk is full.
    """

    def __init__(
        self, save: str | os.PathLike[str] | None, name: str, settings: Mapping[str, Any], *, overwrite: bool = False
    ):
        super().__init__(None if save is None else (save, name), settings, overwrite=overwrite)
        about: dict[str, Any] = json.loads(json.dumps(settings))
        # as the provenance keeps them: model and data by name, everything else together
        self._about = {key: about.pop(key) for key in ("model", "data") if key in about} | {"settings": about}
        self._started = time.perf_counter()

    def conclude(self, result: R) -> R:
        """Return the result of the rows with its provenance and its seconds, stored in the study if there is one."""
        if self.result is not None:
            found: R = self.result
            return found
        seconds = time.perf_counter() - self._started
        whole: R = self.finish(result.replace(provenance={**environment(), **self._about}, seconds=seconds))
        return whole


def described(value: Any) -> Any:
    """Return what decides numbers as JSON values: data by their fingerprint, factories by name, recipes and the like by fields.

    >>> described({"panel": (1, 2), "none": None})
    {'panel': [1, 2], 'none': None}
    """
    if isinstance(value, Split):
        return value.fingerprint
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return {key: described(one) for key, one in value.items()}
    if isinstance(value, list | tuple | range):
        return [described(one) for one in value]
    return describe_model(value) if callable(value) else value


def protocol(factory: Any, split: Split, **settings: Any) -> dict[str, Any]:
    """Check a factory, or several by name, against the data; return it with them and with all else that decides the numbers.

    Args:
        factory: called with ``seed=``, or with ``(width, seed=)`` if there are ``widths``.
        split: the data.
        **settings: of the study, as `described` takes them.

    Raises:
        LandscapeError: a factory that does not build a new network for these data.
    """
    example = split.train[0][:2]
    for one in factory.values() if isinstance(factory, Mapping) else [factory]:
        if "widths" in settings:
            check_width_factory(one, settings["widths"], example, classes=split.classes)
        else:
            check_factory(one, example, classes=split.classes)
    found: dict[str, Any] = described({"model": factory, "data": split, **settings})
    return found


def grid(
    measure: Callable[..., Row | Sequence[Row]],
    factors: Mapping[str, Levels],
    *,
    name: str,
    settings: Mapping[str, Any],
    attributes: Mapping[str, Mapping[str, str]] | None = None,
    also: Sequence[str] = (),
    arrays: Sequence[str] = (),
    effects: Callable[[Trials], Iterable[Effect]] | None = None,
    placebo: Callable[[Trials], Placebo | None] | None = None,
    comparison: Callable[[Trials], Comparison] | None = None,
    findings: Callable[[Trials], Iterable[Finding]] | None = None,
    workers: Workers = 1,
    save: str | os.PathLike[str] | None = None,
    desc: str = "runs",
    study: str | None = None,
    **about: Any,
) -> Trials:
    """Measure every combination of factors and return one row per run.

    Seeds come first, so that an interrupted study is a smaller one and not a lopsided one; finished runs are kept beside
    the study file until the result is in it, and the same call goes on from them, or finds the result.

    Args:
        measure: called with one level of every factor by name; returns numbers, text and arrays by name, with ``NAME ±``
            for a standard error: one row, or a list of them. Importable by name if there are several workers; bind what is
            the same for all runs with `functools.partial`.
        factors: levels by name; those of a mapping are handed over as objects and recorded by their names.
        name: entry in the study file.
        settings: JSON values that decide every number of a row; a study of other settings is refused.
        attributes: factors that follow from the objects of another, ``{"recipe": {"η": "lr"}}``: by name the attribute.
        also: factors that `measure` says itself, when it measures several rows at once and returns them as a list.
        arrays: names of what stands beside the table, such as learning curves.
        effects: what factors do to measures, from the finished table.
        placebo: the control of the rule behind the findings, likewise.
        comparison: what the rules of `landscape.compare` say, likewise.
        findings: what follows from the table with all of these.
        workers: processes; the numbers do not depend on them.
        save: study file, or None.
        desc: label of the progress bar.
        study: slug of the study; `None`: `name`.
        **about: other fields of `Trials`.

    Raises:
        LandscapeError: a study of other settings, or what `measure` raises; finished runs are kept.

    >>> def loss(lr, seed):
    ...     return {"loss": lr * (1 + seed)}
    >>> grid(loss, {"lr": (0.1, 0.2), "seed": range(2)}, name="losses", settings={}).array("loss", "lr", "seed").tolist()
    [[0.1, 0.2], [0.2, 0.4]]
    """
    cells = _cells(factors, attributes or {})
    seeds = list(factors.get("seed", (None,)))
    seeds_first = sorted(cells, key=lambda key: seeds.index(cells[key].levels.get("seed")))
    with JobsRun(save, name, settings) as run:
        stored = run.result
    if isinstance(stored, Trials) and _same_runs(stored, factors, cells.values()):
        return stored
    with JobsRun(save, name, settings, overwrite=stored is not None) as run:  # it is of other seeds
        jobs = {key: (measure, cells[key].arguments) for key in seeds_first}
        run_jobs(_measured, jobs, run, workers=workers, desc=desc)
        result = Trials.of(
            [row for key, cell in cells.items() for row in _rows(run.done[key], cell, also)],
            factors=[*factors, *next(iter(cells.values())).attributes, *also],
            arrays=arrays,
            audited=tuple(row for key in cells for row in audited_in(run.done[key])),
            study=study or name,
            settings=settings,
            **about,
        )
        if effects is not None:
            result = result.replace(effects=tuple(effects(result)))
        for field, control in {"placebo": placebo, "comparison": comparison}.items():
            result = result if control is None else result.replace(**{field: control(result)})
        if findings is not None:
            result = result.replace(findings=tuple(findings(result)))
        return run.conclude(result)


@dataclass(frozen=True)
class _Cell:
    """One combination of factors: the levels as recorded, as handed to the measure, and the factors that follow from them."""

    levels: Mapping[str, Any]
    arguments: Mapping[str, Any]
    attributes: Mapping[str, Any]


def _cells(factors: Mapping[str, Levels], attributes: Mapping[str, Mapping[str, str]]) -> dict[str, _Cell]:
    """Return every combination by a key that names its levels."""
    objects = {
        factor: levels if isinstance(levels, Mapping) else dict(zip(levels, levels))
        for factor, levels in factors.items()
    }
    cells = {}
    for names in product(*objects.values()):
        levels = dict(zip(objects, names, strict=True))
        arguments = {factor: objects[factor][name] for factor, name in levels.items()}
        follow = {
            called: attrgetter(path)(arguments[factor])
            for factor, paths in attributes.items()
            for called, path in paths.items()
        }
        cells["/".join(map(str, names))] = _Cell(levels, arguments, follow)
    return cells


def _same_runs(stored: Trials, factors: Iterable[str], cells: Iterable[_Cell]) -> bool:
    known = set(zip(*(stored[factor].tolist() for factor in factors)))
    return known == {tuple(cell.levels.values()) for cell in cells}


def _measured(measure: Callable[..., Row | Sequence[Row]], levels: Mapping[str, Any]) -> Row:
    """Measure one run; several rows are kept as columns."""
    found = measure(**levels)
    if isinstance(found, Mapping):
        return found
    audit = {name: value for row in found for name, value in row.items() if name.startswith(AUDIT)}
    names = dict.fromkeys(name for row in found for name in row if name not in audit)
    return {**{name: stacked([row.get(name) for row in found]) for name in names}, **audit}


def _rows(row: Row, cell: _Cell, also: Sequence[str]) -> Iterator[Row]:
    """Yield the rows of one job: one, or one per entry of the factors that it returned itself."""
    factors = {**cell.levels, **cell.attributes}
    kept = {name: value for name, value in row.items() if not name.startswith(AUDIT)}
    if not also:
        yield {**factors, **kept}
    else:
        for i in range(len(row[also[0]])):
            yield {**factors, **{name: values[i] for name, values in kept.items()}}
