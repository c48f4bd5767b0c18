"""The largest eigenvalue and the trace of every layer's own block, and what the blocks together miss."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from landscape.arguments import checked
from landscape.bars import bar
from landscape.errors import LandscapeError
from landscape.operators.base import Block, BlockDiagonal
from landscape.operators.base import Operator as Base
from landscape.results import LayerRow, Layers
from landscape.spectra.basis import host
from landscape.spectra.goal import Goal, make_goal
from landscape.spectra.lanczos import Lanczos
from landscape.spectra.protocol import Operator, Products
from landscape.spectra.sampling import jackknife, standard_error

TOGETHER = 8
"""Probes multiplied in one pass over the data: enough to share it, few enough to hold."""


@checked
def by_layer(
    op: Operator,
    blocks: Mapping[str, slice | Sequence[slice]] | None = None,
    *,
    probes: int = 32,
    missed_probes: int = 4,
    tol: float = 1e-2,
    max_steps: int = 200,
    seed: int = 0,
) -> Layers:
    """Compute λmax, trace and share of the trace of each diagonal block, and what the block diagonal D misses of A.

    One Lanczos run a block, side by side: every step multiplies all unfinished blocks in one pass over the data. The traces come
    from products with the whole operator, since E z_b·(Az)_b = tr A_bb for random signs z: one product serves every block.
    ‖A − D‖_F / ‖A‖_F = √(E‖Az − Dz‖² / E‖Az‖²) takes one further pass a probe.

    Args:
        op: symmetric operator (P, P).
        blocks: name and place of each block, a slice or several; together they cover 0 … P once. None asks the operator: its
            ``.blocks`` (of a block diagonal), or its ``.block_diagonal()``, one block a layer.
        probes: random probes of the traces; from P on traces and `missed` are exact.
        missed_probes: how many of them are multiplied by the block diagonal as well.
        tol: residual asked for of each λmax, relative to it.
        max_steps: the most passes that the eigenvalues may take.
        seed: seed of start vectors and probes.

    Returns:
        `Layers`: a table with one row per layer.

    Raises:
        LandscapeError: the blocks do not cover the operator once, or an option is out of range.
        NumericalError: the operator is not symmetric, not deterministic, or a product is not finite.

    Source for the traces: Hutchinson 1990.

    >>> matrix = torch.diag(torch.tensor([1.0, 2.0, 3.0]))
    >>> layers = by_layer(matrix, {"first": slice(0, 2), "second": slice(2, 3)})
    >>> [(row.name, round(row.lambda_max, 4), row.trace) for row in layers.rows], layers.missed
    ([('first', 2.0, 3.0), ('second', 3.0, 3.0)], 0.0)
    """
    started = time.perf_counter()
    if probes < 2 or not 1 <= missed_probes <= probes:
        raise LandscapeError(
            f"probes={probes} and missed_probes={missed_probes}: use at least 2 probes and 1 ≤ missed_probes ≤ probes"
        )
    if max_steps < 1:
        raise LandscapeError(f"max_steps={max_steps}: use at least 1")
    products, diagonal = _parts(op, blocks)
    largest = _Largest(products, diagonal, tol, max_steps, seed)
    largest.run()
    found = largest.measure()
    traces, missed = _sample(products, diagonal, probes, missed_probes, seed)
    exact = probes >= products.size
    total = traces.sum(1)
    share = traces.mean(0) / total.mean() if total.mean() else np.full(traces.shape[1], np.nan)
    deviations = traces - share * total[:, None]
    rows = [
        LayerRow(
            name=name,
            parameters=sum(place.stop - place.start for place in diagonal.blocks[name]),
            lambda_max=found[name][0],
            residual=found[name][1],
            trace=float(traces[:, i].mean()),
            trace_error=0.0 if exact else standard_error(traces[:, i]),
            share=float(share[i]),
            share_error=0.0 if exact else abs(standard_error(deviations[:, i]) / total.mean()),
        )
        for i, name in enumerate(diagonal.blocks)
    ]
    late = [name for name in diagonal.blocks if not found[name][2]]
    return Layers(
        rows=tuple(rows),
        missed=_ratio(missed),
        missed_error=0.0 if exact else jackknife(lambda chosen: _ratio(missed[chosen]), len(missed)),
        operator=products.name,
        tol=tol,
        converged=not late,
        message=f"λmax of {', '.join(late)} did not reach tol={tol:.0e}: raise max_steps or tol" if late else "",
        probes=0 if exact else probes,
        matvecs=products.count + largest.matvecs + len(missed) * len(diagonal.blocks),
        passes=-(-len(traces) // TOGETHER) + largest.passes + len(missed),
        seed=seed,
        provenance=products.provenance,
        seconds=time.perf_counter() - started,
    )


class _Whole(Base):
    """Anything that multiplies, as an operator that blocks can be taken of."""

    def __init__(self, products: Products) -> None:
        self.products, self.name = products, products.name
        self.size, self.dtype, self.device = products.size, products.dtype, products.device
        self.world = products.world

    def multiply(self, V: Tensor) -> Tensor:
        """Return the product with columns (P, K)."""
        return self.products.rows(V.T).T


def _parts(op: Any, blocks: Mapping[str, slice | Sequence[slice]] | None) -> tuple[Products, BlockDiagonal]:
    """Return the whole operator, counted, and its block diagonal, which multiplies past the count."""
    if isinstance(op, BlockDiagonal) and blocks is None:
        op, blocks = op.op, op.blocks
    elif blocks is None:
        if not hasattr(op, "block_diagonal"):
            raise LandscapeError(
                "this operator does not know its layers: pass blocks={name: slice}, such as objective.space.slices"
            )
        blocks = op.block_diagonal().blocks
    products = Products(op)
    places = {name: [place] if isinstance(place, slice) else list(place) for name, place in blocks.items()}
    covered = sorted((place.start, place.stop) for group in places.values() for place in group)
    joined = all(left[1] == right[0] for left, right in pairwise(covered))
    if not covered or covered[0][0] != 0 or covered[-1][1] != products.size or not joined:
        raise LandscapeError(
            f"the blocks {covered[:4]} … do not cover 0 … {products.size} once: give every parameter to one block"
        )
    return products, BlockDiagonal(_Whole(Products(op)), places)


class _Largest:
    """Lanczos runs for λmax of every block, advanced together: one pass over the data a step."""

    def __init__(self, products: Products, diagonal: BlockDiagonal, tol: float, max_steps: int, seed: int) -> None:
        self.diagonal, self.max_steps = diagonal, max_steps
        self.device, self.dtype, self.size = products.device, products.dtype, products.size
        self.matvecs = self.passes = 0
        self.runs: dict[str, Lanczos] = {}
        self.goals: dict[str, Goal] = {}
        for number, (name, places) in enumerate(diagonal.blocks.items()):
            index = torch.cat([torch.arange(place.start, place.stop) for place in places])
            block = Products(Block(diagonal.op, index, f"{name} block of the {products.name}"))
            self.goals[name] = make_goal(
                block, k=1, which="LA", tol=tol, locked=0, block_size=1, max_basis=None, max_matvecs=None, verify=True
            )
            start = block.probes(seed + number, "gaussian").rows(0, 1)
            self.runs[name] = Lanczos(block, start, capacity=self.goals[name].max_basis, seed=seed + number)

    def run(self) -> None:
        """Advance every run until its residual estimate is half of what is allowed, its space ends, or the steps do."""
        unfinished = list(self.runs)
        with bar(total=self.max_steps, desc="largest eigenvalue of every layer", unit="pass") as progress:
            while unfinished and self.passes < self.max_steps:
                for name in unfinished:
                    self.goals[name].make_room(self.runs[name])
                applied = self._multiply({name: self.runs[name].candidates[0] for name in unfinished})
                for name in unfinished:
                    self.goals[name].absorb(self.runs[name], applied[name][None])
                unfinished = [name for name in unfinished if not self._done(name)]
                progress.update(1)

    def _done(self, name: str) -> bool:
        run = self.runs[name]
        values, _, residuals = run.ritz()
        return run.exhausted or self.goals[name].reached(run, values, residuals, 0.5)

    def measure(self) -> dict[str, tuple[float, float, bool]]:
        """Return (Rayleigh quotient, measured residual, converged) of each block, from one fresh pass."""
        vectors, norms, world = {}, {}, self.diagonal.world
        for name, run in self.runs.items():
            values, coefficients, _ = run.ritz()
            vectors[name] = run.vectors(coefficients[:, -1:])[0]
            norms[name] = float(np.abs(values).max())
        applied = self._multiply(vectors)
        found = {}
        for name, vector in vectors.items():
            value = float(world.dot(vector, applied[name]))
            residual = float(world.norm(applied[name].double() - value * vector.double()))
            excess = self.goals[name].excess(np.array([value]), np.array([residual]), norms[name])
            found[name] = (value, residual, bool(excess[0] <= 1))
        return found

    def _multiply(self, vectors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Multiply the given blocks by a vector each, in one pass."""
        some = BlockDiagonal(self.diagonal.op, {name: self.diagonal.blocks[name] for name in vectors})
        whole = torch.zeros(self.size, dtype=self.dtype, device=self.device)
        for name, vector in vectors.items():
            sizes = [place.stop - place.start for place in some.blocks[name]]
            for place, part in zip(some.blocks[name], vector.split(sizes), strict=True):
                whole[place] = part
        self.passes += 1
        self.matvecs += len(vectors)
        return some.by_block(some @ whole)


