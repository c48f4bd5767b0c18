"""Averages of independent samples: when to stop, and what the standard error is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from landscape.bars import bar
from landscape.errors import LandscapeError

FEWEST = 10
"""Samples before a stopping rule is asked: the spread of fewer says little."""


def sample_until(
    draw: Callable[[int, int], np.ndarray],
    *,
    budget: int,
    block: int,
    enough: Callable[[np.ndarray], bool] | None,
    description: str,
) -> np.ndarray:
    """Collect samples number 0, 1, … until there are enough or the budget is spent.

    The rule is asked at 10, 13, 17, … samples, each time a quarter more: asking after every sample would stop at the
    moments when the spread looks small by chance.

    Args:
        draw: makes samples number start, …, stop − 1 as an array (stop − start, …).
        budget: the most samples.
        block: samples made at a time.
        enough: says whether the samples so far suffice; None spends the budget.
        description: what the progress bar shows.

    Returns:
        All samples (n, …).
    """
    parts: list[np.ndarray] = []
    count, ask = 0, FEWEST
    with bar(total=budget, desc=description, unit="product") as progress:
        while count < budget:
            stop = min(count + block, budget, max(ask, count + 1))
            parts.append(draw(count, stop))
            progress.update(stop - count)
            count = stop
            if count >= ask and enough is not None:
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


def precise(value: float, error: float, tol: float) -> bool:
    """Say whether the standard error is at most tol·|value|; an unknown error is not."""
    return error <= tol * abs(value)


def shortfall(value: float, error: float, tol: float | None, matvecs: int, rate: float = 2.0) -> str:
    """Return what to do where the standard error missed the tolerance, else an empty text."""
    if tol is None or precise(value, error, tol):
        return ""
    if not np.isfinite(error) or value == 0:
        return f"no standard error below tol={tol:.0e} after {matvecs} products: raise matvecs"
    needed = matvecs * (error / (tol * abs(value))) ** rate
    return f"the standard error is {error / abs(value):.1e} of the value: raise matvecs to about {needed:.2g}"


def check_budget(matvecs: int, tol: float | None, least: int, method: str) -> None:
    """Raise unless the budget and the tolerance make sense."""
    if matvecs < least:
        raise LandscapeError(f"matvecs={matvecs} is too few for method={method!r}: use at least {least}")
    if tol is not None and not tol > 0:
        raise LandscapeError(f"tol={tol} is a relative standard error: use tol > 0, such as 0.01, or None")
