"""Perturbations: in which units, in which set or at random, the weights are moved."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from landscape.arguments import keyword_options, seeded_generator
from landscape.errors import LandscapeError, NotDefinedError
from landscape.function.batches import Batch
from landscape.function.gradients import value_and_gradient
from landscape.function.objective import Objective
from landscape.function.world import ALONE, World
from landscape.scores.ascent import Evaluate, Map
from landscape.slices import random_directions

NoiseKind = Literal["normal", "uniform"]
"""Standard normal, or uniform between −1 and 1."""
Seeds = int | Sequence[int]
"""A seed, or one for each network of a stack."""


def draws(size: int, count: int, seed: Seeds, noise: NoiseKind = "normal", world: World = ALONE) -> Iterator[Tensor]:
    """Yield random vectors (P,) of a CPU generator in float64, the same on every device and for every dtype; (K, P) of K seeds.

    Where several processes hold a part of theta each, every one gets its part of them.

    >>> first, second = draws(2, 2, seed=0)
    >>> bool((first == next(iter(draws(2, 1, seed=0)))).all())
    True
    """
    if isinstance(seed, Sequence):
        yield from (
            torch.stack(each) for each in zip(*(draws(size, count, one, noise, world) for one in seed), strict=True)
        )
        return
    generator = seeded_generator(seed)
    for _ in range(count):
        if noise == "normal":
            yield world.normal(size, generator)
        else:
            row = torch.empty(world.length(size), dtype=torch.float64)
            yield 2 * world.draw(row, partial(_uniform, generator)) - 1


def _uniform(generator: torch.Generator, numbers: Tensor) -> Tensor:
    return numbers.uniform_(generator=generator)


@dataclass(frozen=True)
class Scale:
    """The units c in which weights are moved.

    Attributes:
        of: ``(theta, **options) -> c``, (P,) both.
        invariant: transformations that move weights and units alike: T1, T2 and T3 where c is proportional to each weight.
        absolute: c does not know how large weights are.
    """

    of: Callable[..., Tensor]
    invariant: str
    absolute: bool = False


def _ones(theta: Tensor) -> Tensor:
    return torch.ones_like(theta)


def _sizes(theta: Tensor) -> Tensor:
    return theta.abs()


def _sizes_and(theta: Tensor, *, eta: float = 0.0) -> Tensor:
    return theta.abs() + eta


def _sizes_plus(theta: Tensor, *, offset: float = 1.0) -> Tensor:
    return theta.abs() + offset


ones = Scale(_ones, "T4 T5", absolute=True)
weights = Scale(_sizes, "T1 T2 T3 T4")
weights_eta = Scale(_sizes_and, "T1 T2 T3 T4")
weights_plus_one = Scale(_sizes_plus, "T4")
filter_norms = Scale(_sizes, "T1")


@dataclass(frozen=True)
class Perturbation:
    """How weights are moved; `about` binds it to the weights of a network.

    Attributes:
        make: ``(objective, scale, **options) -> Box, Ball, Noise, …``.
        scale: the units.
    """

    make: Callable[..., Any]
    scale: Scale

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The keyword-only options that it takes, by name."""
        return keyword_options(self.scale.of) | keyword_options(self.make)

    def about(self, objective: Objective, **options: Any) -> Any:
        """Return the perturbation about the weights of an objective."""
        of_scale = {name: options.pop(name) for name in keyword_options(self.scale.of) if name in options}
        return self.make(objective, replace(self.scale, of=partial(self.scale.of, **of_scale)), **options)


def number(value: Tensor) -> Any:
    """Return a tensor as a float, or as one array (K,) of the networks of a stack."""
    return float(value) if value.ndim == 0 else value.cpu().numpy()


def length(rows: Tensor, world: World = ALONE) -> Tensor:
    """Return ‖x‖₂ of a vector (P,), or of each row (K, P) of a stack, with a dimension for broadcasting, summed in float64.

    A sum in float32 is off by 7e-6 at 20,000 entries.
    """
    return world.norm(rows, dtype=torch.float64)[..., None]


