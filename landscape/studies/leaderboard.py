"""A place on the board for a new score: it is measured on networks of the zoo, resumably, and judged beside all others."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from inspect import getdoc
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np

from landscape.comparison.evidence import evidence
from landscape.errors import LandscapeError
from landscape.results.evidence import Evidence
from landscape.results.scores import score_columns
from landscape.results.trials import Trials
from landscape.scores import REGISTRY, sharpness
from landscape.scores.register import score as registered
from landscape.store import open_study
from landscape.studies.zoo import EVALUATED, OPTIONS, RADII, checkpoint_of
from landscape.studies.zoo_networks import WEIGHTS
from landscape.tables import duration
from landscape.training.jobs import JobsRun, run_jobs

STRATA = ("network", "data")
"""Factors of the zoo across which scores are not compared."""
SAMPLE = 300
"""Networks that a new score is measured on by default."""
_WHY = " why"  # in a row, what follows the name of a score that has no value


def leaderboard(
    *scores: str | Callable[..., Any],
    path: str | os.PathLike[str] | None = None,
    sample: int = SAMPLE,
    workers: int = 1,
    save: str | os.PathLike[str] | None = None,
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
        seed: of the scores' draws, of bootstrap and permutations.
        resamples: bootstrap samples of the cells.
        tell: called with a line that says how long the measurement will take, after the first network.

    Returns:
        An `Evidence`. A score that fails, or is not defined, on some networks is judged on the others; its row says on how
        many, and why.

    Raises:
        LandscapeError: an unknown score, a sample that is too small, or whatever the score raises on the first network.
    """
    place = None if path is None else os.fspath(path)
    trials = _opened(place)
    if not scores:
        return evidence(
            trials, scores=_known(trials), strata=STRATA, test_size=_tested(trials), seed=seed, resamples=resamples
        )
    slugs = [slug for one in scores for slug in _entered(one)]
    chosen = sampled(trials, sample)
    settings = {
        "scores": slugs,
        "networks": chosen.tolist(),
        "seed": seed,
        "zoo": [len(trials), float(trials["test_error"][chosen].sum())],
    }
    functions = tuple(one for one in scores if callable(one))
    jobs = {str(i): (place, int(i), tuple(slugs), functions, seed) for i in chosen}
    with JobsRun(save, "leaderboard-" + "-".join(slugs), settings) as run:
        measured = run.result
        if measured is None:
            _first(jobs, run, workers, tell)
            run_jobs(_measured, jobs, run, workers=workers, desc="networks")
            rows = [{"row": int(i), **run.done[str(i)]} for i in chosen]
            measured = run.conclude(Trials.of(rows, factors=("row",), study="leaderboard", settings=settings))
    board = evidence(
        _joined(trials.take(chosen), measured, slugs),
        scores=list(dict.fromkeys([*_known(trials), *slugs])),
        strata=STRATA,
        test_size=_tested(trials),
        seed=seed,
        resamples=resamples,
    )
    return board.replace(asked=tuple(slugs))


