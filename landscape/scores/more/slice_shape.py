"""The shape of the loss on lines through the weights: asymmetry, roughness and half-width."""

from __future__ import annotations

import numpy as np

from landscape.function.objective import Objective
from landscape.scores.functionals import over_samples
from landscape.scores.perturbations import filters
from landscape.scores.quantities import Meter, loss_share, values_at
from landscape.scores.register import Definition, Measurement, score
from landscape.slices.reading import reach


@score(
    Definition(
        "asymmetry",
        "asymmetry of the loss along filter-normalised directions",
        formula="E_d |L(d) − L(−d)| / (L(d) + L(−d) − 2L(0))",
        source="He, Huang and Yuan 2019, arXiv 1902.00744, for asymmetric valleys",
        orientation="control",
        cost=400,
    ),
    Definition(
        "roughness",
        "rise and fall of the loss along filter-normalised directions",
        formula="E_d [total variation of L on [0, T] − |L(T) − L(0)|]",
        source="proposed with this package; zero for monotone slices",
        cost=0,
        unit="loss",
    ),
    Definition(
        "half-width",
        "inverse half-width of the basin along filter-normalised directions",
        formula="1 / E_d min{t : L(td) − L(0) ≥ 0.1}",
        source="Li et al. 2018, arXiv 1712.09913, for the directions",
        cost=0,
    ),
    family="slice",
    invariant="T1",
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
        directions: number of directions, twenty or more for an honest error.
        span: the lines run from −span to span, in units of the filters' norms.
        points: points a half-line.
        level: rise that defines the half-width.

    Raises:
        NotDefinedError: filter normalisation leaves nothing to move.
    """
    drawn, meter = filters.about(objective).directions(directions, seed), Meter()
    t = np.linspace(0, span, points)
    theta = objective.theta

    def half_line(sign: int) -> np.ndarray:
        moved = (theta + float(sign * s) * d.to(theta) for d in drawn for s in t)
        return values_at(objective, moved, loss_share, meter).reshape(len(drawn), points)

    right, left = half_line(1), half_line(-1)
    centre = right[:, :1]
    rise = right[:, -1] + left[:, -1] - 2 * centre[:, 0]
    skew = np.abs(right[:, -1] - left[:, -1]) / np.where(rise != 0, np.abs(rise), np.inf)
    lines = np.concatenate([right, left])
    rough = np.abs(np.diff(lines)).sum(1) - np.abs(lines[:, -1] - lines[:, 0])
    widths = np.minimum([reach(t, line - line[0], level) for line in lines], span)
    inverse = 1 / widths.mean()
    (asymmetry,), (roughness,) = over_samples(skew[:, None]), over_samples(rough[:, None])
    return [
        Measurement(*asymmetry, gradients=meter.gradients, name="asymmetry"),
        Measurement(*roughness, name="roughness"),
        Measurement(
            float(inverse), float(inverse**2 * widths.std(ddof=1) / np.sqrt(len(drawn))), level, name="half-width"
        ),
    ]
