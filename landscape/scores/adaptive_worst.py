"""Worst-case sharpness in a box proportional to each weight, on normalised logits."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from landscape.bars import bar
from landscape.function.objective import Objective
from landscape.scores.ascent import SUBSET, increase_from, mean_worst_rise
from landscape.scores.evaluation import Meter, draws
from landscape.scores.normalized import logit_normalized
from landscape.scores.register import Definition, Measurement, score
from landscape.transforms.head import gauge_fixed

RADII = (1e-3, 4e-3, 16e-3, 64e-3)


def worst_increase(
    objective: Objective,
    scale: Tensor,
    radius: float,
    meter: Meter,
    *,
    subset: int = SUBSET,
    iterations: int = 20,
) -> float:
    """Return the mean over sub-batches of max over |δ| ≤ ρc of L_B(w + δ) − L_B(w), by APGD from δ = 0.

    Args:
        objective: the function; its examples are cut into sub-batches by index.
        scale: c, (P,).
        radius: ρ.
        meter: counts the gradients.
        subset: examples a sub-batch.
        iterations: steps of the ascent.
    """
    parts, limit = objective.rebatch(subset), radius * scale
    # the sign of the gradient is zero at an exact critical point
    aside = next(iter(draws(objective.size, 1, seed=0))).to(limit).clamp(-1, 1)
    return mean_worst_rise(
        parts,
        lambda batch: increase_from(parts, batch),
        ascent=lambda gradient: scale * gradient.sign(),
        project=lambda delta: torch.clamp(delta, -limit, limit),
        aside=0.1 * limit * aside,
        radius=radius,
        iterations=iterations,
        meter=meter,
    )


@score(
    Definition(
        "adaptive-worst-linf",
        "adaptive worst-case sharpness in the ℓ∞ box on normalised logits",
        family="worst case",
        formula="E_B max over |δ| ≤ ρ|w| of L_B(w + δ) − L_B(w), L on normalised logits",
        source="Andriushchenko et al. 2023, arXiv 2302.07011, S_max with p = ∞",
        cost=84,
        invariant="T1 T2 T4 T5 T7",
        needs=("three classes",),
        unit="loss",
        panel=True,
        primary=True,
        radii=RADII,
        reference=16e-3,
    )
)
def adaptive_worst_linf(
    objective: Objective,
    *,
    radii: Sequence[float] | None = None,
    subset: int = SUBSET,
    iterations: int = 20,
    gauge: bool = True,
) -> list[Measurement]:
    r"""Measure the largest rise of the loss on normalised logits in a box proportional to the weights.

    .. math:: S(\rho) = E_B \max_{|\delta| \le \rho |w|} L_B(w + \delta) - L_B(w)

    The maximum is sought by APGD from δ = 0 on disjoint sub-batches of fixed size, cut by index, so that the value does not
    depend on the objective's batches; it is a lower bound of the true maximum.

    Args:
        objective: a classifier with three or more classes.
        radii: relative box sizes ρ.
        subset: examples a sub-batch.
        iterations: steps of the ascent, each one gradient.
        gauge: first remove the shift of all logits that softmax does not see, so that the score does not depend on it.

    Returns:
        One row a radius; deterministic.

    Raises:
        NotDefinedError: no class logits, or only two classes.

    Source: Andriushchenko et al. 2023 (arXiv 2302.07011), section 3, and their evaluation protocol.

    >>> import torch, landscape as ls
    >>> model = ls.models.mlp((4, 8, 3))
    >>> X, y = torch.eye(4), torch.tensor([0, 1, 2, 0])
    >>> rows = adaptive_worst_linf(ls.Objective(model, (X, y), "cross_entropy"), radii=[0.01, 0.02])
    >>> rows[0].value < rows[1].value
    True
    """
    chosen = tuple(radii) if radii is not None else RADII
    objective = gauge_fixed(objective) if gauge else objective
    normalized = logit_normalized(objective)
    scale, found = objective.theta.abs(), []
    for radius in bar(chosen, desc="adaptive worst case"):
        meter = Meter()
        value = worst_increase(normalized, scale, radius, meter, subset=subset, iterations=iterations)
        found.append(Measurement(value, None, radius, meter.gradients))
    return found