def sampled(trials: Trials, count: int) -> np.ndarray:
    """Return which rows a score is measured on: about `count` that have weights and reached their loss, in lines of the design.

    Args:
        trials: of the zoo.
        count: how many are wanted.

    Raises:
        LandscapeError: fewer than forty networks, or no two seeds of any recipe.
    """
    if count < 40:
        raise LandscapeError(f"a sample of {count} networks; expected at least 40, in pairs of seeds")
    axes = [name for name in trials.factors if name not in (*STRATA, "seed")]
    levels = {name: sorted(trials.levels(name)) for name in axes}
    cells: dict[tuple[Any, ...], list[int]] = {}
    kept = trials.met & np.isfinite(trials.arrays[WEIGHTS]).all(axis=1)
    for i in np.flatnonzero(kept):
        cells.setdefault(tuple(trials[name][i].item() for name in (*STRATA, *axes)), []).append(int(i))
    pairs = {cell: members for cell, members in cells.items() if len(members) > 1}

    def within() -> list[tuple[Any, ...]]:
        grid = set(product(*levels.values()))
        return [cell for cell in pairs if cell[len(STRATA) :] in grid]

    while 2 * len(within()) > count and max(map(len, levels.values())) > 2:
        longest = max(axes, key=lambda name: len(levels[name]))
        del levels[longest][len(levels[longest]) // 2]
    inside = within()
    if not inside:
        raise LandscapeError("the zoo has no recipe with two networks that reached their loss; seeds are needed")
    seeds = max(2, count // max(len(inside), 1))
    return np.array(sorted(i for cell in inside for i in pairs[cell][:seeds]))


def _entered(score: str | Callable[..., Any]) -> list[str]:
    """Return the names of a score in the register, entering a plain function."""
    if isinstance(score, str):
        if score not in REGISTRY:
            raise LandscapeError(f"unknown score {score!r}; give a name in the register, or module:function")
        return [score]
    names = [slug for slug, definition in REGISTRY.items() if definition.compute is score]
    if names:
        return names
    name = score.__name__.replace("_", "-")
    registered(name, (getdoc(score) or name).partition("\n")[0])(score)
    return [name]


@cache
def _opened(path: str | None) -> Trials:
    """Return the zoo of a file, its weights among it."""
    place = Path(__file__).parents[2] / "data" / "zoo.h5" if path is None else Path(path)
    if not place.exists():
        where = "it ships with the repository, not with the package; " if path is None else ""
        raise LandscapeError(f"there is no zoo {place.name!r}; {where}give the path of one (--zoo)")
    found = open_study(place).get("zoo")
    if not isinstance(found, Trials) or WEIGHTS not in found.arrays or "draw" not in found.measures:
        raise LandscapeError(f"{place.name} holds no zoo of this version, entry 'zoo' with weights; make it again")
    return found


def _measured(
    path: str | None, row: int, slugs: Sequence[str], functions: Sequence[Any], seed: int
) -> Mapping[str, Any]:
    """Measure scores on one network; what has no value says why."""
    for function in functions:
        _entered(function)
    trials = _opened(path)
    about = {
        name: values[row].item() for name, values in {**trials.factors, **trials.measures}.items() if values.ndim == 1
    }
    checkpoint = checkpoint_of(about, trials.arrays[WEIGHTS][row])
    objective, seed = checkpoint.objective(), seed + int(about["draw"])
    objective = objective.subset(range(0, objective.n, max(1, objective.n // EVALUATED)))
    found: dict[str, Any] = {}
    started = time.process_time()
    for slug in slugs:
        radii = RADII.get(slug, REGISTRY[slug].radii)
        try:
            rows = sharpness(
                objective,
                [slug],
                seed=seed,
                radii={slug: radii} if radii else None,
                checkpoint=checkpoint,
                options={slug: OPTIONS[slug]} if slug in OPTIONS else None,
            ).all(slug)
        except Exception as error:  # of one network among many: counted and said
            found |= {slug: np.full(len(radii), np.nan) if radii else np.nan, slug + _WHY: _line(error)}
            continue
        found |= score_columns(slug, rows, radii)
        found |= {slug + _WHY: "" if np.isfinite(found[slug]).any() else rows[0].note or rows[0].status}
        found |= {slug + " gradients": sum(row.gradients for row in rows)}
    return found | {"cpu": time.process_time() - started}


def _line(error: Exception) -> str:
    text = str(error) if isinstance(error, LandscapeError) else f"{type(error).__name__}: {error}"
    return text.partition("\n")[0].rpartition(": ")[2] if isinstance(error, LandscapeError) else text.partition("\n")[0]


def _first(jobs: Mapping[str, tuple[Any, ...]], run: JobsRun, workers: int, tell: Callable[[str], Any] | None) -> None:
    """Measure the first two networks, one to warm up and one to time, and say how long the others will take."""
    if run.done:
        return
    each, whys = 0.0, dict[str, str]()
    for key, arguments in islice(jobs.items(), 2):
        started = time.perf_counter()
        row = _measured(*arguments)
        run.keep(key, dict(row))
        each = time.perf_counter() - started
        whys |= {slug: row[slug + _WHY] for slug in arguments[2] if row[slug + _WHY]}
    if tell is not None:
        said = "".join(f"; {slug} has no value there ({why})" for slug, why in whys.items())
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
    cost = {slug: float(np.nanmedian(measured.measures.get(f"{slug} gradients", [np.nan]))) for slug in slugs}
    cpu = {slugs[0]: float(np.median(measured["cpu"]))} if len(slugs) == 1 else {}
    known = trials.settings
    settings = {
        **known,
        "undefined": {**known.get("undefined", {}), **why},
        "gradients": {**known.get("gradients", {}), **cost},
        "cpu": {**known.get("cpu", {}), **cpu},
    }
    return trials.replace(measures={**trials.measures, **new}, settings=settings)


def _known(trials: Trials) -> list[str]:
    return [name for name in trials.measures if name in REGISTRY]


def _tested(trials: Trials) -> int | None:
    """Return on how many examples the test error was measured: the fewest among the data sets."""
    found = trials.settings.get("test_examples")
    return min(found.values()) if isinstance(found, Mapping) else found
