"""Sensitivity of the predictions to the inputs, which no reparametrisation of the weights can change."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.func import jacrev, vmap

from landscape.function.batches import Batch
from landscape.function.objective import Objective
from landscape.scores.register import Definition, Measurement, UndefinedError, score
from landscape.scores.requirements import class_count
from landscape.transforms.logits import normalize_logits

CHUNK = 64
_ALL = "T1 T2 T3 T4 T5 T6"


@score(
    Definition(
        "input-jacobian",
        "mean norm of the Jacobian of the probabilities in the inputs",
        formula="E_x ‖∂p/∂x‖_F",
        source="Novak et al. 2018, arXiv 1802.08760, section 3.1",
        invariant=_ALL,
    ),
    Definition(
        "input-jacobian-normalized",
        "mean norm of the Jacobian of the normalised logits in the inputs",
        formula="E_x ‖∂(f − mean f)/‖f − mean f‖ / ∂x‖_F",
        source="after Novak et al. 2018, arXiv 1802.08760",
        invariant=f"{_ALL} T7",
    ),
    family="function space",
    cost=10,
    needs=("classes", "tensor inputs"),
    unit="per unit of input",
)
def input_jacobian(objective: Objective) -> list[Measurement]:
    """Measure how fast the predictions change with the inputs, averaged over the examples.

    Returns:
        Two rows, exact on the given examples (no error over examples is given).
    """
    theta, raw, normalized = objective.theta, [], []

    def both(x: Tensor) -> tuple[Tensor, Tensor]:
        output = objective.batch_outputs(theta, Batch(x[None], None, None, 1))
        return output.softmax(1)[0], normalize_logits(output)[0]

    with objective.guard(second=True):
        for batch in objective.batches:
            try:
                p, z = vmap(jacrev(both), chunk_size=CHUNK)(batch.inputs)
            except RuntimeError as error:
                raise UndefinedError(f"the network cannot be mapped over examples ({error})") from error
            raw.append(p.detach().double().flatten(1).norm(dim=1))
            normalized.append(z.detach().double().flatten(1).norm(dim=1))
    cost = float(class_count(objective))
    return [
        Measurement(float(np.mean(torch.cat(raw).cpu().numpy())), gradients=cost, name="input-jacobian"),
        Measurement(
            float(np.mean(torch.cat(normalized).cpu().numpy())), gradients=cost, name="input-jacobian-normalized"
        ),
    ]
