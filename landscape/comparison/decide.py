"""Tests between two recipes and the verdict they support.

The decision rests on scores declared beforehand in the register, which neither a rescaling of layers or neurons nor a
change of temperature or of basis moves, as an audit in every comparison measures: adaptive worst case and adaptive
average case on normalised logits, and magnitude-aware 1/σ′² on the 0–1 error. All others are reported beside them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from landscape.comparison.families import agreement, in_words
from landscape.comparison.rule import called, compared_by_ratio, corrected, one_sign, phrase
from landscape.results.comparison import WAIVED, Gate, Test, Verdict, over_radii
from landscape.scores.register import primary
from landscape.statistics import bootstrap_interval, equivalence_test, permutation_test, superiority


def compare_scores(
    a: str,
    b: str,
    scores: Sequence[str],
    arm_a: np.ndarray,
    arm_b: np.ndarray,
    *,
    margin: float,
    level: float,
    fewest: int,
) -> list[Test]:
    """Compare two recipes score by score.

    Args:
        a: the reference recipe.
        b: the other one.
        scores: slugs.
        arm_a: (seed, score, radius) values, NaN where missing.
        arm_b: the same for b.
        margin: half-width of equivalence in log10 S.
        level: of the tests.
        fewest: seeds per arm below which no p value is given.

    Returns:
        One row per score with at least one defined value in each arm: on log10, by ratio; as they are, by difference,
        scores that are logarithms or entropies already (see the register) and those that are not positive throughout.
    """
    compare = partial(_compare, a=a, b=b, margin=margin, level=level, fewest=fewest)
    rows = [compare(name, arm_a[:, i], arm_b[:, i]) for i, name in enumerate(scores)]
    return corrected([row for row in rows if row is not None])


def _compare(
    score: str, arm_a: np.ndarray, arm_b: np.ndarray, *, a: str, b: str, margin: float, level: float, fewest: int
) -> Test | None:
    """Compare the values (seed, radius) of one score; None if an arm has none."""
    x, y = _defined(over_radii(arm_a)), _defined(over_radii(arm_b))
    if not len(x) or not len(y):
        return None
    by_ratio = bool((x > 0).all() and (y > 0).all()) and compared_by_ratio(score)
    if by_ratio:
        x, y = np.log10(x), np.log10(y)
    enough = min(len(x), len(y)) >= fewest
    several = min(len(x), len(y)) > 1
    interval = bootstrap_interval(x, y) if several else None
    equivalence = equivalence_test(x, y, margin=margin, level=level) if several and by_ratio else None
    difference = float(y.mean() - x.mean())
    return Test(
        a=a,
        b=b,
        score=score,
        primary=score in primary(),
        scale="log10" if by_ratio else "raw",
        difference=difference,
        low=interval.low if interval else np.nan,
        high=interval.high if interval else np.nan,
        p_value=permutation_test(x, y, fewest=fewest).p_value if enough else None,
        p_holm=None,
        superiority=superiority(x, y),
        equivalent=bool(equivalence and equivalence.p_value < level),
        sign_stable=bool(one_sign(_by_radius(arm_a, arm_b, by_ratio))),
        seeds_a=len(x),
        seeds_b=len(y),
    )


def _by_radius(arm_a: np.ndarray, arm_b: np.ndarray, by_ratio: bool) -> np.ndarray:
    """Return the difference of mean logarithms, or of means, at every radius; NaN where an arm has no value."""
    differences = np.full(arm_a.shape[1], np.nan)
    for r in range(arm_a.shape[1]):
        x, y = _defined(arm_a[:, r]), _defined(arm_b[:, r])
        if by_ratio:
            x, y = np.log(x[x > 0]), np.log(y[y > 0])
        if len(x) and len(y):
            differences[r] = y.mean() - x.mean()
    return differences


def _defined(values: np.ndarray) -> np.ndarray:
    return values[np.isfinite(values)]


def decide(
    a: str,
    b: str,
    gates: Sequence[Gate],
    tests: Sequence[Test],
    *,
    level: float,
    names: Mapping[str, str],
    descriptive: Collection[str] = (),
    matched: str = "",
    margin: float = 0.05,
) -> Verdict:
    """Return the verdict on b against a.

    ``spikier`` or ``flatter``: the three primary scores agree in sign and at least two are significant after Holm's
    correction with a sign that holds at every radius. ``tie``: all three lie within the margin of equivalence.
    ``mixed``: significant scores disagree. ``inconclusive``: neither a difference nor equivalence is shown. ``not
    comparable``: a gate failed.

    Args:
        a: the reference recipe.
        b: the other one.
        gates: from `check`.
        tests: from `compare_scores`.
        level: of the tests.
        names: human names by slug.
        descriptive: scores that failed the invariance audit and may not carry a verdict.
        matched: how losses that differ were brought together, in words; the verdict ends with it.
        margin: half-width of equivalence in log10 S, for the families that only agree or disagree.
    """
    verdict = _decided(a, b, gates, tests, level=level, names=names, descriptive=descriptive)
    beside = in_words(agreement(tests, verdict.verdict, margin=margin))
    how = f"{matched[0].upper()}{matched[1:]}." if matched else ""
    return replace(verdict, text=" ".join(filter(None, (verdict.text, beside, _waived(gates), how))))


def _waived(gates: Sequence[Gate]) -> str:
    """Name the gates that failed and were waived, with what was measured; the verdict does not stand without them."""
    failed = [f"{gate.gate} {' (allowed '.join(_measured(gate))})" for gate in gates if gate.note == WAIVED]
    return f"Waived by the user: {', '.join(failed)}." if failed else ""


def _measured(gate: Gate) -> tuple[str, str]:
    """Return what was measured and what is allowed in words: relative and absolute differences in percent."""
    if gate.gate in ("train loss", "train accuracy"):
        percent = 100 * gate.value
        return f"{percent:,.0f} % apart" if percent >= 100 else f"{percent:.3g} % apart", f"{100 * gate.limit:.3g} %"
    return f"{gate.value:.4g}", f"{gate.limit:.4g}"


def _decided(
    a: str,
    b: str,
    gates: Sequence[Gate],
    tests: Sequence[Test],
    *,
    level: float,
    names: Mapping[str, str],
    descriptive: Collection[str],
) -> Verdict:
    label_a, label_b = names.get(a, a), names.get(b, b)
    failed = [gate for gate in gates if not gate.passed and gate.gate != "seeds"]
    if failed:
        why = "; ".join(f"{gate.gate} {', allowed '.join(_measured(gate))} ({gate.note})" for gate in failed)
        return Verdict(a, b, "not comparable", f"{label_b} and {label_a} are not comparable: {why}.")
    deciding = [row for row in tests if row.primary]
    missing = sorted(set(primary()) - {row.score for row in deciding})
    if missing:
        text = f"{label_b} against {label_a} is inconclusive: {', '.join(missing)} not defined on this objective."
        return Verdict(a, b, "inconclusive", text)
    if unfit := sorted(set(descriptive) & {row.score for row in deciding}):
        text = f"{label_b} against {label_a} is inconclusive: {', '.join(unfit)} failed the invariance audit."
        return Verdict(a, b, "inconclusive", text)
    word = called(deciding, [float(np.sign(row.difference)) for row in deciding], level=level)
    evidence = "; ".join(_sentence(row) for row in deciding)
    if word == "mixed":
        return Verdict(a, b, word, f"{label_b} against {label_a} is mixed, significant scores disagree: {evidence}.")
    if word:
        return Verdict(a, b, word, f"{label_b} ends in {word} minima than {label_a} at matched loss: {evidence}.")
    if all(row.equivalent for row in deciding):
        return Verdict(a, b, "tie", f"{label_b} and {label_a} tie within the declared margin: {evidence}.")
    few = " (too few seeds for significance)" if any(row.p_value is None for row in deciding) else ""
    text = f"{label_b} against {label_a} is inconclusive{few}, neither a difference nor a tie is shown: {evidence}."
    return Verdict(a, b, "inconclusive", text)


def _sentence(row: Test) -> str:
    p = "" if row.p_holm is None else f", p = {row.p_holm:.2g}"
    low, high = 10**row.low, 10**row.high
    spread = f" [{low:.2f}, {high:.2f}]" if np.isfinite(low) and np.isfinite(high) else ""
    return f"{phrase(row.score)} × {10**row.difference:.2f}{spread}{p}"