def unit(vector: Tensor, world: World = ALONE) -> Tensor:
    """Return a vector at unit length, or zero: Foret et al. 2021, equation 2 with p = 2."""
    return vector / length(vector, world).to(vector).clamp_min(torch.finfo(vector.dtype).tiny)


def in_ball(x: Tensor, radius: float, world: World = ALONE) -> Tensor:
    """Return the nearest point of the ball about the origin."""
    return x * (radius / length(x, world).clamp_min(radius)).to(x)


class Moved:
    """Weights that can be moved in units c.

    Attributes:
        theta: the weights, (P,).
        c: their units, (P,).
        whole: P, also where this process has a part of the weights.
        size: what a perturbation of unit radius is to the weights: 1 in units of their own, else their root mean square.
        shards: whether the weights may be a part of them, as those of a sharded network are.
    """

    shards = True

    def __init__(self, objective: Objective, scale: Scale):
        self.scale, self.theta, self.world, self.whole = scale, objective.theta, objective.world, objective.size
        self.c = self.at(self.theta)
        sizes = number((self.world.over_parts(self.theta.double().square().sum(-1)) / self.whole).sqrt())
        self.size = np.where(sizes == 0, 1.0, sizes)[()] if scale.absolute else 1.0

    def at(self, theta: Tensor) -> Tensor:
        """Return the units of other weights, or of the same in another precision."""
        return self.scale.of(theta)


class Box(Moved):
    """|δ| ≤ ρ c. Coordinates of an ascent are δ itself."""

    def rise(self, parts: Objective, batch: Batch) -> Evaluate:
        """Return ``coordinates -> (loss of a batch at the moved weights, its gradient)``. Use inside the guard."""
        theta = parts.theta

        def evaluate(x: Tensor) -> tuple[Tensor, Tensor]:
            at = (theta + self.displacement(x)).requires_grad_()
            value, gradient = value_and_gradient(
                parts, at, lambda: parts.batch_value(at, batch).reshape(at.shape[:-1]), at
            )
            return value.double(), self.pulled(gradient)

        return evaluate

    def displacement(self, x: Tensor) -> Tensor:
        """Return δ at coordinates."""
        return x

    def pulled(self, gradient: Tensor) -> Tensor:
        """Return a gradient in δ as one in coordinates."""
        return gradient

    def ascent(self, gradient: Tensor) -> Tensor:
        """Return the step of unit radius in coordinates that climbs fastest."""
        return self.c * gradient.sign()

    def projection(self, radius: float) -> Map:
        """Return the map from coordinates to the nearest ones in the set."""
        limit = radius * self.c
        return lambda delta: torch.clamp(delta, -limit, limit)

    def half(self) -> np.ndarray:
        """Return the half-widths of the box of unit radius in float64."""
        widths: np.ndarray = self.at(self.theta.double()).cpu().numpy()
        return widths

    def corner(self, radius: float, seed: Seeds) -> Tensor:
        """Return a random point on the edge of the set."""
        return radius * self.c * self._drawn(seed).sign()

    def aside(self, radius: float) -> Tensor:
        """Return a point of the set to start from where the origin is a critical point, whose gradient shows no way up."""
        return 0.1 * (radius * self.c) * self._drawn().clamp(-1, 1)

    def _drawn(self, seed: Seeds = 0) -> Tensor:
        return next(iter(draws(self.whole, 1, seed, world=self.world))).to(self.c)


