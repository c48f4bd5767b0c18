"""A place on the board for a new score: it is measured on networks of the zoo, resumably, and judged beside all others."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from inspect import getdoc, getsource
from itertools import islice, product
from typing import Any

import numpy as np

from landscape.arguments import checked
from landscape.comparison.evidence import evidence
from landscape.errors import LandscapeError
from landscape.results import Trials
from landscape.results.evidence import Evidence
from landscape.scores import REGISTRY
from landscape.scores.register import score as registered
from landscape.scores.register import select
from landscape.studies.grid import JobsRun, run_jobs
from landscape.studies.zoo import Zoo, zoo
from landscape.tables import duration

SAMPLE = 300
"""Networks that a new score is measured on by default."""
_WHY = " why"  # in a row, what follows the name of a score that has no value


@checked
def leaderboard(
    *scores: str | Callable[..., Any],
    path: str | os.PathLike[str] | None = None,
    sample: int = SAMPLE,
    workers: int = 1,
    save: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    seed: int = 0,
    resamples: int = 1_999,
    tell: Callable[[str], Any] | None = None,
) -> Evidence:
    """Return the board of scores over the zoo, with new scores measured on a sample of its networks.

    The sample keeps whole lines of the design, so that Ψ is defined on it: levels are left out evenly, from the factor that
    has most, then seeds down to two. All scores are judged on the sample; without new ones, on the whole zoo.

    Args:
        *scores: names in the register that the zoo lacks, or functions: ones decorated by `landscape.scores.score`, or plain
            functions of an objective that return a number. Importable by name if there are several workers.
        path: file of another zoo; `None`: the one beside the package.
        sample: networks to measure, roughly.
        workers: processes; the numbers do not depend on them.
        save: study file that keeps what is measured; an interrupted call goes on from it, a repeated one reads it.
        overwrite: replace there what another version of the score, or another sample, has left.
        seed: of bootstrap and permutations; draws of scores are those of the table.
        resamples: bootstrap samples of the cells.
        tell: called with a line that says how long the measurement will take, after the first network.

    Returns:
        An `Evidence`. A score that fails, or is not defined, on some networks is judged on the others; its row says on how
        many, and why.

    Raises:
        LandscapeError: an unknown score, a sample that is too small, or a file with another version of the score.
    """
    place = os.fspath(path) if isinstance(path, os.PathLike) else path
    opened = _opened(place)
    trials = opened.trials
    if not scores:
        return evidence(trials, scores=_known(trials), seed=seed, resamples=resamples)
    slugs = [slug for one in scores for slug in _entered(one)]
    chosen = sampled(trials, opened.kept, sample)
    functions = tuple(one for one in scores if callable(one))
    settings = {
        "scores": slugs,
        "networks": chosen.tolist(),
        "draws": trials.arrays["draw"][chosen].astype(int).tolist(),
        "code": [_code(one) for one in functions],
    }
    jobs = {str(i): (place, int(i), tuple(slugs), functions) for i in chosen}
    with JobsRun(save, "leaderboard-" + "-".join(slugs), settings, overwrite=overwrite) as run:
        measured = run.result
        if measured is None:
            _first(jobs, run, workers, tell)
            run_jobs(_measured, jobs, run, workers=workers, desc="networks")
            rows = [{"row": int(i), **run.done[str(i)]} for i in chosen]
            measured = run.conclude(Trials.of(rows, factors=("row",), study="leaderboard", settings=settings))
    board = evidence(
        _joined(trials.take(chosen), measured, slugs),
        scores=list(dict.fromkeys([*_known(trials), *slugs])),
        seed=seed,
        resamples=resamples,
    )
    return board.replace(asked=tuple(slugs))


def sampled(trials: Trials, kept: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    """Return which rows a score is measured on: about `count` of those kept, in lines of the design.

    Args:
        trials: of the zoo.
        kept: rows whose weights are there.
        count: how many are wanted.

    Raises:
        LandscapeError: fewer than forty networks, or no two seeds of any recipe.
    """
    if count < 40:
        raise LandscapeError(f"a sample of {count} networks; expected at least 40, in pairs of seeds")
    axes = [name for name in trials.factors if name not in (*trials.parts, "seed")]
    levels = {name: sorted(trials.levels(name)) for name in axes}
    cells: dict[tuple[Any, ...], list[int]] = {}
    for i in kept:
        cells.setdefault(tuple(trials[name][i].item() for name in (*trials.parts, *axes)), []).append(int(i))
    pairs = {cell: members for cell, members in cells.items() if len(members) > 1}

    def within() -> list[tuple[Any, ...]]:
        grid = set(product(*levels.values()))
        return [cell for cell in pairs if cell[len(trials.parts) :] in grid]

    while 2 * len(within()) > count and max(map(len, levels.values())) > 2:
        longest = max(axes, key=lambda name: len(levels[name]))
        del levels[longest][len(levels[longest]) // 2]
    inside = within()
    if not inside:
        raise LandscapeError("the zoo has no recipe with two networks that reached their loss; seeds are needed")
    seeds = max(2, count // len(inside))
    return np.array(sorted(i for cell in inside for i in pairs[cell][:seeds]))


def _entered(score: str | Callable[..., Any]) -> list[str]:
    """Return the names of a score in the register, entering a plain function."""
    if isinstance(score, str):
        return [definition.slug for definition in select(score)]
    names = [slug for slug, definition in REGISTRY.items() if definition.compute is score]
    if names:
        return names
    name = score.__name__.replace("_", "-")
    registered(name, (getdoc(score) or name).partition("\n")[0])(score)
    return [name]


def _code(function: Callable[..., Any]) -> str:
    """Return a fingerprint of the file that a function is written in, where there is one: an edited score is not the same."""
    try:
        return hashlib.sha256(getsource(sys.modules[function.__module__]).encode()).hexdigest()[:16]
    except (OSError, TypeError, KeyError):  # a notebook, or the prompt
        return ""


@cache
def _opened(path: str | None) -> Zoo:
    return zoo(path)


def _measured(path: str | None, row: int, slugs: Sequence[str], functions: Sequence[Any]) -> Mapping[str, Any]:
    """Measure scores on one network as those of the table were; what has no value says why."""
    for function in functions:
        _entered(function)
    found: dict[str, Any] = {}
    started = time.process_time()
    for slug in slugs:
        radii, why = REGISTRY[slug].radii, ""
        try:
            [columns] = _opened(path).measure([row], [slug])
        except Exception as error:  # of one network among many: counted and said
            columns, why = {slug: np.full(len(radii), np.nan) if radii else np.nan}, _line(error)
        nothing = "" if np.isfinite(columns[slug]).any() else "the value is not finite"
        found |= {**columns, slug + _WHY: why or nothing}
    return found | {"cpu": time.process_time() - started}


def _line(error: Exception) -> str:
    text = str(error).partition("\n")[0]
    return text.rpartition(": ")[2] if isinstance(error, LandscapeError) else f"{type(error).__name__}: {text}"


def _first(jobs: Mapping[str, tuple[Any, ...]], run: JobsRun, workers: int, tell: Callable[[str], Any] | None) -> None:
    """Measure the first two networks, one to warm up and one to time, and say how long the others will take."""
    if run.done:
        return
    first = dict(islice(jobs.items(), 2))
    run_jobs(_measured, first, run, desc="networks")
    if tell is not None:
        whys = {name: why for key in first for name, why in run.done[key].items() if name.endswith(_WHY) and why}
        said = "".join(f"; {name.removesuffix(_WHY)} has no value there ({why})" for name, why in whys.items())
        each = run.done[list(first)[-1]]["cpu"]
        about = duration(each * (len(jobs) - 2) / workers)
        tell(f"{len(jobs)} networks, {duration(each)} each: about {about} with {workers} workers{said}")


def _joined(trials: Trials, measured: Trials, slugs: Sequence[str]) -> Trials:
    """Return the rows of the zoo with the new measures, what they cost, and why some have none."""
    new = {slug: measured.measures[slug] for slug in slugs}
    why = {}
    for slug in slugs:
        texts = [text for text in measured.measures[slug + _WHY].tolist() if text]
        if texts:
            why[slug] = {text: texts.count(text) for text in dict.fromkeys(texts)}
    cpu = {slugs[0]: float(np.median(measured["cpu"]))} if len(slugs) == 1 else {}
    known = trials.settings
    settings = {
        **known,
        "undefined": {**known.get("undefined", {}), **why},
        "cpu": {**known.get("cpu", {}), **cpu},
    }
    return trials.replace(measures={**trials.measures, **new}, settings=settings)


def _known(trials: Trials) -> list[str]:
    return [name for name in trials.measures if name in REGISTRY]
