"""Tests between two recipes and the verdict they support.

The decision rests on scores declared beforehand in the register: the worst and the average case of relative perturbations, on
normalised logits, and the relative noise that the 0–1 error tolerates. In all three the first order cancels, so that none asks
for a critical point, and none is moved by a rescaling of layers or neurons or by a change of temperature. All others are
reported beside them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from landscape.comparison.families import agreement, in_words
from landscape.comparison.rule import called, compared_by_ratio, corrected, one_sign, phrase, saturated
from landscape.results.comparison import WAIVED, Gate, Test, Verdict, alike
from landscape.scores import REGISTRY
from landscape.scores.register import primary
from landscape.statistics import mean_difference, pairs_needed, permutation_test, sign_flip_test, superiority


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
    compare = partial(
        _compare, a=a, b=b, margin=margin, level=level, paired=paired,
        fewest=max(fewest, pairs_needed(level, max(1, len(chosen)))) if paired else fewest,
    )  # fmt: skip
    rows = [
        compare(
            name, arm_a[:, i], arm_b[:, i],
            radii=None if radii is None else radii[i],
            errors=None if errors is None else (errors[0][:, i], errors[1][:, i]),
            primary=name in chosen,
            converged=name not in unconverged,
        )
        for i, name in enumerate(scores)
    ]  # fmt: skip
    return corrected([row for row in rows if row is not None])


def _compare(
    score: str,
    arm_a: np.ndarray,
    arm_b: np.ndarray,
    *,
    a: str,
    b: str,
    margin: float,
    level: float,
    fewest: int,
    paired: bool,
    radii: np.ndarray | None,
    errors: tuple[np.ndarray, np.ndarray] | None,
    primary: bool,
    converged: bool,
) -> Test | None:
    """Compare the values (seed, radius) of one score; None if an arm has none."""
    means = alike([arm_a, arm_b])
    known = [np.isfinite(mean) for mean in means]
    if paired:
        known = [known[0] & known[1]] * 2
    x, y = (mean[there] for mean, there in zip(means, known, strict=True))
    if not len(x) or not len(y):
        return None
    by_ratio = not any((arm <= 0).any() for arm in (arm_a, arm_b)) and compared_by_ratio(score)
    if by_ratio:
        x, y = np.log10(x), np.log10(y)
    silent = _saturated(arm_a, arm_b, radii) if by_ratio and radii is not None else np.zeros(arm_a.shape[1], dtype=bool)
    tested = converged and min(len(x), len(y)) >= fewest
    several = converged and min(len(x), len(y)) > 1
    shared = _shared(arm_a[known[0]], arm_b[known[1]], errors, known, by_ratio)
    found = mean_difference(x, y, paired=paired, shared=shared) if several else None
    low, high = found.interval() if found else (np.nan, np.nan)
    test = sign_flip_test if paired else permutation_test
    notes = [f"saturated at {', '.join(f'{r:g}' for r in radii[silent])}: no vote"] if silent.any() else []  # type: ignore[index]
    return Test(
        a=a,
        b=b,
        score=score,
        primary=primary,
        scale="log10" if by_ratio else "raw",
        difference=float(y.mean() - x.mean()),
        low=float(low),
        high=float(high),
        p_value=test(x, y, fewest=fewest).p_value if tested else None,
        p_holm=None,
        superiority=superiority(x, y),
        equivalent=bool(by_ratio and margin > 0 and found and found.within(margin) < level),
        sign_stable=bool(one_sign(_by_radius(arm_a, arm_b, by_ratio)[~silent])),
        seeds_a=len(x),
        seeds_b=len(y),
        beyond=bool(found and found.beyond(margin if by_ratio else 0.0)),
        paired=paired,
        orientation=REGISTRY[score].orientation if score in REGISTRY else "higher is sharper",
        note="; ".join(notes if converged else [*notes, "not converged: not tested"]),
    )


def _shared(
    a: np.ndarray, b: np.ndarray, errors: tuple[np.ndarray, np.ndarray] | None, known: list[np.ndarray], by_ratio: bool
) -> float:
    """Return the error of a difference that comes from draws which all seeds share: it does not average out over them."""
    if errors is None:
        return 0.0
    total = 0.0
    for values, error, there in zip((a, b), errors, known, strict=True):
        part = error[there] / (np.abs(values) * np.log(10)) if by_ratio else error[there]
        total += float(np.nanmean(part)) ** 2 if np.isfinite(part).any() else 0.0
    return total**0.5


def _saturated(arm_a: np.ndarray, arm_b: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Return at which radii either arm has saturated, (radius,); none where radii do not rise or values are missing."""
    count = int(np.isfinite(radii).sum())
    silent = np.zeros(arm_a.shape[1], dtype=bool)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.stack([np.nanmean(np.log(arm[:, :count]), axis=0) for arm in (arm_a, arm_b)])
    if np.isfinite(means).all():
        silent[:count] = saturated(means, radii[:count])
    return silent


def _by_radius(arm_a: np.ndarray, arm_b: np.ndarray, by_ratio: bool) -> np.ndarray:
    """Return the difference of mean logarithms, or of means, at every radius; NaN where an arm has no value."""
    differences = np.full(arm_a.shape[1], np.nan)
    for r in range(arm_a.shape[1]):
        x, y = (arm[np.isfinite(arm[:, r]), r] for arm in (arm_a, arm_b))
        if by_ratio:
            x, y = np.log(x[x > 0]), np.log(y[y > 0])
        if len(x) and len(y):
            differences[r] = y.mean() - x.mean()
    return differences


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
    beside = in_words(agreement(fit, verdict.verdict, margin=margin))
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


_WORDS = {
    "spikier": "rises more under relative perturbations of its weights",
    "flatter": "rises less under relative perturbations of its weights",
}
"""What was measured: the loss under relative perturbations, and its errors under noise that may be as large as the weights."""


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
