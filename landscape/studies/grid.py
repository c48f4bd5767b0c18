"""The one runner of studies: every combination of factors is measured once, resumably, and becomes one row of `Trials`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from operator import attrgetter
from typing import Any

from landscape.comparison.audits import AUDIT, audited_in
from landscape.datasets import Split
from landscape.results.comparison import Comparison, Placebo
from landscape.results.effects import Effect, Finding
from landscape.results.trials import Trials, stacked
from landscape.training.factories import check_factory, check_width_factory
from landscape.training.jobs import JobsRun, Row, run_jobs
from landscape.training.recipes import Recipe, check_recipe
from landscape.training.runs import describe_model
from landscape.workers import Workers

Levels = Sequence[Any] | Mapping[str, Any]
"""The levels of a factor: numbers or text, or any objects by name."""


def protocol(factory: Any, split: Split, recipe: Recipe, *, widths: Sequence[int] | None = None) -> dict[str, Any]:
    """Check a recipe, and a factory against the data; return what of them decides the numbers of every study.

    Args:
        factory: called with ``seed=``, or with ``(width, seed=)``.
        split: the data.
        recipe: how to train.
        widths: of the networks, if there are several.

    Raises:
        LandscapeError: no recipe, or a factory that does not build a new network for these data.
    """
    check_recipe(recipe)
    if widths is None:
        check_factory(factory, split.train[0][:2], classes=split.classes)
    else:
        check_width_factory(factory, widths, split.train[0][:2], classes=split.classes)
    return {"model": describe_model(factory), "data": split.fingerprint, "recipe": asdict(recipe)}


def grid(
    measure: Callable[..., Row | Sequence[Row]],
    factors: Mapping[str, Levels],
    *,
    name: str,
    settings: Mapping[str, Any],
    attributes: Mapping[str, Mapping[str, str]] | None = None,
    also: Sequence[str] = (),
    arrays: Sequence[str] = (),
    effects: Callable[[Trials], Sequence[Effect]] | None = None,
    placebo: Callable[[Trials], Placebo | None] | None = None,
    comparison: Callable[[Trials], Comparison] | None = None,
    findings: Callable[[Trials], Iterator[Finding]] | None = None,
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
        if placebo is not None:
            result = result.replace(placebo=placebo(result))
        if comparison is not None:
            result = result.replace(comparison=comparison(result))
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
    """Whether a stored study is of these runs and no others."""
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


def _rows(row: Row, cell: _Cell, also: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of one job: one, or one per entry of the factors that it returned itself."""
    factors = {**cell.levels, **cell.attributes}
    kept = {name: value for name, value in row.items() if not name.startswith(AUDIT)}
    if not also:
        yield {**factors, **kept}
    else:
        for i in range(len(row[also[0]])):
            yield {**factors, **{name: values[i] for name, values in kept.items()}}
