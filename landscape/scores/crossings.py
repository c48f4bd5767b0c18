"""How far one can walk in given directions before a quantity has changed by a given amount, and what that says of volumes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from scipy.special import gammaln
from torch import Tensor

from landscape.bars import bar
from landscape.scores.functionals import Case, Functional
from landscape.scores.quantities import Meter
from landscape.scores.register import Measurement, UndefinedError

OCTAVES = 30
STEPS = 10

Heights = Callable[[list[Tensor]], np.ndarray]
"""Displacements of all directions -> heights (K,) above the centre."""


def crossing_radii(directions: Sequence[Tensor], heights: Heights, level: float, *, guess: float) -> np.ndarray:
    """Return the first radius found at which each direction's height passes a level, (K,); infinite where none does.

    Every radius is doubled from the same small start until it crosses, then refined between the last two by false position
    with the Illinois weights, all directions together: to about 1e-9 of the radius where heights are smooth. A direction
    that never crosses is censored at infinity, never dropped.

    Args:
        directions: K vectors (P,).
        heights: ``displacements -> heights (K,)`` above the centre, evaluated at displacements of all directions.
        level: the height looked for.
        guess: first radius.

    Source: Dowell and Jarratt 1971, BIT 11, 168–174 (the Illinois weights).
    """
    vectors = [torch.as_tensor(d) for d in directions]

    def excess(radii: np.ndarray) -> np.ndarray:
        found = heights([r * d for r, d in zip(radii, vectors, strict=True)]) - level
        return np.where(np.isnan(found), -level, found)

    every, finite = np.arange(len(vectors)), np.zeros(len(vectors), dtype=bool)
    ends, values = np.zeros((2, len(vectors))), np.full((2, len(vectors)), -level)  # below the level, and above it
    radius = np.full(len(vectors), guess)
    for _ in bar(range(OCTAVES), desc="radii"):
        if finite.all():
            break
        found = excess(radius)
        open_ended, side = every[~finite], (found >= 0).astype(int)[~finite]
        ends[side, open_ended], values[side, open_ended] = radius[~finite], found[~finite]
        finite[open_ended] = side == 1
        radius = np.where(finite, radius, 2 * radius)
    ends, values = np.where(finite, ends, 0.0), np.where(finite, values, 0.0)
    best, error, last = ends[1], values[1], np.full(len(vectors), -1)
    for _ in range(STEPS):
        (low, high), (below, above) = ends, values
        with np.errstate(invalid="ignore", divide="ignore"):
            secant = high - above * (high - low) / (above - below)
        radius = np.where((secant > low) & (secant < high), secant, (low + high) / 2)
        found = excess(radius)
        closer, side = np.abs(found) < np.abs(error), (found >= 0).astype(int)
        best, error = np.where(closer, radius, best), np.where(closer, found, error)
        values[1 - side, every] /= np.where(side == last, 2, 1)  # an end that stays twice has its value halved
        ends[side, every], values[side, every], last = radius, found, side
    return np.where(finite, best, np.inf)


def crossings(case: Case, level: float, directions: Sequence[Tensor], meter: Meter, *, guess: float) -> np.ndarray:
    """Return the first radius at which the quantity has risen by a level in each direction, (K,), as `crossing_radii`."""
    base, values = case.quantity.begin(case.objective, meter)
    return crossing_radii(directions, lambda steps: values(case.displaced(steps)) - base, level, guess=guess)


def log_radius(radii: np.ndarray) -> tuple[float, float, str]:
    """Return the median of log r with a standard error of the median by bootstrap, and a note on censored directions.

    Raises:
        NotDefinedError: most directions never cross.
    """
    censored = int(np.isinf(radii).sum())
    if censored * 2 >= len(radii):
        raise UndefinedError(f"{censored} of {len(radii)} directions never reach the level")
    logs = np.log(radii)
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(logs, (500, len(logs))), axis=1)
    finite = medians[np.isfinite(medians)]
    note = f"{censored} of {len(radii)} directions never reach the level" if censored else ""
    return float(np.median(logs)), float(finite.std(ddof=1)), note


@partial(Functional, unit="1", over="directions", sums=True, shards=True)
def median_radius(case: Case, radii: Sequence[float], *, directions: int = 20, seed: int = 0) -> Iterator[Measurement]:
    """Inverse square of the median first radius at which the quantity has risen by c, over random directions.

    Directions that never cross count as infinite radii. The standard error of the median is by bootstrap.
    """
    drawn = case.perturbation.directions(directions, seed)
    for level in radii:
        meter = Meter()
        log, error, note = log_radius(crossings(case, level, drawn, meter, guess=2.0**-6))
        value = float(np.exp(-2 * log))
        yield Measurement(value, 2 * error * value, level, meter.gradients, note=note)


def ball_log_volume(dimension: int) -> float:
    """Return log ω_p, the log volume of the unit ball in p dimensions.

    >>> round(float(np.exp(ball_log_volume(3))), 6)  # 4π/3
    4.18879
    """
    return float(dimension / 2 * np.log(np.pi) - gammaln(dimension / 2 + 1))


@partial(Functional, unit="nat", over="directions", sums=True, shards=True)
def log_volume(case: Case, radii: Sequence[float], *, directions: int = 20, seed: int = 0) -> Iterator[Measurement]:
    r"""Negative log volume of the basin, :math:`-\log\omega_P - P\,E_u \log r(u)` with u on the unit sphere."""
    drawn, size = case.perturbation.directions(directions, seed), case.objective.size
    for level in radii:
        meter = Meter()
        crossed = crossings(case, level, drawn, meter, guess=case.perturbation.size / 64)
        if censored := int(np.isinf(crossed).sum()):
            note = f"{censored} of {len(drawn)} directions never reach the height: the volume is not bounded"
            yield Measurement(np.nan, None, level, meter.gradients, status="not defined", note=note)
            continue
        logs = np.log(crossed)
        value = -(ball_log_volume(size) + size * logs.mean())
        error = size * logs.std(ddof=1) / np.sqrt(len(logs))
        yield Measurement(float(value), float(error), level, meter.gradients)


@partial(Functional, unit="decade", over="directions", sums=True, shards=True)
def spread_of_radii(case: Case, *, directions: int = 40, level: float = 1e-2, seed: int = 0) -> list[Measurement]:
    """How much closer the quantity changes in the worst random directions than in the median one, in decades."""
    meter = Meter()
    radii = crossings(case, level, case.perturbation.directions(directions, seed), meter, guess=2.0**-6)
    if np.isinf(radii).mean() >= 0.5:
        raise UndefinedError("half of the directions never reach the level")

    def spread(sample: np.ndarray) -> float:
        return float(np.log10(np.median(sample)) - np.log10(np.quantile(sample, 0.05, method="lower")))

    rng = np.random.default_rng(0)
    copies = [spread(rng.choice(radii, len(radii))) for _ in range(300)]
    error = float(np.std([copy for copy in copies if np.isfinite(copy)], ddof=1))
    return [Measurement(spread(radii), error, gradients=meter.gradients)]
