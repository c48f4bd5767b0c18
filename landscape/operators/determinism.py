"""Whether an operator is one symmetric matrix: the same product twice, under different random states, and ⟨u, Av⟩ = ⟨v, Au⟩."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from landscape.errors import NumericalError
from landscape.function.weighting import culprit

if TYPE_CHECKING:
    from landscape.operators.curvature import Curvature


def check_matrix(op: Curvature) -> None:
    """Multiply one vector twice, with nothing kept between and the random state moved; then try the symmetry.

    Raises:
        NumericalError: The products differ, or are not those of a symmetric matrix; the message names the likely culprit.
    """
    generator = torch.Generator().manual_seed(0)
    v, u = torch.randn(2, op.size, generator=generator, dtype=torch.float64).to(op.device, op.dtype)
    products = []
    for seed in (1, 2):
        op.release()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            products.append((op @ v).double())
    op.release()
    difference = float((products[0] - products[1]).norm() / products[0].norm().clamp_min(1e-300))
    # scatter operations on CUDA add in any order
    if difference > 1e3 * torch.finfo(op.dtype).eps:
        raise NumericalError(
            f"the {op.name} gave two products of one vector that differ by {difference:.1e}: {culprit(op.objective)}"
        )
    Au = (op @ u).double()
    op.release()
    left, right = float(u.double() @ products[0]), float(v.double() @ Au)
    scale = float(u.double().norm() * products[0].norm() + v.double().norm() * Au.norm())
    if abs(left - right) > 1e3 * torch.finfo(op.dtype).eps * scale:
        raise NumericalError(
            f"the {op.name} is not symmetric (⟨u, Av⟩ = {left:.6g}, ⟨v, Au⟩ = {right:.6g}): an operation has a wrong second "
            "derivative, usually a custom autograd function whose backward is not made of differentiable operations"
        )
