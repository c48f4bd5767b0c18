"""The level of noise, or the size of a box, at which the 0–1 error rises by a given amount."""

from __future__ import annotations

from collections.abc import Callable, Generator
from functools import partial
from typing import Any

import numpy as np
import torch

from landscape.bars import bar
from landscape.scores.ascent import maximize
from landscape.scores.functionals import Case, Functional
from landscape.scores.quantities import FORWARD, Meter
from landscape.scores.register import Measurement, UndefinedError

RISE = 0.1
OCTAVES = 12
"""How far from the first guess the level is looked for, in factors of two."""
BISECTIONS = 4
_KEPT = 2**23  # random numbers that are kept from level to level; more are drawn again


def find_level(
    errors: Callable[[float], np.ndarray], start: float, *, guess: float, rise: float
) -> tuple[float, float]:
    r"""Find the level at which the mean error has risen by a given amount.

    The level is bracketed on a grid of factors of two and halvings of the last octave, then interpolated in its logarithm:
    the result changes continuously with the errors, so that rounding cannot move it by a step. Its standard error is
    that of the mean error over the slope (delta method).

    Args:
        errors: ``level -> rises of the error (samples,)``, the same draws at every level.
        start: error of the unperturbed network.
        guess: first level tried.
        rise: rise of the mean error looked for.

    Returns:
        The level and its standard error; 0 for a single sample.

    Raises:
        NotDefinedError: the error leaves no room for the rise, or no level within 12 octaves reaches it.
    """
    levels, spread, _, why = find_levels(
        lambda level: errors(float(level[0]))[:, None], np.array([start]), np.array([guess]), rise=rise
    )
    if why[0]:
        raise UndefinedError(why[0])
    return float(levels[0]), float(spread[0])


Search = Generator[float, np.ndarray, tuple[float, float]]
"""Asks for the rises of the error (samples,) at one level after another; returns the level that is looked for, and its error."""


def _search(start: float, guess: float, rise: float) -> Search:
    if start + rise >= 1:
        raise UndefinedError(f"the error is {start:.3g} already and cannot rise by {rise:g}")
    seen: dict[float, np.ndarray] = {}

    def below(octave: float) -> Generator[float, np.ndarray, bool]:
        if octave not in seen:
            seen[octave] = yield 2.0**octave
        return bool(seen[octave].mean() < rise)

    first = float(np.log2(guess))
    step = 1 if (yield from below(first)) else -1
    for octave in range(1, OCTAVES + 1):
        level = first + step * octave
        if (yield from below(level)) != (step == 1):
            break
    else:
        raise UndefinedError(f"levels up to 2^{first + step * OCTAVES:.0f} do not move the error by {rise:g}")
    low, high = sorted((level - step, level))
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if (yield from below(middle)) else (low, middle)
    for end in (low, high):
        yield from below(end)
    under, over = seen[low], seen[high]
    slope = (over.mean() - under.mean()) / (high - low)
    weight = (rise - under.mean()) / (over.mean() - under.mean())
    level = 2.0 ** (low + weight * (high - low))
    if len(under) == 1:
        return float(level), 0.0
    spread = ((1 - weight) * under + weight * over).std(ddof=1) / np.sqrt(len(under))
    return float(level), float(level * np.log(2) * spread / slope)


def find_levels(
    errors: Callable[[np.ndarray], np.ndarray], starts: np.ndarray, guesses: np.ndarray, *, rise: float
) -> tuple[Any, Any, Any, Any]:
    """Find the levels of K networks that are evaluated together, as `find_level` does of one.

    ``errors`` takes levels (K,) and returns rises (samples, K). Returned are the levels and their standard errors, how many were
    tried, and why there is none (empty where there is), (K,) each.
    """
    waiting = {k: _search(*each, rise) for k, each in enumerate(zip(starts, guesses, strict=True))}
    levels, found = guesses.astype(float), np.full((2, len(starts)), np.nan)
    why, asked, rises = np.full(len(starts), "", dtype=object), np.zeros(len(starts)), None
    with bar(desc="levels of noise", unit="level") as progress:
        while waiting:
            for k, search in list(waiting.items()):
                try:
                    levels[k] = next(search) if rises is None else search.send(rises[:, k])
                    asked[k] += 1
                except StopIteration as end:
                    found[:, k] = end.value
                    del waiting[k]
                except UndefinedError as lack:
                    why[k] = str(lack)
                    del waiting[k]
            if waiting:
                rises = errors(levels)
                progress.update()
    return found[0], found[1], asked, why


@partial(Functional, unit="1", guesses=True, over="noise", sums=True, shards=True, stacks=True)
def tolerated_noise(
    case: Case, *, rise: float = RISE, samples: int = 16, epsilon: float = 0.0, guess: float = 1.0, seed: int = 0
) -> list[Measurement]:
    r"""Inverse square of the noise level σ at which the mean of the quantity has risen by a given amount.

    .. math:: E_u[Q(w + u)] = Q(w) + \mathrm{rise}, \qquad u_i \sim N(0,\ \sigma^2 c_i^2 + \epsilon^2)

    Standard deviations throughout; the same draws at every level. ``epsilon`` is absolute noise added to every weight; the
    published 1e-3 breaks the invariance.
    """
    moved, meter = case.perturbation, Meter()
    start, values = case.quantity.begin(case.objective, meter)
    drawn = list(moved.drawn(samples, seed)) if moved.c.numel() * samples <= _KEPT else None

    def errors(level: float | np.ndarray) -> np.ndarray:
        # standard deviations, which add in quadrature
        scaled = torch.as_tensor(level).to(moved.c)[..., None] * moved.c
        deviation = scaled if epsilon == 0 else torch.hypot(scaled, torch.full_like(moved.c, epsilon))
        return values(case.displaced(deviation * z for z in drawn or moved.drawn(samples, seed))) - start

    if np.ndim(start) == 0:
        level, error = find_level(errors, start, guess=guess * moved.size, rise=rise)
        return [Measurement(level**-2, 2 * error / level**3, None, meter.gradients)]
    guesses = np.broadcast_to(guess * moved.size, np.shape(start))
    levels, spread, asked, why = find_levels(errors, np.asarray(start), guesses, rise=rise)
    status: Any = np.where(why == "", "ok", "not defined")
    cost: Any = FORWARD * (1 + samples * asked)
    return [Measurement(levels**-2, 2 * spread / levels**3, None, cost, status=status, note=why)]


@partial(Functional, unit="1", guesses=True, over="a set")
def tolerated_box(case: Case, *, rise: float = RISE, iterations: int = 10, guess: float = 1.0) -> list[Measurement]:
    """Inverse square of the box in which the quantity rises by a given amount, at the largest loss that APGD meets."""
    moved, meter = case.perturbation, Meter()
    start, values = case.quantity.begin(case.objective, meter)
    whole = case.objective.rebatch(case.objective.n)

    def errors(level: float) -> np.ndarray:
        climb = moved.rise(whole, whole.batches[0])
        origin = torch.zeros_like(moved.c)
        with whole.guard(), torch.no_grad():
            best = maximize(
                climb, moved.ascent, moved.projection(level), origin, 2 * level, iterations=iterations
            ).where
        meter.gradient(iterations + 1)
        return values(case.displaced([moved.displacement(best)])) - start

    level, _ = find_level(errors, start, guess=guess * moved.size, rise=rise)
    return [Measurement(level**-2, gradients=meter.gradients)]
