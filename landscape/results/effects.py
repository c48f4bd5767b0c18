"""What studies conclude: the effect of one factor on one measure, and findings in sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What one factor does to one measure: b against a.

    Attributes:
        measure: what was compared.
        factor: what differs.
        a: the reference level, or the lowest.
        b: the other level, or the highest.
        part: levels of the factors that were held fixed.
        scale: ``log10`` (compared by ratio) or ``raw``.
        mean_a: mean over the runs of a on that scale.
        mean_b: the same of b.
        difference: mean of b minus mean of a, or the mean over pairs of b minus a.
        low: lower end of its 95 % bootstrap interval; NaN where there is none.
        high: upper end.
        sd: standard deviation of the difference over pairs; NaN where runs are not paired.
        p_value: two-sided; `None` where the test is not defined.
        p_holm: p after Holm's correction over the scores that decide; `None` for others.
        test: ``permutation``, ``sign flip`` or ``Page``.
        tau: Kendall's tau of measure and factor, mean over seeds; NaN where there are two levels.
        runs_a: runs of a, or pairs.
        runs_b: runs of b, or pairs.
        larger: pairs in which b is the larger.
        levels: levels compared.
        sign_stable: the difference has one sign at every radius.
        primary: whether a verdict rests on it.
    """

    measure: str
    factor: str
    a: str
    b: str
    part: str = ""
    scale: str = "raw"
    mean_a: float = np.nan
    mean_b: float = np.nan
    difference: float
    low: float = np.nan
    high: float = np.nan
    sd: float = np.nan
    p_value: float | None = None
    p_holm: float | None = None
    test: str = "permutation"
    tau: float = np.nan
    runs_a: int = 0
    runs_b: int = 0
    larger: int = 0
    levels: int = 2
    sign_stable: bool = True
    primary: bool = False

    @property
    def ratio(self) -> float:
        """b over a, of geometric means; NaN for what is compared by its difference."""
        return 10**self.difference if self.scale == "log10" else np.nan

    @property
    def change(self) -> str:
        """The difference in words, as ``× 2.5`` or ``+0.3``."""
        return f"× {self.ratio:.3g}" if self.scale == "log10" else f"{self.difference:+.3g}"

    @property
    def interval(self) -> str:
        """The interval in brackets on the scale of `change`; a dash where there is none."""
        if not np.isfinite(self.low + self.high):
            return "—"
        ends = (10**self.low, 10**self.high) if self.scale == "log10" else (self.low, self.high)
        return f"[{ends[0]:.3g}, {ends[1]:.3g}]"


@dataclass(frozen=True)
class Finding:
    """One thing that a study found.

    Attributes:
        label: what it is about.
        text: a sentence.
        verdict: one word, where it is a verdict.
    """

    label: str
    text: str
    verdict: str = ""


def effect_columns(effects: Sequence[Effect | None]) -> dict[str, list[str]]:
    """Return the columns that say what an effect is: those that some effect has."""
    known = [effect for effect in effects if effect is not None]

    def column(write: Callable[[Effect], str]) -> list[str]:
        return ["" if effect is None else write(effect) for effect in effects]

    def p_value(effect: Effect) -> str:
        p = effect.p_value if effect.p_holm is None else effect.p_holm
        return "—" if p is None else f"{p:.2g}"

    found = {"change": column(lambda effect: effect.change)}
    if any(np.isfinite(effect.low) for effect in known):
        found["95 % interval"] = column(lambda effect: effect.interval)
    if any(effect.test == "Page" for effect in known):
        found["τ"] = column(lambda effect: "—" if np.isnan(effect.tau) else f"{effect.tau:+.2f}")
    return found | {"p": column(p_value)}
