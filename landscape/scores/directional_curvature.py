"""Second derivatives along given directions: the weights themselves, and random filter-normalised ones."""

from __future__ import annotations

import numpy as np
import torch

from landscape.function.objective import Objective
from landscape.operators import Hessian
from landscape.scores.evaluation import PRODUCT
from landscape.scores.kinks import kink_note
from landscape.scores.register import Definition, Measurement, score
from landscape.scores.slice_curvature import filter_directions


@score(
    Definition(
        "weight-curvature",
        "curvature along the weights",
        family="curvature",
        formula="wᵀHw",
        source="second derivative of t ↦ L(tw) at t = 1",
        cost=2,
        invariant="T1 T2 T4",
        unit="loss",
    )
)
def weight_curvature(objective: Objective) -> Measurement:
    """Return the curvature along the weight vector, which may be negative.

    >>> import torch, landscape as ls
    >>> net = torch.nn.Linear(1, 1, bias=False)
    >>> objective = ls.Objective(net, (torch.ones(1, 1), torch.zeros(1, 1)), "mse_loss").at(torch.tensor([3.0]))
    >>> weight_curvature(objective)[0].value  # L = w²
    18.0
    """
    theta = objective.theta
    value = float(theta.double() @ (Hessian(objective) @ theta).double())
    return Measurement(value, gradients=PRODUCT, note=kink_note(objective))


@score(
    Definition(
        "filter-curvature",
        "curvature along random filter-normalised directions",
        family="slice",
        formula="E_d dᵀHd, ‖d_filter‖ = ‖w_filter‖",
        source="Li et al. 2018, arXiv 1712.09913, section 4, for the directions",
        stochastic=True,
        cost=40,
        invariant="T1",
        unit="loss",
    )
)
def filter_curvature(objective: Objective, *, directions: int = 20, seed: int = 0) -> Measurement:
    """Average the curvature over random filter-normalised directions.

    Args:
        objective: the function.
        directions: number of directions; one product with the Hessian each.
        seed: of the directions.

    Raises:
        NotDefinedError: filter normalisation leaves nothing to move.

    Source: Li et al. 2018 (arXiv 1712.09913). Rescaling single neurons still changes it.
    """
    drawn = filter_directions(objective, directions, seed)
    V = torch.from_numpy(drawn).to(objective.theta)
    products = (Hessian(objective) @ V.T).T
    values = (V.double() * products.double()).sum(1).cpu().numpy()
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return Measurement(float(values.mean()), float(error), gradients=PRODUCT * len(values), note=kink_note(objective))
