"""How far one can walk in random directions before the loss, or the predicted distribution, has changed by a given amount."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.special import gammaln
from torch import Tensor

from landscape.bars import bar
from landscape.errors import NotDefinedError
from landscape.function.objective import Objective
from landscape.scores.evaluation import Meter, draws, loss_share, values_at
from landscape.scores.register import Definition, Measurement, score
from landscape.scores.slice_curvature import filter_directions
from landscape.transforms.head import gauge_fixed

KL_LEVEL = 1e-2
LOSS_LEVEL = 0.1
OCTAVES = 30
STEPS = 10

Heights = Callable[[list[Tensor]], np.ndarray]


def crossing_radii(
    directions: np.ndarray | list[Tensor], heights: Heights, level: float, *, guess: float
) -> np.ndarray:
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

    low, high = np.zeros(len(vectors)), np.full(len(vectors), np.inf)
    below, above = np.full(len(vectors), -level), np.full(len(vectors), np.inf)
    radius = np.full(len(vectors), guess)
    for _ in bar(range(OCTAVES), desc="radii"):
        open_ended = np.isinf(high)
        if not open_ended.any():
            break
        found = excess(radius)
        crossed = found >= 0
        high, above = (np.where(open_ended & crossed, *pair) for pair in ((radius, high), (found, above)))
        low, below = (np.where(open_ended & ~crossed, *pair) for pair in ((radius, low), (found, below)))
        radius = np.where(np.isinf(high), 2 * radius, radius)
    return _between(low, high, below, above, excess)


def _between(
    low: np.ndarray,
    high: np.ndarray,
    below: np.ndarray,
    above: np.ndarray,
    excess: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """Return the roots of ``excess`` in brackets, by false position; the end that stays has its value halved."""
    finite = np.isfinite(high)
    low, high, below, above = (np.where(finite, x, 0.0) for x in (low, high, below, above))
    best, error = high, above
    side = np.zeros(len(high))
    for _ in range(STEPS):
        with np.errstate(invalid="ignore", divide="ignore"):
            secant = high - above * (high - low) / (above - below)
        radius = np.where((secant > low) & (secant < high), secant, (low + high) / 2)
        found = excess(radius)
        crossed = found >= 0
        closer = np.abs(found) < np.abs(error)
        best, error = np.where(closer, radius, best), np.where(closer, found, error)
        halved = np.where(crossed, side > 0, side < 0)
        below = np.where(crossed, np.where(halved, below / 2, below), found)
        above = np.where(crossed, found, np.where(halved, above / 2, above))
        low, high = np.where(crossed, low, radius), np.where(crossed, radius, high)
        side = np.where(crossed, 1.0, -1.0)
    return np.where(finite, best, np.inf)


def loss_heights(objective: Objective, meter: Meter) -> Heights:
    """Return ``displacements -> L(w + d) − L(w)``."""
    theta = objective.theta
    base = float(values_at(objective, [theta], loss_share, meter)[0])

    def heights(displacements: list[Tensor]) -> np.ndarray:
        return values_at(objective, (theta + d.to(theta) for d in displacements), loss_share, meter) - base

    return heights


def kl_heights(objective: Objective, meter: Meter) -> Heights:
    """Return ``displacements -> mean over examples of KL(p_w ‖ p_{w+d})`` of the predicted class probabilities."""
    theta = objective.theta
    with objective.guard(), torch.no_grad():
        anchors = [objective.batch_outputs(theta, batch).double().log_softmax(1) for batch in objective.batches]
    meter.forward()
    predictions = sum(anchor.numel() // anchor.shape[1] for anchor in anchors)

    def divergence(at: Tensor) -> Tensor:
        total = torch.zeros((), dtype=torch.float64, device=objective.device)
        for batch, anchor in zip(objective.batches, anchors, strict=True):
            moved = objective.batch_outputs(at, batch).double().log_softmax(1)
            total += (anchor.exp() * (anchor - moved)).sum()
        return total / predictions

    def heights(displacements: list[Tensor]) -> np.ndarray:
        with objective.guard(), torch.no_grad():
            values = [divergence(theta + d.to(theta)) for d in displacements]
        meter.forward(len(displacements))
        return torch.stack(values).cpu().numpy()

    return heights


def log_radius(radii: np.ndarray, slug: str) -> tuple[float, float, str]:
    """Return the median of log r with a standard error of the median by bootstrap, and a note on censored directions.

    Raises:
        NotDefinedError: most directions never cross.
    """
    censored = int(np.isinf(radii).sum())
    if censored * 2 >= len(radii):
        raise NotDefinedError(
            f"{slug} is not defined here: {censored} of {len(radii)} directions never reach the level"
        )
    logs = np.log(radii)
    rng = np.random.default_rng(0)
    medians = np.median(rng.choice(logs, (500, len(logs))), axis=1)
    finite = medians[np.isfinite(medians)]
    note = f"{censored} of {len(radii)} directions never reach the level" if censored else ""
    return float(np.median(logs)), float(finite.std(ddof=1)), note


@score(
    Definition(
        "kl-radius",
        "inverse square of the median radius at which predictions move by KL 0.01, in units of the weights",
        family="volume",
        formula="1/r², mean KL(p_w ‖ p_{w + r|w|u}) = 0.01, ‖u‖ = √P",
        source="Scherlis and Belrose 2025, arXiv 2501.18812, section 3, with element-scaled directions",
        stochastic=True,
        cost=150,
        invariant="T1 T2 T4 T5",
        needs=("classes",),
        radii=(KL_LEVEL,),
        reference=KL_LEVEL,
    )
)
def kl_radius(
    objective: Objective,
    *,
    radii: tuple[float, ...] | None = None,
    directions: int = 20,
    gauge: bool = True,
    seed: int = 0,
) -> list[Measurement]:
    r"""Measure how close the predicted distribution changes in random directions in units of the weights.

    .. math:: 1/r^2, \qquad \mathrm{median}_u\, r(u), \qquad E_x \mathrm{KL}(p_w \Vert p_{w + r(u)\,|w| \odot u}) = c

    It needs neither labels nor a minimum. Directions that never cross count as infinite radii.

    Args:
        objective: a classifier.
        radii: the KL levels c, in nats.
        directions: number of random directions; the same for every checkpoint of a seed.
        gauge: first remove the shift of all logits that softmax does not see, so that the score does not depend on it.
        seed: of the directions.

    Raises:
        NotDefinedError: no class probabilities, or half of the directions never reach the level.

    Source: Scherlis and Belrose 2025 (arXiv 2501.18812), section 3.
    """
    objective = gauge_fixed(objective) if gauge else objective
    scale, found = objective.theta.abs(), []
    vectors = [scale * z.to(scale) for z in draws(objective.size, directions, seed)]
    for level in tuple(radii or (KL_LEVEL,)):
        meter = Meter()
        crossed = crossing_radii(vectors, kl_heights(objective, meter), level, guess=2.0**-6)
        log, error, note = log_radius(crossed, "kl-radius")
        value = float(np.exp(-2 * log))
        found.append(Measurement(value, 2 * error * value, level, meter.gradients, note=note))
    return found


@score(
    Definition(
        "basin-radius",
        "inverse square of the median basin radius along filter-normalised directions",
        family="volume",
        formula="1/r², L(w + r d) − L(w) = 0.1",
        source="Huang et al. 2020, arXiv 1906.03291, section 5",
        stochastic=True,
        cost=150,
        invariant="T1",
        radii=(LOSS_LEVEL,),
        reference=LOSS_LEVEL,
    ),
    Definition(
        "log-volume",
        "negative log volume of the basin, from the mean log radius",
        family="volume",
        formula="−log ω_P − P mean log r(u), u uniform on the sphere",
        source="Huang et al. 2020, arXiv 1906.03291, eq. 4; a lower bound by Jensen's inequality",
        stochastic=True,
        cost=150,
        invariant="T4 T5",
        unit="nat",
        radii=(LOSS_LEVEL,),
        reference=LOSS_LEVEL,
        compared="difference",
        remark="E[r^P] cannot be estimated from few directions: P times the mean log radius is a bound, not the volume",
    ),
)
def basin(
    objective: Objective, *, radii: tuple[float, ...] | None = None, directions: int = 20, seed: int = 0
) -> list[Measurement]:
    r"""Measure the radius of the basin along random directions, and what it says of the basin's volume.

    .. math:: r(u) = \min\{r : L(w + r u) - L(w) \ge c\}, \qquad \log V \ge \log\omega_P + P\,E_u \log r(u)

    Args:
        objective: the function.
        radii: the heights c above the loss at the weights.
        directions: number of directions of each kind.
        seed: of the directions.

    Raises:
        NotDefinedError: half of the directions never reach the height, or filter normalisation leaves nothing to move.

    Source: Huang et al. 2020 (arXiv 1906.03291), section 5.
    """
    found = []
    filters = filter_directions(objective, directions, seed)
    units = [z / torch.linalg.vector_norm(z) for z in draws(objective.size, directions, seed)]
    scale = float(torch.linalg.vector_norm(objective.theta.double())) or 1.0
    for level in tuple(radii or (LOSS_LEVEL,)):
        meter = Meter()
        crossed = crossing_radii(list(torch.from_numpy(filters)), loss_heights(objective, meter), level, guess=2.0**-6)
        log, error, note = log_radius(crossed, "basin-radius")
        value = float(np.exp(-2 * log))
        found.append(Measurement(value, 2 * error * value, level, meter.gradients, note=note, name="basin-radius"))
        found.append(_volume(objective, units, level, guess=scale / 64))
    return found


def ball_log_volume(dimension: int) -> float:
    """Return log ω_p, the log volume of the unit ball in p dimensions.

    >>> round(float(np.exp(ball_log_volume(3))), 6)  # 4π/3
    4.18879
    """
    return float(dimension / 2 * np.log(np.pi) - gammaln(dimension / 2 + 1))


def _volume(objective: Objective, units: list[Tensor], level: float, *, guess: float) -> Measurement:
    meter = Meter()
    crossed = crossing_radii(units, loss_heights(objective, meter), level, guess=guess)
    censored = int(np.isinf(crossed).sum())
    if censored:
        return Measurement(
            np.nan,
            None,
            level,
            meter.gradients,
            status="not defined",
            note=f"{censored} of {len(units)} directions never reach the height: the volume is not bounded",
            name="log-volume",
        )
    logs = np.log(crossed)
    value = -(ball_log_volume(objective.size) + objective.size * logs.mean())
    error = objective.size * logs.std(ddof=1) / np.sqrt(len(logs))
    return Measurement(float(value), float(error), level, meter.gradients, name="log-volume")
