"""The board of scores: what each of them knows about an outcome over many models, the design and a baseline known."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from landscape.bars import bar
from landscape.errors import LandscapeError, NotDefinedError
from landscape.results.evidence import DESIGN, NO, UNJUDGED, YES, Evidence, Judged
from landscape.results.trials import GATES, REACHED, Trials
from landscape.scores.register import REGISTRY
from landscape.statistics import (
    Cells,
    Within,
    conditional_information,
    granulated,
    holm,
    kendall,
    selection_regret,
    sign_errors,
    tau_b,
    within_cells,
)

Found = TypeVar("Found")
FEWEST = 10
"""Cells with a value below which a score is not judged."""
BASELINE = ("loss", "train_loss", "train/loss", "margin", "margin-normalized", "weight-norm")
"""Measures that are known anyway, where they are there: how well a network fits, and how large it is."""
_STATUS = (REACHED, "converged", "steps")
_COUNTED = 200  # resamples of the conditional information, which is counted anew in each of them


def evidence(
    trials: Trials,
    outcome: str = "test_error",
    scores: Sequence[str] | None = None,
    *,
    baseline: Sequence[str] | None = None,
    controls: Sequence[str] | None = None,
    strata: Sequence[str] | None = None,
    shared: Sequence[str] | None = None,
    test_size: int | None = None,
    level: float = 0.01,
    resamples: int = 1_999,
    seed: int = 0,
) -> Evidence:
    r"""Judge scores by what they know about an outcome over the models of a study, one row per score.

    A cell is a combination of factors, its models differ in their seeds. Three questions decide, each tested exactly:

    - does the score order the outcome over cells? Kendall's τ within strata, *no* if not;
    - does it between seeds of one cell, the ranks of the baseline taken out? Permutations of the seeds; *yes* if so, and *only
      through the design* if it only orders cells: then the factors say as much;
    - is it better than the best control? Ψ, τ where one factor alone changes, less the largest of any control, by a bootstrap
      of the cells that chooses the best control anew in each resample.

    Described, with bootstrap intervals over cells: Ψ, which gives the place, the conditional information K, sign errors over
    environments, the regret of choosing by the score, and what it takes off the squared error of the baseline within cells.

    Args:
        trials: one row per model with its factors, ``seed`` among them; runs that missed their target are left out.
        outcome: the measure that a good score orders.
        scores: measures to judge, higher meant to go with a higher outcome unless the register says otherwise; `None`: all
            but those that say how training and testing went.
        baseline: measures that are known anyway; `None`: those of training loss, margins and weight norm that are there. A
            member is judged beyond the others.
        controls: scores that accompany and are none; `None`: as the register says. They are given the direction that suits them.
        strata: factors across which nothing is compared, such as data; `None`: ``trials.parts``.
        shared: factors across which runs of one seed share their draws; `None`: ``trials.settings["shared"]``, or none.
        test_size: examples the outcome was measured on, as a share of them, for the sign errors; `None`:
            ``trials.settings["test_examples"]``, or no sign errors.
        level: of the tests behind a verdict, after Holm's correction over the scores.
        resamples: bootstrap samples of the cells.
        seed: of bootstrap, folds and permutations.

    Returns:
        An `Evidence`, best Ψ first. A score without a value for some models is judged on the others, and they are counted.

    Raises:
        KeyError: there is no such outcome, score, baseline or stratum.
        LandscapeError: no Trials; fewer than ten cells with an outcome.

    Source: Jiang et al. 2020 (arXiv 1912.02178) for Ψ and K; Dziugaite et al. 2020 (arXiv 2010.11924) for sign errors and
    for asking what a score adds; Freedman and Lane 1983 for permutations within cells.

    >>> rng = np.random.default_rng(0)
    >>> rows = [{"lr": lr, "seed": s, "trace": x + rng.normal() / 5, "noise": rng.normal(), "test_error": lr + x}
    ...     for lr in range(12) for s, x in enumerate(rng.normal(size=4))]
    >>> board = evidence(Trials.of(rows, factors=("lr", "seed")), resamples=99)
    >>> [(row.score, row.verdict) for row in board.rows]
    [('trace', 'yes'), ('noise', 'no')]
    """
    if not isinstance(trials, Trials):
        raise LandscapeError(f"evidence got a {type(trials).__name__}, expected Trials, such as ls.zoo().trials")
    started = time.perf_counter()
    strata = tuple(trials.parts if strata is None else strata)
    shared = tuple(trials.settings.get("shared", ()) if shared is None else shared)
    test_size = trials.settings.get("test_examples") if test_size is None else test_size
    met = trials.met & (np.asarray(trials.measures.get("converged", 1)) > 0) & np.isfinite(trials[outcome])
    kept = trials.take(np.flatnonzero(met)) if met.any() else trials
    wanted = _scores(kept, outcome) if scores is None else list(dict.fromkeys(scores))
    board = _Board(kept, outcome, strata, shared, resamples, seed)
    if not met.any() or len(board.cells) < FEWEST:
        raise LandscapeError(
            f"{len(board.cells) if met.any() else 0} cells with {outcome!r}; expected at least {FEWEST}"
        )
    known = tuple(name for name in BASELINE if name in kept.measures) if baseline is None else tuple(baseline)
    accompany = {s for s in wanted if s in REGISTRY and REGISTRY[s].orientation == "control"}
    accompany = accompany if controls is None else set(controls)
    judged = []
    for name in bar(wanted, desc="evidence", unit="score"):
        judged.append(_judge(board, name, name in accompany, known, test_size))
    rows, best = _compared(board, judged)
    corrected = _corrected(rows, ("tau_p", "within_p", "lead_p"))
    left_out = trials.settings.get("undefined", {})
    final = [_said(row, level, known, left_out.get(row.score, {})) for row in corrected]
    return Evidence(
        rows=tuple(sorted(final, key=lambda row: row.place or len(final) + 1)),
        outcome=outcome,
        models=len(kept),
        missed=len(trials) - len(kept),
        cells=len(board.cells),
        axes=board.cells.axes,
        strata=strata,
        baseline=known,
        shared=shared,
        at_random=float(selection_regret(board.cells, board.outcomes, board.outcomes)[1][0]),
        best_control=best,
        level=level,
        resamples=resamples,
        seed=seed,
        provenance=dict(trials.provenance),
        seconds=time.perf_counter() - started,
    )


@dataclass
class _Board:
    """The models, their cells, and the bootstrap samples that all scores share."""

    trials: Trials
    outcome: str
    strata: tuple[str, ...]
    shared: tuple[str, ...]
    resamples: int
    seed: int
    psi: dict[str, np.ndarray] = field(default_factory=dict)  # by score, of every row of the weights

    @cached_property
    def cells(self) -> Cells:
        for name in (*self.strata, *self.shared):
            if name not in self.trials.factors:
                raise KeyError(f"no factor {name!r}; there are {', '.join(self.trials.factors)}")
        design = {name: values.tolist() for name, values in self.trials.factors.items() if name != "seed"}
        return Cells.of_design(design or {"all": [0] * len(self.trials)}, self.strata)

    @cached_property
    def weights(self) -> np.ndarray:
        """How often each cell counts: once in the first row, then as the bootstrap samples draw it."""
        return np.concatenate([np.ones((1, len(self.cells))), self.cells.resamples(self.resamples, self.seed)])

    @cached_property
    def values(self) -> np.ndarray:
        return np.asarray(self.trials[self.outcome], dtype=np.float64)

    @cached_property
    def outcomes(self) -> np.ndarray:
        return self.cells.means(self.values)[0]

    @cached_property
    def seeds(self) -> list[Any]:
        if "seed" in self.trials.factors:
            return list(self.trials.factors["seed"].tolist())
        of = self.cells.of
        return [int((of[:i] == of[i]).sum()) for i in range(len(of))]

    def oriented(self, name: str, control: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a score per model and its means and those of the outcome per cell, such that higher should be worse."""
        s = np.asarray(self.trials[name], dtype=np.float64)
        s = np.where(np.isfinite(s), s, np.nan)
        x, y = self.cells.means(s, self.values)
        lower = name in REGISTRY and REGISTRY[name].orientation == "lower is sharper"
        if control:
            lower = float(_mean(granulated(self.cells, x, y))[0]) < 0
        return (-s, -x, y) if lower else (s, x, y)


