"""Tests between two recipes and the verdict they support.

The decision rests on scores declared beforehand in the register: the worst and the average case of relative perturbations, on
normalised logits, and the relative noise that the 0–1 error tolerates. In all three the first order cancels, so that none asks
for a critical point, and none is moved by a rescaling of layers or neurons or by a change of temperature. All others are
reported beside them, family by family.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from landscape.comparison.rule import called, compared_by_ratio, corrected, phrase, steady
from landscape.results.comparison import WAIVED, Gate, Test, Verdict, alike
from landscape.scores import REGISTRY
from landscape.scores.register import primary
from landscape.statistics import mean_difference, pairs_needed, permutation_test, sign_flip_test, superiority

SIGN = {"spikier": 1.0, "flatter": -1.0, "tie": 0.0, "different, negligibly": 0.0}
"""The verdicts that other families can agree with, as the sign of the difference they expect."""
_WORDS = {
    "spikier": "rises more under relative perturbations of its weights",
    "flatter": "rises less under relative perturbations of its weights",
}
"""What was measured: the loss under relative perturbations, and its errors under noise that may be as large as the weights."""


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
    radii: np.ndarray | None = None,
    errors: tuple[np.ndarray, np.ndarray] | None = None,
    paired: bool = False,
    deciding: Collection[str] | None = None,
    unconverged: Collection[str] = (),
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
        radii: (score, radius), for saturation; `None`: every radius has a vote.
        errors: Monte-Carlo standard errors in the shapes of the arms, where all seeds were measured with the same draws, so
            that their spread does not show them; they enter the intervals. `None`: draws differ by seed.
        paired: seeds of the same position belong together.
        deciding: scores that the verdict rests on; `None`: the primary ones.
        unconverged: scores with a value that did not converge; they are not tested.

    Returns:
        One row per score with at least one defined value in each arm: on log10, by ratio; as they are, by difference,
        scores that are logarithms or entropies already (see the register) and those that are not positive throughout.
    """
    chosen = primary() if deciding is None else deciding
    fewest = max(fewest, pairs_needed(level, max(1, len(chosen)))) if paired else fewest
    rows = []
    for i, score in enumerate(scores):
        shown = None if errors is None else [error[:, i] for error in errors]
        by_ratio, (x, y), arms, shared = _on_one_scale(score, [arm_a[:, i], arm_b[:, i]], shown, paired)
        if not len(x) or not len(y):
            continue
        stable, silent = steady(arms[0], arms[1], radii[i] if by_ratio and radii is not None else None)
        notes = [f"saturated at {', '.join(f'{r:g}' for r in radii[i][silent])}: no vote"] if silent.any() else []  # type: ignore[index]
        converged, seeds = score not in unconverged, min(len(x), len(y))
        found = mean_difference(x, y, paired=paired, shared=shared) if converged and seeds > 1 else None
        low, high = found.interval() if found else (np.nan, np.nan)
        test = sign_flip_test if paired else permutation_test
        rows.append(
            Test(
                a=a,
                b=b,
                score=score,
                primary=score in chosen,
                scale="log10" if by_ratio else "raw",
                difference=float(y.mean() - x.mean()),
                low=float(low),
                high=float(high),
                p_value=test(x, y, fewest=fewest).p_value if converged and seeds >= fewest else None,
                p_holm=None,
                superiority=superiority(x, y),
                equivalent=bool(by_ratio and margin > 0 and found and found.within(margin) < level),
                sign_stable=bool(stable),
                seeds_a=len(x),
                seeds_b=len(y),
                beyond=bool(found and found.beyond(margin if by_ratio else 0.0)),
                paired=paired,
                orientation=REGISTRY[score].orientation if score in REGISTRY else "higher is sharper",
                note="; ".join(notes if converged else [*notes, "not converged: not tested"]),
            )
        )
    return corrected(rows)


