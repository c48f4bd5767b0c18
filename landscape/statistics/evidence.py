"""What scores say about an outcome over many models: rank agreement, with and without the design, and beyond what was known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from landscape.errors import LandscapeError, NotDefinedError
from landscape.results.effects import Finding
from landscape.results.trials import GATES, REACHED, Trials
from landscape.statistics.increment import increment
from landscape.statistics.independence import conditional_independence
from landscape.statistics.kendall import granulated_kendall, kendall
from landscape.statistics.multiplicity import holm
from landscape.statistics.selection import selection_regret
from landscape.statistics.sign_error import robust_sign_error

Found = TypeVar("Found")
FEWEST = 10
"""Models below which a score is not judged."""


def evidence(
    trials: Trials,
    outcome: str = "test/error",
    scores: Sequence[str] | None = None,
    *,
    baseline: Sequence[str] = ("train/loss",),
    test_size: int | None = None,
    seed: int = 0,
) -> Trials:
    r"""Judge scores by what they know about an outcome over the runs of a study, one row per score.

    Read from left to right, each column is harder to pass. ``τ`` is Kendall's, with its exact null; a score that only
    tracks a hyperparameter passes. ``Ψ`` averages τ within cells where one factor varies. ``K`` is the mutual information of
    the two orders given the two factors that explain most of it. ``sign error`` is that of the worst change of one factor;
    0.5 is chance. ``reduction`` is what the score takes off the squared error of predicting the outcome from the baseline
    and the factors, out of fold, with groups of seeds kept together: above zero, the score knows something beyond them.

    Args:
        trials: one row per model, with its factors; runs that missed their target are left out.
        outcome: the measure that a good score orders.
        scores: measures to judge, higher meant to go with a higher outcome; `None`: all but the outcome, the baseline and
            other losses and errors.
        baseline: measures that are known anyway, such as loss, weight norm and margin; factors are added by themselves,
            numbers as logarithms where they are positive, text by its levels.
        test_size: examples the outcome was measured on, as a share of them; `None`: no sign error.
        seed: of folds and bootstrap.

    Returns:
        `Trials` with a row per score, best reduction first, and what follows as findings. A score without a value for some
        models is judged on the others, which ``left out`` counts; one that nothing can be said about has NaN.

    Raises:
        KeyError: there is no such outcome or score.
        LandscapeError: fewer than ten models with an outcome.

    Source: Jiang et al. 2020 (arXiv 1912.02178) for τ, Ψ and K; Dziugaite et al. 2020 (arXiv 2010.11924) for sign errors;
    Chernozhukov et al. 2018 (arXiv 1608.00060) for cross-fitting.

    >>> rng = np.random.default_rng(0)
    >>> rows = [{"lr": lr, "seed": s, "trace": lr + x, "margin": rng.normal(), "test/error": lr + x + rng.normal() / 9}
    ...     for lr in (1.0, 2.0, 4.0, 8.0, 16.0) for s, x in enumerate(rng.normal(size=6))]
    >>> board = evidence(Trials.of(rows, factors=("lr", "seed")), baseline=())
    >>> board["score"].tolist(), (board["reduction"] > 2 * board.errors["reduction"]).tolist()
    (['trace', 'margin'], [True, False])
    """
    trials = trials.take(np.flatnonzero(trials.met & np.isfinite(trials[outcome])))
    if len(trials) < FEWEST:
        raise LandscapeError(f"{len(trials)} models with {outcome!r}; expected at least {FEWEST}")
    known = {outcome, REACHED, *baseline}
    numbers = [name for name, values in trials.measures.items() if values.dtype.kind in "biuf" and name not in known]
    wanted = [name for name in numbers if not name.startswith((GATES, "train/", "test/"))] if scores is None else scores
    rows = [_judged(trials, name, outcome, baseline, test_size, seed) for name in wanted]
    rows.sort(key=lambda row: -np.nan_to_num(row["reduction"], nan=-np.inf))
    tested = [row for row in rows if np.isfinite(row["p"])]
    for row, p in zip(tested, holm([row["p"] for row in tested]) if tested else (), strict=True):
        row["p (Holm)"] = p
    board = Trials.of(
        rows, factors=("score",), study="evidence", settings={"outcome": outcome, "baseline": list(baseline)}
    )
    return board.replace(findings=tuple(map(_finding, rows)), provenance=dict(trials.provenance))


def _judged(
    trials: Trials, score: str, outcome: str, baseline: Sequence[str], test_size: int | None, seed: int
) -> dict[str, Any]:
    """Return everything that is said about one score."""
    there = np.isfinite(trials[score]) & np.isfinite([trials[name] for name in baseline]).all(axis=0)
    part = trials.take(np.flatnonzero(there))
    nothing = float("nan")
    row: dict[str, Any] = {
        "score": score,
        "models": len(part),
        "left out": len(trials) - len(part),
        "p (Holm)": nothing,
    }
    s, y = np.asarray(part[score], dtype=float), np.asarray(part[outcome], dtype=float)
    design = {name: part[name].tolist() for name in part.factors if name != "seed" and len(part.levels(name)) > 1}
    agreement = _or_none(lambda: kendall(s, y)) if len(part) >= FEWEST else None
    if agreement is None:
        return row | dict.fromkeys(("τ", "p", "Ψ", "K", "reduction", "reduction ±", "partial ρ", "regret"), nothing)
    granulated = _or_none(lambda: granulated_kendall(design, s, y))
    shared = _or_none(lambda: conditional_independence(design, s, y))
    groups = list(zip(*design.values(), strict=True)) if design else list(range(len(part)))
    columns = np.column_stack([*(part[name] for name in baseline), *_coded(part, design), np.zeros(len(part))])
    beyond = _or_none(lambda: increment(s, y, columns[:, :-1], groups, seed=seed))
    row |= {
        "τ": agreement.tau,
        "p": agreement.p_value,
        "Ψ": granulated.psi if granulated else nothing,
        "K": shared.value if shared else nothing,
        "reduction": beyond.reduction.value if beyond else nothing,
        "reduction ±": beyond.reduction.standard_error if beyond else nothing,
        "lowest reduction": beyond.reduction.low if beyond else nothing,
        "partial ρ": beyond.partial_correlation if beyond else nothing,
        "regret": selection_regret(s, y).regret,
    }
    if test_size is not None:
        errors = _or_none(lambda: robust_sign_error(design, s, y, test_size=test_size))
        row |= {"sign error": errors.largest if errors else nothing}
    return row


def _or_none(statistic: Callable[[], Found]) -> Found | None:
    """Return a statistic, or `None` where the runs do not support it."""
    try:
        return statistic()
    except NotDefinedError:
        return None


def _coded(trials: Trials, design: dict[str, list[Any]]) -> list[np.ndarray]:
    """Return factors as columns: numbers as they are or as logarithms, text by its levels."""
    columns = []
    for name, values in design.items():
        column = np.asarray(values)
        if column.dtype.kind in "iuf":
            columns.append(np.log(column) if (column > 0).all() else column.astype(float))
        else:
            columns += [(column == level).astype(float) for level in trials.levels(name)[1:]]
    return columns


def _finding(row: dict[str, Any]) -> Finding:
    """Say what a score knows: nothing, only what the design knows as well, or more."""
    if not np.isfinite(row["p"]):
        return Finding(row["score"], f"not judged: it does not vary, or {row['models']} models have it", "not judged")
    found = f"τ = {row['τ']:+.2f}, p = {row['p (Holm)']:.2g} after Holm's correction"
    if row.get("lowest reduction", np.nan) > 0:
        return Finding(row["score"], f"knows something beyond baseline and factors ({found})", "yes")
    if row["p (Holm)"] < 0.05:
        return Finding(
            row["score"], f"orders the outcome only as baseline and factors do ({found})", "only through the design"
        )
    return Finding(row["score"], f"does not order the outcome ({found})", "no")
