"""What the seeds of a comparison could have shown: the smallest p value, and the smallest difference found reliably."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from landscape.export.tables import Cell, Table
from landscape.results import Comparison
from landscape.results.numbers import Measured
from landscape.statistics import permutation_floor

POWER = 0.8


def detectable(a: np.ndarray, b: np.ndarray, *, level: float = 0.05, power: float = POWER) -> float:
    r"""Return the smallest difference of means that a two-sided t test finds with the given power, approximately.

    $\delta = (t_{1-\alpha/2} + t_{1-\beta}) \sqrt{s_a^2/n_a + s_b^2/n_b}$ with $n_a + n_b - 2$ degrees of freedom; a
    permutation test of the same seeds has nearly this power.

    Args:
        a: (n_a,) values of the first recipe, one a seed.
        b: (n_b,) values of the second.
        level: two-sided level of the test.
        power: probability of finding the difference.

    Returns:
        The difference in the units of the values; NaN with fewer than two values in an arm.

    Source: Cohen 1988, *Statistical Power Analysis for the Behavioral Sciences*, chapter 2.

    >>> spread = np.array([-1.0, 0.0, 1.0])
    >>> round(detectable(np.tile(spread, 100), np.tile(spread, 100)), 3)  # 2.8 standard errors for many seeds
    0.187
    """
    if min(len(a), len(b)) < 2:
        return math.nan
    degrees = len(a) + len(b) - 2
    error = math.sqrt(np.var(a, ddof=1) / len(a) + np.var(b, ddof=1) / len(b))
    return float((stats.t.ppf(1 - level / 2, degrees) + stats.t.ppf(power, degrees)) * error)


def power_table(result: Comparison) -> Table:
    """Return what the seeds of a comparison could have shown of each primary score, or of all when none is primary."""
    level = float(result.provenance.get("level", 0.05))
    names = dict(zip(result.recipes, result.long_names, strict=True))
    chosen = [row for row in result.tests if row.primary] or list(result.tests)
    rows: list[tuple[Cell, ...]] = []
    for row in chosen:
        a, b = (_defined(result, row.score, recipe, row.scale) for recipe in (row.a, row.b))
        smallest = detectable(a, b, level=level)
        rows.append(
            (
                f"{names[row.b]} against {names[row.a]}",
                row.score,
                f"{row.seeds_a} and {row.seeds_b}",
                Measured(permutation_floor(row.seeds_a, row.seeds_b)),
                None if math.isnan(smallest) else _difference(smallest, row.scale),
                _difference(abs(row.difference), row.scale),
            )
        )
    columns = ("pair", "score", "seeds", "smallest p", f"found with {POWER:.0%} power", "observed")
    note = f"Two-sided at {level:g} before correction; factors where scores were compared as ratios."
    return Table("Power", columns, tuple(rows), note)


def _defined(result: Comparison, score: str, recipe: str, scale: str) -> np.ndarray:
    values = result.score(score)[recipe]
    values = values[np.isfinite(values)]
    return np.log10(values) if scale == "log10" else values


def _difference(value: float, scale: str) -> str:
    return f"× {10**value:#.3g}" if scale == "log10" else f"± {value:#.3g}"
