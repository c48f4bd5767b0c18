"""Sensitivity of the predictions to the inputs, which no reparametrisation of the weights can change."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.func import jacrev, vmap

from landscape.errors import NotDefinedError
from landscape.function.batches import Batch
from landscape.function.objective import Objective
from landscape.scores.register import Definition, Measurement, score
from landscape.scores.requirements import class_count
from landscape.transforms.logits import normalize_logits

CHUNK = 64
_ALL = "T1 T2 T3 T4 T5 T6"


@score(
    Definition(
        "input-jacobian",
        "mean norm of the Jacobian of the probabilities in the inputs",
        family="function space",
        formula="E_x ‖∂p/∂x‖_F",
        source="Novak et al. 2018, arXiv 1802.08760, section 3.1",
        cost=10,
        invariant=_ALL,
        needs=("classes",),
        unit="per unit of input",
    ),
    Definition(
        "input-jacobian-normalized",
        "mean norm of the Jacobian of the normalised logits in the inputs",
        family="function space",
        formula="E_x ‖∂(f − mean f)/‖f − mean f‖ / ∂x‖_F",
        source="after Novak et al. 2018, arXiv 1802.08760",
        cost=10,
        invariant=f"{_ALL} T7",
        needs=("classes",),
        unit="per unit of input",
    ),
)
def input_jacobian(objective: Objective) -> list[Measurement]:
    """Measure how fast the predictions change with the inputs, averaged over the examples.

    Args:
        objective: a classifier of one floating-point input tensor.

    Returns:
        Two rows, exact on the given examples (no error over examples is given).

    Raises:
        NotDefinedError: no class logits, or inputs that are not one floating-point tensor.

    Source: Novak et al. 2018 (arXiv 1802.08760), section 3.1.
    """
    theta, raw, normalized = objective.theta, [], []

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        output = objective.batch_outputs(theta, Batch(x[None], None, None, 1))
        return output.softmax(1)[0], normalize_logits(output)[0]

    with objective.guard(second=True):
        for batch in objective.batches:
            inputs: Any = batch.inputs
            if not isinstance(inputs, Tensor) or not inputs.is_floating_point():
                raise NotDefinedError(
                    "input-jacobian is not defined here: the inputs are not one floating-point tensor"
                )
            try:
                p, z = vmap(jacrev(both), chunk_size=CHUNK)(inputs)
            except RuntimeError as error:
                raise NotDefinedError(
                    f"input-jacobian is not defined here: the network cannot be mapped over examples ({error})"
                ) from error
            raw.append(p.detach().double().flatten(1).norm(dim=1))
            normalized.append(z.detach().double().flatten(1).norm(dim=1))
    cost = float(class_count(objective))
    return [
        Measurement(float(np.mean(torch.cat(raw).cpu().numpy())), gradients=cost, name="input-jacobian"),
        Measurement(
            float(np.mean(torch.cat(normalized).cpu().numpy())), gradients=cost, name="input-jacobian-normalized"
        ),
    ]