def _judge(board: _Board, name: str, control: bool, baseline: Sequence[str], test_size: int | None) -> Judged:
    """Return what one score knows, before scores are compared."""
    s, x, y = board.oriented(name, control)
    cells, weights = board.cells, board.weights
    models = int(np.isfinite(s).sum())
    costs = [board.trials.settings.get(cost, {}).get(name, np.nan) for cost in ("gradients", "cpu")]
    if np.isnan(costs[0]) and name in REGISTRY:
        costs[0] = REGISTRY[name].cost
    row = Judged(score=name, control=control, models=models, left_out=len(s) - models, gradients=costs[0], cpu=costs[1])
    there = np.isfinite(x)
    if there.sum() < FEWEST:
        return replace(row, text=f"{int(there.sum())} cells have a value; at least {FEWEST} are needed")
    try:
        test = kendall(x[there], y[there], cells.stratum[there])
    except NotDefinedError as error:
        return replace(row, text=str(error))
    axes = granulated(cells, x, y, weights)
    board.psi[name] = _mean(axes)
    known = [board.trials[other] for other in baseline if other != name]
    inside = _or_none(
        lambda: within_cells(
            cells, board.seeds, s, board.values, known, shared=board.shared, resamples=board.resamples, seed=board.seed
        )
    )
    return replace(
        row,
        tau_p=test.p_value,
        **_range("tau", tau_b(x, y, cells.together, weights)),
        **_range("psi", board.psi[name]),
        **_range("information", _least(conditional_information(cells, x, y, weights[: 1 + _COUNTED]))),
        **_range("regret", selection_regret(cells, x, y, weights)[0]),
        **_inside(inside),
        **_sign_errors(board, s, test_size),
        axes="; ".join(f"{axis} {value:+.2f}" for axis, value in zip(cells.axes, axes[0], strict=True)),
    )