def _on_one_scale(
    score: str, arms: Sequence[np.ndarray], errors: Sequence[np.ndarray] | None, paired: bool
) -> tuple[bool, list[np.ndarray], list[np.ndarray], float]:
    """Return whether arms (seed, radius) are compared by ratio, and as they are compared the means of their seeds over radii,
    all their values, NaN where missing, and the error of the draws that all seeds share: it does not average out over them.
    """
    means = alike(arms)
    known = [np.isfinite(mean) for mean in means]
    if paired:
        known = [known[0] & known[1]] * 2
    by_ratio = not any((arm <= 0).any() for arm in arms) and compared_by_ratio(score)
    scale: Callable[[np.ndarray], np.ndarray] = np.log10 if by_ratio else np.asarray
    shared = 0.0
    for arm, error, there in zip(arms, errors or (), known):
        part = error[there] / (arm[there] * np.log(10) if by_ratio else 1)
        shared += float(np.nanmean(part)) ** 2 if np.isfinite(part).any() else 0.0
    values = [scale(np.where(np.isfinite(arm), arm, np.nan)) for arm in arms]
    return by_ratio, [scale(mean[there]) for mean, there in zip(means, known, strict=True)], values, shared**0.5


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
    deciding: Mapping[str, str] | None = None,
    remarks: Sequence[str] = (),
) -> Verdict:
    """Return the verdict on b against a.

    ``spikier`` or ``flatter``: the scores that decide agree in sign, and at least two differ: significant after Holm's
    correction, with a sign that holds at every radius, and an interval beyond the margin. ``different, negligibly``: a
    direction is significant, and all lie within the margin. ``tie``: all lie within the margin. ``mixed``: scores that differ
    disagree. ``inconclusive``: none of these is shown, and the text says why. ``not comparable``: a gate failed.

    Args:
        a: the reference recipe.
        b: the other one.
        gates: from `check`.
        tests: from `compare_scores`.
        level: of the tests.
        names: human names by slug.
        descriptive: scores that failed the invariance audit and may not carry a verdict.
        matched: how losses that differ were brought together, in words; the verdict ends with it.
        margin: half-width of equivalence in log10 S.
        deciding: which score decides in the place of each primary one; `None`: they themselves.
        remarks: sentences about both recipes that the verdict must not be read without.
    """
    chosen = {slug: slug for slug in primary()} if deciding is None else deciding
    verdict = _decided(a, b, gates, tests, level=level, names=names, descriptive=descriptive, deciding=chosen)
    at_rest = next((gate.value <= gate.limit for gate in gates if gate.gate == "gradient"), True)
    fit = [row for row in tests if at_rest or row.score not in REGISTRY or REGISTRY[row.score].family != "curvature"]
    beside = _beside(agreement(fit, verdict.verdict, margin=margin))
    instead = [f"{other} in the place of {slug}" for slug, other in chosen.items() if other != slug]
    sentences = [
        verdict.text,
        f"Decided by {', '.join(instead)}." if instead and verdict.verdict != "not comparable" else "",
        beside,
        _waived(gates),
        *remarks,
        f"{matched[0].upper()}{matched[1:]}." if matched else "",
    ]
    return replace(verdict, text=" ".join(filter(None, sentences)))


def _waived(gates: Sequence[Gate]) -> str:
    """Name the gates that failed and were waived, with what was measured; the verdict does not stand without them."""
    failed = [f"{gate.gate} {' (allowed '.join(_measured(gate))})" for gate in gates if gate.note == WAIVED]
    return f"Waived by the user: {', '.join(failed)}." if failed else ""


def _measured(gate: Gate) -> tuple[str, str]:
    """Return what was measured and what is allowed in words: relative and absolute differences in percent."""
    if not np.isfinite(gate.value):
        return f"not known ({gate.value})", f"{gate.limit:.4g}"
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
    deciding: Mapping[str, str],
) -> Verdict:
    label_a, label_b = names.get(a, a), names.get(b, b)
    failed = [gate for gate in gates if not gate.passed and gate.gate != "seeds"]
    if failed:
        why = "; ".join(f"{gate.gate} {', allowed '.join(_measured(gate))} ({gate.note})" for gate in failed)
        return Verdict(a, b, "not comparable", f"{label_b} and {label_a} are not comparable: {why}.")
    rows = sorted(
        (row for row in tests if row.primary), key=lambda row: [*deciding.values(), row.score].index(row.score)
    )
    if reason := _unfit(rows, descriptive, deciding):
        return Verdict(a, b, "inconclusive", f"{label_b} against {label_a} is inconclusive: {reason}.")
    signs = [float(np.sign(row.difference)) for row in rows]
    word = called(rows, signs, level=level, beyond=[row.beyond for row in rows])
    evidence = "; ".join(_sentence(row) for row in rows)
    if word == "mixed":
        return Verdict(a, b, word, f"{label_b} against {label_a} is mixed, scores that differ disagree: {evidence}.")
    if word:
        says = f"{label_b} is {word} than {label_a} at matched loss, its loss {_WORDS[word]}: {evidence}."
        return Verdict(a, b, word, says)
    if all(row.equivalent for row in rows):
        if called(rows, signs, level=level):
            text = f"{label_b} and {label_a} differ, but by less than the declared margin: {evidence}."
            return Verdict(a, b, "different, negligibly", text)
        return Verdict(a, b, "tie", f"{label_b} and {label_a} tie within the declared margin: {evidence}.")
    why = _undecided(rows, signs, level)
    return Verdict(a, b, "inconclusive", f"{label_b} against {label_a} is inconclusive, {why}: {evidence}.")


def _unfit(rows: Sequence[Test], descriptive: Collection[str], deciding: Mapping[str, str]) -> str:
    """Say why the scores that decide cannot; empty where they can."""
    if missing := sorted(set(deciding.values()) - {row.score for row in rows}):
        return f"{', '.join(missing)} not measured or not defined on this objective"
    if len(rows) < 2:
        lacking = ", ".join(sorted(set(primary()) - set(deciding)))
        return f"{lacking} not defined on this objective and no other score may decide, two are needed"
    if unfit := sorted(set(descriptive) & {row.score for row in rows}):
        return f"{', '.join(unfit)} failed the invariance audit"
    return ""