class Ball(Box):
    """‖δ/c‖₂ ≤ ρ. An ascent runs in u = δ/c, where the set is round and the projection radial.

    A weight of zero cannot move in units of itself and drops out; projecting onto the ellipsoid divides by it, and published
    code then skips the projection.
    """

    def displacement(self, x: Tensor) -> Tensor:
        """Return δ at coordinates."""
        return self.c * x

    def pulled(self, gradient: Tensor) -> Tensor:
        """Return a gradient in δ as one in coordinates."""
        return self.c * gradient

    def ascent(self, gradient: Tensor) -> Tensor:
        """Return the step of unit radius in coordinates that climbs fastest."""
        return unit(gradient, self.world)

    def projection(self, radius: float) -> Map:
        """Return the map from coordinates to the nearest ones in the set."""
        return partial(in_ball, radius=radius, world=self.world)

    def corner(self, radius: float, seed: Seeds) -> Tensor:
        """Return a random point on the edge of the set."""
        return radius * unit(self._drawn(seed) * (self.c != 0), self.world)

    def aside(self, radius: float) -> Tensor:
        """Return a point of the set beside the origin."""
        return self.corner(0.1 * radius, seed=0)


class SubspaceBox(Box):
    """|y| ≤ ε c(Aᵀw) about w in w + Ay, with A made orthonormal, so that its pseudo-inverse is its transpose."""

    shards = False

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


class Noise(Moved):
    """c ∘ z with random z."""

    def __init__(self, objective: Objective, scale: Scale, *, noise: NoiseKind = "normal"):
        if noise not in get_args(NoiseKind):
            raise LandscapeError(f"noise={noise!r}, expected {' or '.join(map(repr, get_args(NoiseKind)))}")
        super().__init__(objective, scale)
        self.noise = noise

    def drawn(self, count: int, seed: Seeds) -> Iterator[Tensor]:
        """Yield z, (P,)."""
        return (z.to(self.c) for z in draws(self.whole, count, seed, self.noise, self.world))

    def steps(self, count: int, seed: Seeds) -> Iterator[Tensor]:
        """Yield displacements of unit radius, (P,)."""
        return (self.c * z for z in self.drawn(count, seed))

    def directions(self, count: int, seed: int) -> list[Tensor]:
        """Return displacements of unit radius, (P,) each."""
        return list(self.steps(count, seed))


class Sphere(Moved):
    """Uniform on the unit sphere of all weights."""

    def __init__(self, objective: Objective, scale: Scale):
        super().__init__(objective, scale)
        self.size = float(length(self.theta, self.world)) or 1.0

    def directions(self, count: int, seed: int) -> list[Tensor]:
        """Return displacements of unit length, (P,) each."""
        return [unit(z, self.world) for z in draws(self.whole, count, seed, world=self.world)]


class Filters(Moved):
    """Random directions in which every filter has the length of the network's: Li et al. 2018 (arXiv 1712.09913), section 4."""

    def __init__(self, objective: Objective, scale: Scale):
        super().__init__(objective, scale)
        self.objective = objective

    def directions(self, count: int, seed: int) -> list[Tensor]:
        """Return as many directions (P,) as asked for, or as there are parameters.

        Raises:
            NotDefinedError: filter normalisation leaves nothing to move.
        """
        try:
            drawn = random_directions(self.objective, n=min(count, self.objective.size), seed=seed).vectors
        except LandscapeError as error:
            raise NotDefinedError(f"slices along filter-normalised directions are not defined here: {error}") from error
        assert drawn is not None
        return list(self.world.part(torch.from_numpy(drawn)))


def box(scale: Scale) -> Perturbation:
    """Return the box |δ| ≤ ρc."""
    return Perturbation(Box, scale)


def ball(scale: Scale) -> Perturbation:
    """Return the ball or ellipsoid ‖δ/c‖₂ ≤ ρ."""
    return Perturbation(Ball, scale)


def noise(scale: Scale, kind: NoiseKind = "normal") -> Perturbation:
    """Return random displacements ρ c ∘ z."""
    return Perturbation(Noise if kind == "normal" else partial(Noise, noise=kind), scale)


subspace_box = Perturbation(SubspaceBox, weights_plus_one)
sphere = Perturbation(Sphere, ones)
filters = Perturbation(Filters, filter_norms)
