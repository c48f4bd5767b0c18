"""Scores of one-dimensional slices: spikiness, asymmetry, roughness and half-width."""

from __future__ import annotations

import numpy as np
import torch

from landscape.errors import NotDefinedError
from landscape.function.objective import Objective
from landscape.scores.adaptive_average import average_increase
from landscape.scores.adaptive_worst_l2 import worst_in_ellipsoid
from landscape.scores.evaluation import Meter, draws, loss_share, values_at
from landscape.scores.normalized import logit_normalized
from landscape.scores.radius import crossing_radii, kl_heights
from landscape.scores.register import Definition, Measurement, score
from landscape.scores.slice_curvature import filter_directions
from landscape.transforms.head import gauge_fixed


@score(
    Definition(
        "spikiness",
        "spread of the KL radius over directions",
        family="slice",
        formula="log10(median r / 5th percentile r)",
        source="proposed with this package; not a published score",
        stochastic=True,
        cost=280,
        invariant="T1 T2 T4 T5",
        needs=("classes",),
        unit="decade",
        compared="difference",
    )
)
def spikiness(objective: Objective, *, directions: int = 40, level: float = 1e-2, seed: int = 0) -> Measurement:
    """Measure how much closer the predictions change in the worst random directions than in the median one.

    Args:
        objective: a classifier.
        directions: random directions in units of the weights.
        level: KL level in nats that defines the radius.
        seed: of the directions.

    Raises:
        NotDefinedError: no class probabilities, or half of the directions never reach the level.
    """
    objective = gauge_fixed(objective)
    scale, meter = objective.theta.abs(), Meter()
    vectors = [scale * z.to(scale) for z in draws(objective.size, directions, seed)]
    radii = crossing_radii(vectors, kl_heights(objective, meter), level, guess=2.0**-6)
    if np.isinf(radii).mean() >= 0.5:
        raise NotDefinedError("spikiness is not defined here: half of the directions never reach the level")

    def spread(sample: np.ndarray) -> float:
        return float(np.log10(np.median(sample)) - np.log10(np.quantile(sample, 0.05, method="lower")))

    rng = np.random.default_rng(0)
    copies = [spread(rng.choice(radii, len(radii))) for _ in range(300)]
    error = float(np.std([copy for copy in copies if np.isfinite(copy)], ddof=1))
    return Measurement(spread(radii), error, gradients=meter.gradients)


@score(
    Definition(
        "worst-to-average",
        "worst case over average case at equal length, on normalised logits",
        family="slice",
        formula="S_max(ρ√P) / S_avg(ρ)",
        source="proposed with this package; not a published score",
        stochastic=True,
        cost=27,
        invariant="T1 T2 T4 T5 T7",
        needs=("three classes",),
        radii=(0.1,),
        reference=0.1,
    )
)
def worst_to_average(
    objective: Objective, *, radii: tuple[float, ...] | None = None, pairs: int = 8, seed: int = 0
) -> list[Measurement]:
    r"""Compare the worst perturbation with random ones of the same expected length, in units of the weights.

    .. math:: \frac{S_{max}^2(\rho\sqrt{P'})}{S_{avg}(\rho)}

    with P′ the number of weights that are not zero. A flat but spiky minimum has a small average and a large worst case.

    Args:
        objective: a classifier with three or more classes.
        radii: ρ, the noise level of the average case.
        pairs: antithetic pairs of draws.
        seed: of the draws.

    Raises:
        NotDefinedError: no class logits, or only two classes.
    """
    at = logit_normalized(gauge_fixed(objective))
    scale, found = at.theta.abs(), []
    length = float((scale > 0).sum()) ** 0.5
    for radius in tuple(radii or (0.1,)):
        meter = Meter()
        worst = worst_in_ellipsoid(at, scale, radius * length, meter, subset=at.n)
        (mean,) = average_increase(at, scale, [radius], pairs=pairs, seed=seed)
        ratio = worst / mean.value
        assert mean.standard_error is not None
        error = abs(ratio * mean.standard_error / mean.value)
        found.append(Measurement(ratio, error, radius, meter.gradients + mean.gradients))
    return found


@score(
    Definition(
        "asymmetry",
        "asymmetry of the loss along filter-normalised directions",
        family="slice",
        formula="E_d |L(d) − L(−d)| / (L(d) + L(−d) − 2L(0))",
        source="He, Huang and Yuan 2019, arXiv 1902.00744, for asymmetric valleys",
        orientation="control",
        stochastic=True,
        cost=400,
        invariant="T1",
    ),
    Definition(
        "roughness",
        "rise and fall of the loss along filter-normalised directions",
        family="slice",
        formula="E_d [total variation of L on [0, T] − |L(T) − L(0)|]",
        source="proposed with this package; zero for monotone slices",
        stochastic=True,
        cost=0,
        invariant="T1",
        unit="loss",
    ),
    Definition(
        "half-width",
        "inverse half-width of the basin along filter-normalised directions",
        family="slice",
        formula="1 / E_d min{t : L(td) − L(0) ≥ 0.1}",
        source="Li et al. 2018, arXiv 1712.09913, for the directions",
        stochastic=True,
        cost=0,
        invariant="T1",
    ),
)
def slice_shape(
    objective: Objective,
    *,
    directions: int = 20,
    span: float = 1.0,
    points: int = 31,
    level: float = 0.1,
    seed: int = 0,
) -> list[Measurement]:
    """Measure the shape of the loss on lines through the weights along random filter-normalised directions.

    Half-widths are interpolated between points; a slice that never rises to the level inside the span counts as its end.

    Args:
        objective: the function.
        directions: number of directions, twenty or more for an honest error.
        span: the lines run from −span to span, in units of the filters' norms.
        points: points a half-line.
        level: rise that defines the half-width.
        seed: of the directions.

    Raises:
        NotDefinedError: filter normalisation leaves nothing to move.
    """
    drawn, meter = filter_directions(objective, directions, seed), Meter()
    t = np.linspace(0, span, points)
    theta = objective.theta

    def half_line(sign: int) -> np.ndarray:
        moved = (theta + float(sign * s) * torch.from_numpy(d).to(theta) for d in drawn for s in t)
        return values_at(objective, moved, loss_share, meter).reshape(len(drawn), points)

    right, left = half_line(1), half_line(-1)
    centre = right[:, :1]
    rise = right[:, -1] + left[:, -1] - 2 * centre[:, 0]
    skew = np.abs(right[:, -1] - left[:, -1]) / np.where(rise != 0, np.abs(rise), np.inf)
    lines = np.concatenate([right, left])
    rough = np.abs(np.diff(lines)).sum(1) - np.abs(lines[:, -1] - lines[:, 0])
    widths = np.array([_first_crossing(t, line - line[0], level) for line in lines])
    inverse = 1 / widths.mean()
    return [
        _averaged("asymmetry", skew, meter.gradients),
        _averaged("roughness", rough, 0.0),
        Measurement(
            float(inverse), float(inverse**2 * widths.std(ddof=1) / np.sqrt(len(drawn))), level, name="half-width"
        ),
    ]


def _first_crossing(t: np.ndarray, rise: np.ndarray, level: float) -> float:
    above = np.flatnonzero(rise >= level)
    if not len(above):
        return float(t[-1])
    i = int(above[0])
    return float(t[i - 1] + (t[i] - t[i - 1]) * (level - rise[i - 1]) / (rise[i] - rise[i - 1]))


def _averaged(name: str, values: np.ndarray, cost: float) -> Measurement:
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
    return Measurement(float(values.mean()), error, gradients=cost, name=name)