def _sample(
    products: Products, diagonal: BlockDiagonal, probes: int, missed_probes: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return z_b·(Az)_b of each probe and block (probes, blocks), and (‖Az − Dz‖², ‖Az‖²) of the first probes (m, 2).

    From P probes on, the unit vectors take their place, and the samples count P times, so that means are exact.
    """
    random, over_parts, dot = products.probes(seed, "rademacher"), products.world.over_parts, products.world.dot
    exact = probes >= products.size
    units = torch.eye(products.size, dtype=products.dtype, device=products.device) if exact else random.rows(0, 0)
    probes, missed_probes = (products.size, products.size) if exact else (probes, missed_probes)
    traces, missed = [], []
    with bar(total=probes, desc=f"trace of every layer of the {products.name}", unit="product") as progress:
        for start in range(0, probes, TOGETHER):
            stop = min(start + TOGETHER, probes)
            rows = units[start:stop] if exact else random.rows(start, stop)
            applied = products.rows(rows).double()
            parts = diagonal.by_block((rows.double() * applied).T)
            traces.append(host(over_parts(torch.stack([part.sum(0) for part in parts.values()], dim=1))))
            products.require_finite(traces[-1])
            for row, whole in zip(rows[: max(0, missed_probes - start)], applied, strict=False):
                outside = whole - (diagonal @ row).double()
                missed.append(host(torch.stack([dot(outside, outside), dot(whole, whole)])))
            progress.update(stop - start)
    return np.concatenate(traces) * (products.size if exact else 1), np.array(missed)


def _ratio(squares: np.ndarray) -> float:
    outside, whole = squares.mean(0)
    return float((outside / whole) ** 0.5) if whole else 0.0
