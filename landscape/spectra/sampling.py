"""Averages of independent samples: when to stop, and what the standard error is."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from landscape.bars import bar
from landscape.errors import LandscapeError

FEWEST = 10
"""Samples before a stopping rule is asked: the spread of fewer says little."""


def sample_until(
    enough: Callable[[np.ndarray], bool],
    draw: Callable[[int, int], np.ndarray],
    *,
    budget: int,
    block: int,
    description: str,
) -> np.ndarray:
    """Collect samples number 0, 1, … until there are enough or the budget is spent.

    The rule is asked at 10, 13, 17, … samples, each time a quarter more: asking after every sample would stop at the
    moments when the spread looks small by chance.

    Args:
        enough: says whether the samples so far suffice.
        draw: makes samples number start, …, stop − 1 as an array (stop − start, …), at most a block of them.
        budget: the most samples.
    """
    parts: list[np.ndarray] = []
    count, ask = 0, FEWEST
    with bar(total=budget, desc=description, unit="product") as progress:
        while count < budget:
            stop = min(count + block, budget, max(ask, count + 1))
            parts.append(draw(count, stop))
            progress.update(stop - count)
            count = stop
            if count >= ask:
                if enough(np.concatenate(parts)):
                    break
                ask = count + max(1, count // 4)
    return np.concatenate(parts)


def standard_error(samples: np.ndarray) -> float:
    """Return the standard error of the mean of independent samples (n,); NaN for a single one.

    >>> standard_error(np.array([1.0, 3.0]))
    1.0
    """
    return float(np.std(samples, ddof=1) / len(samples) ** 0.5) if len(samples) > 1 else float("nan")


def jackknife(estimate: Callable[[np.ndarray], float], count: int, left_out: Iterable[int] | None = None) -> float:
    """Return the jackknife standard error of an estimator; NaN for a single sample.

    Args:
        estimate: the estimator, given the indices of the samples to use.
        count: how many samples there are.
        left_out: those left out in turn, where not all of them are.

    Source: Efron and Stein 1981.

    >>> samples = np.array([1.0, 3.0, 8.0])
    >>> round(jackknife(lambda chosen: samples[chosen].mean(), 3), 12) == round(standard_error(samples), 12)
    True
    """
    if count < 2:
        return float("nan")
    everything = np.arange(count)
    values = [estimate(np.delete(everything, i)) for i in (everything if left_out is None else left_out)]
    return float((count - 1) / count**0.5 * np.std(values, ddof=1))


def precise(value: float, error: float, tol: float | None) -> bool:
    """Say whether the standard error is at most tol·|value|; an unknown error is not, and without a tolerance nothing is."""
    return tol is not None and error <= tol * abs(value)


def shortfall(value: float, error: float, tol: float | None, matvecs: int) -> str:
    """Return what to do where the standard error missed the tolerance, else an empty text."""
    if tol is None or precise(value, error, tol):
        return ""
    if not np.isfinite(error) or value == 0:
        return f"no standard error below tol={tol:.0e} after {matvecs} products: raise matvecs"
    needed = matvecs * (error / (tol * abs(value))) ** 2
    return f"the standard error is {error / abs(value):.1e} of the value: raise matvecs to about {needed:.2g}"


def check_budget(matvecs: int, tol: float | None, least: int, method: str) -> None:
    """Raise unless the budget and the tolerance make sense."""
    if matvecs < least:
        raise LandscapeError(f"matvecs={matvecs} is too few for method={method!r}: use at least {least}")
    if tol is not None and not tol > 0:
        raise LandscapeError(f"tol={tol} is a relative standard error: use tol > 0, such as 0.01, or None")
