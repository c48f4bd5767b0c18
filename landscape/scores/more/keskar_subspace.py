"""Keskar's epsilon-sharpness in a random subspace."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from landscape.function.objective import Objective
from landscape.scores import quantities
from landscape.scores.compose import compose
from landscape.scores.functionals import relative_rise
from landscape.scores.perturbations import Box, Perturbation, Scale, draws, weights_plus_one


class SubspaceBox(Box):
    """|y| ≤ ε c(Aᵀw) about w in w + Ay, with A made orthonormal, so that its pseudo-inverse is its transpose."""

    def __init__(self, objective: Objective, scale: Scale, *, dimensions: int = 100, seed: int = 0):
        super().__init__(objective, scale)
        columns = torch.stack(list(draws(objective.size, min(dimensions, objective.size), seed)), 1)
        self.basis = torch.linalg.qr(columns).Q.to(objective.device)

    def displacement(self, x: Tensor) -> Tensor:
        """Return δ at coordinates."""
        return self.basis @ x.to(self.basis)

    def pulled(self, gradient: Tensor) -> Tensor:
        """Return a gradient in δ as one in coordinates."""
        return self.basis.T @ gradient

    def half(self) -> np.ndarray:
        """Return the half-widths of the box of unit radius in float64."""
        widths: np.ndarray = self.at(self.basis.T @ self.theta.double()).cpu().numpy()
        return widths


keskar_subspace = compose(
    "keskar-subspace",
    "Keskar's ε-sharpness in a random subspace",
    quantities.loss,
    Perturbation(SubspaceBox, weights_plus_one),
    relative_rise,
    about="``dimensions`` are the columns of A, at most P.",
    family="worst case",
    formula="100 (max over |y| ≤ ε(|Aᵀw|+1) of L(w + Ay) − L(w)) / (1 + L(w)), A random orthonormal (P, 100)",
    source="Keskar et al. 2017, arXiv 1609.04836, eq. 4 with p = 100",
    cost=14,
    radii=(1e-3,),
)
