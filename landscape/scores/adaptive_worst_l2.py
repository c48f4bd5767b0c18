"""Worst-case sharpness in the ellipsoid whose axes are the weights, on normalised logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.bars import bar
from landscape.batches import Batch
from landscape.objective import Objective
from landscape.scores.adaptive_worst import SUBSET, increase_from
from landscape.scores.apgd import maximize
from landscape.scores.evaluation import Meter, draws
from landscape.scores.head import gauge_fixed
from landscape.scores.normalized import logit_normalized
from landscape.scores.registry import Definition, Measurement, score

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
    zero, moves = torch.zeros_like(scale), scale != 0
    total = torch.zeros((), dtype=torch.float64, device=objective.device)
    tiny = torch.finfo(scale.dtype).tiny

    def project(u: Tensor) -> Tensor:
        return u * (radius / torch.linalg.vector_norm(u).clamp_min(radius))

    def ascent(gradient: Tensor) -> Tensor:
        return gradient / torch.linalg.vector_norm(gradient).clamp_min(tiny)

    def climb(batch: Batch, start: Tensor) -> tuple[Tensor, Tensor]:
        rise = increase_from(parts, batch)

        def evaluate(u: Tensor) -> tuple[Tensor, Tensor]:
            value, gradient = rise(scale * u)
            return value, scale * gradient

        initial, best, _ = maximize(evaluate, ascent, project, start, 2 * radius, iterations=iterations)
        meter.gradient((iterations + 1) * batch.size / objective.n)
        return initial, best

    with objective.guard(), torch.no_grad():
        for batch in parts.batches:
            initial, best = climb(batch, zero)
            if not best > initial:  # at an exact critical point the gradient shows no way up
                aside = next(iter(draws(objective.size, 1, seed=0))).to(scale) * moves
                best = torch.maximum(best, climb(batch, 0.1 * radius * ascent(aside))[1])
            total += (best - initial) * batch.scale
    return float(total)


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
