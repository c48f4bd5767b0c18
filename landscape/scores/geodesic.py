"""Worst case over geodesics of the quotient by the network's own symmetries: attention's changes of basis, diagonal nets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from landscape.bars import bar
from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.batches import Batch
from landscape.function.gradients import value_and_gradient
from landscape.function.objective import Objective
from landscape.graphs.units.factors import find_products
from landscape.scores.apgd import Evaluate
from landscape.scores.ascent import SUBSET, in_ball, mean_worst_rise, unit
from landscape.scores.evaluation import Meter, draws
from landscape.scores.network import network
from landscape.scores.normalized import logit_normalized
from landscape.scores.register import Definition, Measurement, score
from landscape.transforms.head import gauge_fixed

RADII = (0.25, 0.5, 1.0, 2.0)
Walk = Callable[[Tensor], Tensor]
"""Coordinates x of unit length in the metric -> weights at the end of the geodesic, (P,) each."""


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
                raise NotDefinedError("geodesic-worst is not defined here: an attention factor does not have full rank")
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
        products = find_products(network(objective), objective.batches[0].inputs)
    except LandscapeError as error:
        raise NotDefinedError(f"geodesic-worst is not defined here: {error}") from error
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
        raise NotDefinedError("geodesic-worst is not defined here: no attention was found; use adaptive-worst-l2")
    return pairs


def worst_along_geodesics(
    objective: Objective,
    walk: Walk,
    horizontal: Walk,
    radius: float,
    meter: Meter,
    *,
    subset: int = SUBSET,
    iterations: int = 20,
) -> float:
    """Return the mean over sub-batches of max over ‖x‖ ≤ ρ of L_B(walk(x)) − L_B(w), by APGD in the coordinates x."""
    parts = objective.rebatch(subset)

    def rise(batch: Batch) -> Evaluate:
        def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
            at = x.detach().requires_grad_()
            with torch.enable_grad():
                theta = walk(at).to(objective.dtype)
            value, gradient = value_and_gradient(parts, theta, lambda: parts.batch_value(theta, batch).reshape(()), at)
            return value.double(), gradient

        return evaluate

    def project(x: Tensor) -> Tensor:
        return in_ball(horizontal(x), radius)

    return mean_worst_rise(
        parts,
        rise,
        ascent=unit,
        project=project,
        aside=project(0.1 * radius * unit(next(iter(draws(objective.size, 1, seed=0))).to(objective.device))),
        radius=radius,
        iterations=iterations,
        meter=meter,
    )


@score(
    Definition(
        "geodesic-worst",
        "worst case over geodesics of the quotient by attention's symmetry, on normalised logits",
        family="worst case",
        formula="E_B max over ‖ξ‖ ≤ ρ of L_B(γ_ξ(1)) − L_B(w), metric Tr (GᵀG)⁻¹dGᵀdG + Tr (HᵀH)⁻¹dHᵀdH",
        source="da Silva et al. 2025, arXiv 2505.05409",
        cost=84,
        invariant="T1 T2 T4 T5 T6 T7",
        needs=("three classes",),
        unit="loss",
        radii=RADII,
        reference=1.0,
    )
)
def geodesic_worst(
    objective: Objective, *, radii: Sequence[float] | None = None, subset: int = SUBSET, iterations: int = 20
) -> list[Measurement]:
    r"""Measure the worst case in a ball that no change of basis inside attention can distort.

    The factors of every product (queries and keys, values and output) move along horizontal geodesics, to second order, of
    the metric :math:`\mathrm{Tr}(G^TG)^{-1}dG^TdG + \mathrm{Tr}(H^TH)^{-1}dH^TdH`; all other weights move in units of their
    own size, as in ``adaptive-worst-l2``.

    Args:
        objective: a classifier with attention and three or more classes.
        radii: radii ρ of the ball.
        subset: examples a sub-batch.
        iterations: steps of the ascent, each one gradient.

    Raises:
        NotDefinedError: no attention whose factors are found, or no class logits.

    Source: da Silva et al. 2025, ICML (arXiv 2505.05409).
    """
    at = logit_normalized(gauge_fixed(objective))
    pairs, theta, scale = attention_pairs(at), at.theta.double(), at.theta.double().abs()

    def walk(x: Tensor) -> Tensor:
        out = theta + scale * x
        for pair in pairs:
            for where, ends in pair.walk(x):
                out = out.index_copy(0, where, ends)
        return out

    def horizontal(x: Tensor) -> Tensor:
        for pair in pairs:
            x = pair.horizontal(x)
        return x

    found = []
    for radius in bar(tuple(radii or RADII), desc="geodesic worst case"):
        meter = Meter()
        value = worst_along_geodesics(at, walk, horizontal, radius, meter, subset=subset, iterations=iterations)
        found.append(Measurement(value, None, radius, meter.gradients))
    return found


def geodesic_of_diagonal(
    objective: Objective, u: str, v: str, radius: float, *, subset: int = SUBSET, iterations: int = 20
) -> float:
    r"""Return the worst case over geodesics for a network that depends on two parameters only through u ∘ v.

    With the metric :math:`\sum_i du_i^2/u_i^2 + dv_i^2/v_i^2` the horizontal geodesics are exact:
    :math:`u_i e^{b_i}, v_i e^{b_i}` with :math:`2\lVert b\rVert^2 \le \rho^2`.

    Args:
        objective: the function; other parameters stay where they are.
        u: name of the first parameter.
        v: name of the second, of the same shape.
        radius: ρ.
        subset: examples a sub-batch.
        iterations: steps of the ascent.

    Raises:
        LandscapeError: the parameters are not selected or differ in size.

    Source: da Silva et al. 2025, ICML (arXiv 2505.05409), diagonal networks.
    """
    slices, theta = objective.space.slices, objective.theta.double()
    missing = [name for name in (u, v) if name not in slices]
    if missing or theta[slices[u]].shape != theta[slices[v]].shape:
        raise LandscapeError(f"{u!r} and {v!r} must be selected parameters of one size; there are {', '.join(slices)}")

    def horizontal(x: Tensor) -> Tensor:
        out = torch.zeros_like(x)
        out[slices[u]] = out[slices[v]] = (x[slices[u]] + x[slices[v]]) / 2
        return out

    return worst_along_geodesics(
        objective,
        lambda x: theta * torch.exp(horizontal(x)),
        horizontal,
        radius,
        Meter(),
        subset=subset,
        iterations=iterations,
    )
