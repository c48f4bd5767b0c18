"""How far training moved the weights from their initial values."""

from __future__ import annotations

from typing import Any

import torch

from landscape.function.checkpoint import Checkpoint
from landscape.function.objective import Objective
from landscape.scores.register import Definition, Measurement, UndefinedError, score


def initial_weights(objective: Objective, checkpoint: Any) -> Objective:
    """Return the objective at the weights that training started from.

    Raises:
        NotDefinedError: they are not known.
    """
    if not isinstance(checkpoint, Checkpoint) or checkpoint.init is None:
        raise UndefinedError("the initial weights are not known; pass checkpoint=ls.Checkpoint(…, init=…)")
    return objective.at(checkpoint.init)


@score(
    Definition(
        "distance-from-init",
        "distance from initialisation",
        formula="‖w − w₀‖₂",
        source="Dziugaite et al. 2020, arXiv 2010.11924, dist-init",
        unit="parameter",
    ),
    Definition(
        "relative-movement",
        "relative movement of the weights",
        formula="‖w − w₀‖₂ / ‖w₀‖₂",
        source="Chizat et al. 2019, arXiv 1812.07956",
    ),
    family="function space",
    orientation="control",
    cost=0,
    invariant="",
)
def distance_from_init(objective: Objective, *, checkpoint: Any = None) -> list[Measurement]:
    """Return the Euclidean distance from the initial weights, and that distance over their length.

    Args:
        objective: at the trained weights.

    Raises:
        NotDefinedError: the initial weights are not known.

    Source: Chizat et al. 2019 (arXiv 1812.07956): small relative movement is the lazy regime.
    """
    start = initial_weights(objective, checkpoint).theta.double()
    moved = float(torch.linalg.vector_norm(objective.theta.double() - start))
    length = float(torch.linalg.vector_norm(start))
    return [
        Measurement(moved, name="distance-from-init"),
        Measurement(moved / length if length > 0 else float("inf"), name="relative-movement"),
    ]
