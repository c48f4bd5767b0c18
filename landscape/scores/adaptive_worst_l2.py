"""Worst-case sharpness in the ellipsoid whose axes are the weights, on normalised logits."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from landscape.bars import bar
from landscape.function.batches import Batch
from landscape.function.objective import Objective
from landscape.scores.apgd import Evaluate
from landscape.scores.ascent import SUBSET, in_ball, increase_from, mean_worst_rise, unit
from landscape.scores.evaluation import Meter, draws
from landscape.scores.normalized import logit_normalized
from landscape.scores.register import Definition, Measurement, score
from landscape.transforms.head import gauge_fixed

RADII = (0.25, 0.5, 1.0, 2.0)


def worst_in_ellipsoid(
    objective: Objective, scale: Tensor, radius: float, meter: Meter, *, subset: int = SUBSET, iterations: int = 20
) -> float:
    """Return the mean over sub-batches of max over ‖δ/c‖₂ ≤ ρ of L_B(w + δ) − L_B(w), by APGD.

    The ascent runs in u = δ/c, where the set is a ball and the projection radial. A weight of zero cannot move and
    drops out (projecting onto the ellipsoid itself divides by it, and published code then skips the projection),
    and rescaling layers changes nothing.

    Args:
        objective: the function; its examples are cut into sub-batches by index.
        scale: c, (P,).
        radius: ρ.
        meter: counts the gradients.
        subset: examples a sub-batch.
        iterations: steps of the ascent.
    """
    parts = objective.rebatch(subset)

    def rise(batch: Batch) -> Evaluate:
        increase = increase_from(parts, batch)

        def evaluate(u: Tensor) -> tuple[Tensor, Tensor]:
            value, gradient = increase(scale * u)
            return value, scale * gradient

        return evaluate

    aside = next(iter(draws(objective.size, 1, seed=0))).to(scale) * (scale != 0)
    return mean_worst_rise(
        parts,
        rise,
        ascent=unit,
        project=lambda u: in_ball(u, radius),
        aside=0.1 * radius * unit(aside),
        radius=radius,
        iterations=iterations,
        meter=meter,
    )


@score(
    Definition(
        "adaptive-worst-l2",
        "adaptive worst-case sharpness in the ℓ2 ellipsoid on normalised logits",
        family="worst case",
        formula="E_B max over ‖δ/w‖₂ ≤ ρ of L_B(w + δ) − L_B(w), L on normalised logits",
        source="Andriushchenko et al. 2023, arXiv 2302.07011, S_max with p = 2",
        cost=84,
        invariant="T1 T2 T4 T5 T7",
        needs=("three classes",),
        unit="loss",
        radii=RADII,
        reference=1.0,
    )
)
def adaptive_worst_l2(
    objective: Objective,
    *,
    radii: Sequence[float] | None = None,
    subset: int = SUBSET,
    iterations: int = 20,
    gauge: bool = True,
) -> list[Measurement]:
    r"""Measure the largest rise of the loss on normalised logits in the ellipsoid whose axes are the weights.

    .. math:: S(\rho) = E_B \max_{\lVert \delta / w \rVert_2 \le \rho} L_B(w + \delta) - L_B(w)

    Args:
        objective: a classifier with three or more classes.
        radii: values of ρ.
        subset: examples a sub-batch.
        iterations: steps of the ascent, each one gradient.
        gauge: first remove the shift of all logits that softmax does not see, so that the score does not depend on it.

    Returns:
        One row a radius; deterministic, a lower bound of the true maximum.

    Raises:
        NotDefinedError: no class logits, or only two classes.

    Source: Andriushchenko et al. 2023 (arXiv 2302.07011), section 3.
    """
    chosen = tuple(radii) if radii is not None else RADII
    objective = gauge_fixed(objective) if gauge else objective
    normalized, scale, found = logit_normalized(objective), objective.theta.abs(), []
    for radius in bar(chosen, desc="adaptive worst case, ellipsoid"):
        meter = Meter()
        value = worst_in_ellipsoid(normalized, scale, radius, meter, subset=subset, iterations=iterations)
        found.append(Measurement(value, None, radius, meter.gradients))
    return found
