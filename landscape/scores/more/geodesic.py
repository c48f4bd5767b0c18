"""Worst case over geodesics of the quotient by the network's own symmetries: attention's changes of basis, diagonal nets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from landscape.errors import LandscapeError
from landscape.function.batches import Batch
from landscape.function.gradients import value_and_gradient
from landscape.function.objective import Objective
from landscape.graphs.units.factors import search_products
from landscape.scores import quantities
from landscape.scores.ascent import Evaluate, Map
from landscape.scores.compose import compose
from landscape.scores.functionals import largest_rise
from landscape.scores.gauges import normalised
from landscape.scores.network import network
from landscape.scores.perturbations import Ball, Perturbation, Scale, in_ball, unit, weights
from landscape.scores.register import UndefinedError


@dataclass(frozen=True)
class FactorPair:
    r"""Two factors G (m, h) and H (n, h) of which only :math:`G H^T` matters, with the metric that no change of basis moves.

    .. math:: \lVert (\xi_G, \xi_H)\rVert^2 = \mathrm{Tr}(G^TG)^{-1}\xi_G^T\xi_G + \mathrm{Tr}(H^TH)^{-1}\xi_H^T\xi_H

    Attributes:
        where: positions of G and H in theta, (h, m) and (h, n).
        factors: G and H in float64.
        roots: square roots of GᵀG and HᵀH.
    """

    where: tuple[Tensor, Tensor]
    factors: tuple[Tensor, Tensor]
    roots: tuple[Tensor, Tensor]

    @classmethod
    def at(cls, theta: Tensor, left: Tensor, right: Tensor) -> FactorPair:
        """Read both factors out of theta.

        Raises:
            NotDefinedError: a factor has not full rank, where the metric is infinite.
        """
        factors, roots = [], []
        for where in (left, right):
            factor = theta[where].double().T
            values, vectors = torch.linalg.eigh(factor.T @ factor)
            if not values[0] > 1e-12 * values[-1]:
                raise UndefinedError("an attention factor does not have full rank")
            factors.append(factor)
            roots.append((vectors * values.sqrt()) @ vectors.T)
        return cls((left, right), (factors[0], factors[1]), (roots[0], roots[1]))

    def walk(self, x: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Return (positions, end points) of the geodesic to second order, in both factors.

        From the metric's Euler–Lagrange equation: G̈ = Ġ S⁻¹ (ĠᵀG + GᵀĠ) − G S⁻¹ ĠᵀĠ with S = GᵀG.
        """
        found = []
        for where, factor, root in zip(self.where, self.factors, self.roots, strict=True):
            speed = x[where].double().T @ root
            inverse = torch.linalg.inv(root @ root)
            turn = speed @ inverse @ (speed.T @ factor + factor.T @ speed) - factor @ inverse @ speed.T @ speed
            found.append((where.flatten(), (factor + speed + 0.5 * turn).T.flatten()))
        return found

    def horizontal(self, x: Tensor) -> Tensor:
        """Return x without its part along the changes of basis (GΛ, −HΛᵀ), by a Sylvester equation for Λ."""
        (G, H), (a, b) = self.factors, self.roots
        xs = [x[where].double().T for where in self.where]
        ia, ib = torch.linalg.inv(a), torch.linalg.inv(b)
        right = a @ (ia @ G.T @ xs[0]) @ ia - (b @ (ib @ H.T @ xs[1]) @ ib).T
        # S_G Λ S_G⁻¹ + S_H⁻¹ Λ S_H = right; with K = S_H S_G this is KΛ + ΛK = S_H·right·S_G
        values, vectors = torch.linalg.eigh(a @ b @ b @ a)
        there, back = ia @ vectors, vectors.T @ a
        rotated = back @ (b @ b @ right @ a @ a) @ there
        basis = there @ (rotated / (values[:, None] + values[None, :])) @ back
        out = x.clone()
        for where, part, vertical in zip(self.where, xs, (G @ basis @ ia, -H @ basis.T @ ib), strict=True):
            out[where] = (part - vertical).T.to(x)
        return out


def attention_pairs(objective: Objective) -> list[FactorPair]:
    """Return the pairs of factors of the network's attention, those whose parameters are all selected.

    Raises:
        NotDefinedError: there are none, or the network cannot be traced.
    """
    try:
        products = search_products(network(objective), objective.batches[0].inputs)[0]
    except LandscapeError as error:
        raise UndefinedError(str(error)) from error
    slices, pairs = objective.space.slices, []
    for product in products:
        names = {name for name, _ in (*product.left, *product.right)}
        if names <= set(slices):
            sides = [
                torch.cat([slices[name].start + positions for name, positions in side], 1).to(objective.device)
                for side in (product.left, product.right)
            ]
            pairs.append(FactorPair.at(objective.theta, *sides))
    if not pairs:
        raise UndefinedError("no attention was found; use adaptive-worst-l2")
    return pairs


class Geodesics(Ball):
    """‖x‖ ≤ ρ in unit coordinates x of the tangent space: weights move along horizontal geodesics γ_x(1)."""

    shards = False

    def __init__(self, objective: Objective, scale: Scale):
        super().__init__(objective, scale)
        self.objective, self.theta = objective, self.theta.double()
        self.c = self.at(self.theta)

    @cached_property
    def pairs(self) -> list[FactorPair]:
        """The factors of the network's attention."""
        return attention_pairs(self.objective)

    def walk(self, x: Tensor) -> Tensor:
        """Return the weights at the end of the geodesic."""
        out = self.theta + self.c * x
        for pair in self.pairs:
            for where, ends in pair.walk(x):
                out = out.index_copy(0, where, ends)
        return out

    def horizontal(self, x: Tensor) -> Tensor:
        """Return x without its part along the symmetry."""
        for pair in self.pairs:
            x = pair.horizontal(x)
        return x

    def rise(self, parts: Objective, batch: Batch) -> Evaluate:
        """Return ``coordinates -> (loss of a batch at the moved weights, its gradient)``."""

        def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
            at = x.detach().requires_grad_()
            with torch.enable_grad():
                theta = self.walk(at).to(parts.dtype)
            value, gradient = value_and_gradient(parts, theta, lambda: parts.batch_value(theta, batch).reshape(()), at)
            return value.double(), gradient

        return evaluate

    def projection(self, radius: float) -> Map:
        """Return the map from coordinates to the nearest ones in the set."""
        return lambda x: in_ball(self.horizontal(x), radius)

    def aside(self, radius: float) -> Tensor:
        """Return a point of the set beside the origin."""
        return self.projection(radius)(0.1 * radius * unit(self._drawn()))


geodesic_worst = compose(
    "geodesic-worst",
    "worst case over geodesics of the quotient by attention's symmetry, on normalised logits",
    quantities.loss,
    Perturbation(Geodesics, replace(weights, invariant="T4 T6")),  # another scale of a head's inputs is another metric
    largest_rise,
    gauge=replace(normalised, factors_fixed=False),  # its metric does not see the basis
    about="""The factors of every product (queries and keys, values and output) move along horizontal geodesics, to second order,
of the metric; all other weights move in units of their own size, as in `adaptive_worst_l2`.""",
    family="worst case",
    formula="E_B max over ‖ξ‖ ≤ ρ of L_B(γ_ξ(1)) − L_B(w), metric Tr (GᵀG)⁻¹dGᵀdG + Tr (HᵀH)⁻¹dHᵀdH",
    source="da Silva et al. 2025, arXiv 2505.05409",
    radii=(0.25, 0.5, 1.0, 2.0),
    reference=1.0,
)