def _inside(found: Within | None) -> Mapping[str, Any]:
    if found is None:
        return {}
    correlation, gain = found.resampled
    return {
        "within_p": found.p_value,
        **_range("within", np.append(found.correlation, correlation)),
        **_range("gain", np.append(found.gain, gain)),
    }


def _sign_errors(board: _Board, s: np.ndarray, test_size: int | None) -> Mapping[str, Any]:
    if test_size is None:
        return {}
    found = _or_none(lambda: sign_errors(board.cells, s, board.values, test_size=test_size))
    if found is None:
        return {}
    return {
        **_range("sign_error", found.mean(board.weights)),
        "sign_error_90": float(found.percentile(0.9, board.weights[:1])[0]),
    }


def _compared(board: _Board, judged: Sequence[Judged]) -> tuple[list[Judged], str]:
    """Return the rows with their places and what they are ahead of the best control, and the name of that one."""
    placed = [row for row in judged if row.score in board.psi]
    order = sorted(placed, key=lambda row: -row.psi)
    samples = np.stack([board.psi[row.score][1:] for row in placed]) if placed else np.empty((0, 1))
    ranks = 1 + (samples[:, None] < samples[None]).sum(axis=1)
    ends = dict(zip([row.score for row in placed], np.percentile(ranks, [2.5, 97.5], axis=1).T.round(), strict=True))
    controls = [row for row in order if row.control]
    rows = []
    for row in judged:
        if row.score in ends:
            low, high = map(int, ends[row.score])
            row = replace(row, place=1 + order.index(row), place_low=low, place_high=high)
            row = row if row.control or not controls else replace(row, **_lead(board, row, controls))
        rows.append(row)
    return rows, controls[0].score if controls else ""