def _undecided(rows: Sequence[Test], signs: Sequence[float], level: float) -> str:
    """Say why neither a difference nor a tie is shown."""
    significant = [row for row in rows if row.p_holm is not None and row.p_holm < level]
    near = [row.score for row in significant if row.sign_stable and not row.beyond]
    unstable = [row.score for row in significant if not row.sign_stable]
    reasons = [
        f"too few {'pairs' if rows[0].paired else 'seeds'} for significance" if any(r.p_value is None for r in rows) else "",
        f"significant, but possibly by less than the margin ({', '.join(near)})" if near else "",
        f"signs that change with the radius ({', '.join(unstable)})" if unstable else "",
        _contrary(rows, signs, significant),
    ]  # fmt: skip
    return "; ".join(filter(None, reasons)) or "neither a difference nor a tie is shown"


def _contrary(rows: Sequence[Test], signs: Sequence[float], significant: Sequence[Test]) -> str:
    """Name the scores that point the other way than those that differ."""
    agreed = {sign for row, sign in zip(rows, signs, strict=True) if row in significant}
    others = [row.score for row, sign in zip(rows, signs, strict=True) if row not in significant and sign not in agreed]
    return f"no difference in {', '.join(others)}, which points the other way if anywhere" if agreed and others else ""


def _sentence(row: Test) -> str:
    p = "" if row.p_holm is None else f", p = {row.p_holm:.2g}"
    by_ratio, numbers = row.scale == "log10", np.array([row.difference, row.low, row.high])
    value, *ends = 10**numbers if by_ratio else numbers
    shown = f"× {value:.2f}" if by_ratio else f"{value:+.3g}"
    spread = f" [{ends[0]:.2f}, {ends[1]:.2f}]" if np.isfinite(ends).all() else ""
    note = f" ({row.note})" if row.note else ""
    return f"{phrase(row.score)} {shown}{spread}{p}{note}"


def agreement(tests: Sequence[Test], verdict: str, *, margin: float) -> dict[str, str]:
    """Return for each family with a score that does not decide whether it ``agrees``, ``disagrees`` or is ``divided``.

    A score has a sign when the interval of its difference excludes zero and the difference exceeds the margin of
    equivalence; one without leaves a family that has no other ``undecided``. With a tie a family agrees as long as none
    of its scores has a sign.

    Args:
        tests: of one pair of recipes.
        verdict: ``spikier``, ``flatter``, ``tie`` or ``different, negligibly``; for others there is nothing to agree with.
        margin: half-width of equivalence in log10 S.

    >>> row = dict(a="a", b="b", primary=False, scale="log10", p_value=None, p_holm=None, superiority=1.0,
    ...            equivalent=False, sign_stable=True, seeds_a=8, seeds_b=8)
    >>> rows = [Test(score="trace", difference=0.5, low=0.4, high=0.6, **row),
    ...         Test(score="tic-diagonal", difference=-0.7, low=-0.9, high=-0.5, **row)]
    >>> agreement(rows, "spikier", margin=0.05)
    {'curvature': 'agrees', 'noise': 'disagrees'}
    """
    if verdict not in SIGN:
        return {}
    families: dict[str, set[float]] = {}
    for row in tests:
        known = REGISTRY.get(row.score)
        if row.primary or known is None or known.orientation == "control":
            continue
        towards = -1.0 if known.orientation == "lower is sharper" else 1.0
        families.setdefault(known.family, set()).add(towards * _sign(row, margin))
    return {family: _of_family(signs, SIGN[verdict]) for family, signs in families.items()}


def _sign(row: Test, margin: float) -> float:
    uncertain = np.isfinite(row.low) and row.low <= 0 <= row.high
    small = row.scale == "log10" and abs(row.difference) <= margin
    return 0.0 if uncertain or small else float(np.sign(row.difference))


def _of_family(signs: set[float], expected: float) -> str:
    decided = signs - {0.0}
    if len(decided) > 1:
        return "divided"
    if expected == 0:
        return "disagrees" if decided else "agrees"
    if not decided:
        return "undecided"
    return "agrees" if decided == {expected} else "disagrees"


def _beside(found: Mapping[str, str]) -> str:
    """Say which families agree, disagree, are divided or undecided; empty when there are none.

    >>> _beside({"curvature": "agrees", "noise": "disagrees", "slice": "undecided", "volume": "undecided"})
    'Of the families that do not decide, curvature agrees; noise disagrees; slice and volume are undecided.'
    """
    parts = []
    for word, several in (("agrees", "agree"), ("disagrees", "disagree"), ("divided", ""), ("undecided", "")):
        names = [family for family, said in found.items() if said == word]
        if names:
            listed = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
            be = "are" if len(names) > 1 else "is"
            parts.append(f"{listed} {(several if len(names) > 1 else word) if several else f'{be} {word}'}")
    return f"Of the families that do not decide, {'; '.join(parts)}." if parts else ""
