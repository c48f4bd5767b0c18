"""What the scores that do not decide say of a verdict: family by family, in agreement or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from landscape.results.comparison import Test
from landscape.scores import REGISTRY

SIGN = {"spikier": 1.0, "flatter": -1.0, "tie": 0.0, "different, negligibly": 0.0}
"""The verdicts that other families can agree with, as the sign of the difference they expect."""


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


def in_words(found: Mapping[str, str]) -> str:
    """Say which families agree, disagree, are divided or undecided; empty when there are none.

    >>> in_words({"curvature": "agrees", "slice": "agrees", "noise": "disagrees"})
    'Of the families that do not decide, curvature and slice agree; noise disagrees.'
    """
    parts = []
    for word, several in (("agrees", "agree"), ("disagrees", "disagree"), ("divided", ""), ("undecided", "")):
        names = [family for family, said in found.items() if said == word]
        if names:
            listed = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
            be = "are" if len(names) > 1 else "is"
            parts.append(f"{listed} {(several if len(names) > 1 else word) if several else f'{be} {word}'}")
    return f"Of the families that do not decide, {'; '.join(parts)}." if parts else ""
