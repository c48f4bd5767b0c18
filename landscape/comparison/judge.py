"""The rules applied to recipes that have been measured: gates, tests and a verdict against the first of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from landscape.comparison.audits import failed, in_words
from landscape.comparison.decide import compare_scores, decide
from landscape.comparison.gates import Facts, check
from landscape.results.comparison import Audited, Comparison, Gate, Test, Verdict


def judge(
    names: Mapping[str, str],
    scores: Sequence[str],
    radii: np.ndarray,
    values: np.ndarray,
    errors: np.ndarray,
    facts: Sequence[Sequence[Facts]],
    metrics: Mapping[str, np.ndarray],
    *,
    audited: Sequence[Audited] = (),
    matched: str = "",
    level: float = 0.05,
    margin: float = 0.05,
    fewest: int = 6,
    loss_tolerance: float = 0.1,
    waive: Sequence[str] = (),
) -> Comparison:
    """Return what the measurements of several recipes support, each against the first.

    Args:
        names: recipes, the reference first: slug → name in words.
        scores: slugs.
        radii: (score, radius), NaN where a score has fewer.
        values: (recipe, seed, score, radius), NaN where missing.
        errors: their standard errors.
        facts: what the gates look at, by recipe and seed.
        metrics: (recipe, seed) losses and accuracies.
        audited: how the transformations moved the scores; one that moved by more than 1 % is descriptive only.
        matched: how losses were brought together, in words; empty: as trained.
        level: as in `compare`, like the options that follow.
        margin: half-width of equivalence in log10 S.
        fewest: seeds a recipe below which significance is not defined.
        loss_tolerance: how far apart mean training losses may be.
        waive: gates the user takes responsibility for.
    """
    slugs = list(names)
    gates: list[Gate] = []
    tests: list[Test] = []
    verdicts: list[Verdict] = []
    for slug, arm, known in zip(slugs[1:], values[1:], facts[1:], strict=True):
        mine = check(slugs[0], slug, facts[0], known, loss_tolerance=loss_tolerance, fewest=fewest, waive=waive)
        found = compare_scores(slugs[0], slug, scores, values[0], arm, margin=margin, level=level, fewest=fewest)
        gates, tests = [*gates, *mine], [*tests, *found]
        verdicts.append(
            decide(
                slugs[0], slug, mine, found,
                level=level, names=names, descriptive=failed(audited), matched=matched, margin=margin,
            )
        )  # fmt: skip
    return Comparison(
        recipes=tuple(slugs),
        long_names=tuple(names.values()),
        scores=tuple(scores),
        radii=radii,
        values=values,
        standard_errors=errors,
        metrics=metrics,
        gates=tuple(gates),
        tests=tuple(tests),
        verdicts=tuple(verdicts),
        audited=tuple(audited),
        audit=in_words(audited),
        matched=matched or "as trained",
    )