def _lead(board: _Board, row: Judged, controls: Sequence[Judged]) -> dict[str, Any]:
    """Return how far a score is ahead of the best control over the models that have it."""
    rivals = [board.psi[other.score] for other in controls]
    if row.left_out:
        there, rivals = np.isfinite(board.trials[row.score]), []
        for other in controls:
            s = np.where(there, board.oriented(other.score, True)[0], np.nan)
            x, y = board.cells.means(s, board.values)
            rivals.append(_mean(granulated(board.cells, x, y, board.weights)))
    ahead = board.psi[row.score] - np.nanmax(rivals, axis=0)
    p_value = (1 + float((ahead[1:] <= 0).sum())) / len(ahead)
    return {**_range("lead", ahead), "lead_p": p_value}


def _corrected(rows: Sequence[Judged], names: Sequence[str]) -> list[Judged]:
    """Return the rows with Holm's correction of each question over the scores that it was asked of."""
    rows = list(rows)
    for name in names:
        asked = [i for i, row in enumerate(rows) if np.isfinite(getattr(row, name))]
        for i, p in zip(asked, holm([getattr(rows[i], name) for i in asked]) if asked else (), strict=True):
            changed: dict[str, Any] = {name: float(p)}
            rows[i] = replace(rows[i], **changed)
    return rows


def _said(row: Judged, level: float, baseline: Sequence[str], reasons: Mapping[str, int]) -> Judged:
    """Return the row with its verdict, and a sentence that says what it rests on."""
    why = "; ".join(f"{count}: {reason}" for reason, count in reasons.items())
    without = f"; {row.left_out} models without a value{f' ({why})' if why else ''}" if row.left_out else ""
    if not row.place:
        return replace(row, verdict=UNJUDGED, text=row.text + without)
    over = f"over cells τ = {row.tau:+.2f} (p = {row.tau_p:.2g})"
    others = ", ".join(name for name in baseline if name != row.score)
    inside = f"between seeds of one cell ρ = {row.within:+.2f} (p = {row.within_p:.2g})"
    inside += f", {others} taken out" if others else ""
    if row.within_p < level:
        wrong = ", with the sign turned" if row.within < 0 and not row.control else ""
        verdict, text = YES, f"knows more than the design{wrong}: {inside}; {over}"
    elif not row.tau_p < level:
        verdict, text = NO, f"does not order the outcome: {over}" + ("" if np.isnan(row.within_p) else f"; {inside}")
    elif np.isnan(row.within_p):
        verdict, text = UNJUDGED, f"{over}, but too few cells have two seeds that differ to tell it from the design"
    else:
        verdict, text = DESIGN, f"orders the outcome only as the factors do: {over}; {inside}"
    return replace(row, verdict=verdict, text=text + without)


def _scores(trials: Trials, outcome: str) -> list[str]:
    numbers = [name for name, values in trials.measures.items() if values.dtype.kind in "biuf" and name != outcome]
    how = ("train_", "test_", "train/", "test/", GATES)
    return [name for name in numbers if not name.startswith(how) and name not in _STATUS]


def _or_none(statistic: Callable[[], Found]) -> Found | None:
    """Return a statistic, or `None` where the models do not support it."""
    try:
        return statistic()
    except NotDefinedError:
        return None


def _mean(axes: np.ndarray) -> np.ndarray:
    """Return the mean over the factors that say something, (R,)."""
    known = np.isfinite(axes)
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = np.where(known, axes, 0).sum(axis=1) / known.sum(axis=1)
    return mean


def _least(information: Mapping[tuple[str, ...], np.ndarray]) -> np.ndarray:
    table = np.stack(list(information.values()))
    return np.where(np.isfinite(table).any(axis=0), np.where(np.isfinite(table), table, np.inf).min(axis=0), np.nan)


def _range(name: str, values: np.ndarray) -> dict[str, Any]:
    """Return a number, the first, and the ends of the interval of its bootstrap samples, the others, by their names."""
    finite = values[1:][np.isfinite(values[1:])]
    low, high = np.percentile(finite, [2.5, 97.5]) if finite.size else (np.nan, np.nan)
    return {name: float(values[0]), f"{name}_low": float(low), f"{name}_high": float(high)}
