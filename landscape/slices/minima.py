"""Minima, basins and merge tree of a slice by union–find over its cells in order of value."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from landscape.errors import LandscapeError
from landscape.results.slices import MergeNode, Minimum, Slice, Topology
from landscape.slices.reading import Surface, surface_of


def topology(
    surface: Slice | np.ndarray, *, metric: str = "loss", dataset: str | None = None, min_persistence: float = 0.0
) -> Topology:
    r"""Find the minima of a slice, how deep each is, and how their basins merge as the level rises.

    Cells join their neighbours along the axes (4-connected on a plane) in order of value. When two components meet at a
    saddle, the one with the higher minimum ends there (the elder rule): its persistence is saddle − minimum. The mean
    depth of the merge tree's leaves is

    .. math:: \mathrm{SMAD} = \frac{1}{|S|} \sum_{(s, m) \in S} |f(s) - f(m)|

    over the edges S that join a saddle s to a minimum m. All of it holds for this window and resolution only; minima on
    the rim are flagged, because the surface may fall further outside. On sub-sampled data set ``min_persistence`` to a
    few standard errors, or noise will look like minima.

    Args:
        surface: a line, plane or volume, or a plain array.
        metric: which values.
        dataset: of which data set; `None`: the slice's own.
        min_persistence: leave out minima that are not deeper than this.

    Raises:
        LandscapeError: a negative persistence, or no finite values.

    Source: Edelsbrunner & Harer 2010, "Computational Topology", chapter VII; SMAD: Xie et al. 2024, arXiv 2411.09807.

    >>> found = topology(np.array([3.0, 1.0, 2.0, 0.0, 5.0]))
    >>> [(m.value, m.persistence, m.boundary) for m in found.minima]
    [(0.0, inf, False), (1.0, 1.0, False)]
    >>> found.smad  # gaps 2 − 0 and 2 − 1
    1.5
    """
    started = time.perf_counter()
    if not min_persistence >= 0:
        raise LandscapeError(f"min_persistence is {min_persistence}, expected at least 0")
    grid = surface_of(surface, metric, dataset)
    flat = grid.values.reshape(-1)
    forest = _sweep(grid, min_persistence)
    shares = _basin_shares(grid, forest)
    minima = sorted((_minimum(grid, cell, forest, shares[cell]) for cell in forest.leaves), key=lambda m: m.value)
    gaps = np.array([abs(flat[saddle] - flat[cell]) for cell, saddle in forest.first_saddle.items()])
    weights = np.array([shares[cell] for cell in forest.first_saddle])
    finite = flat[np.isfinite(flat)]
    spread = float(finite.max() - finite.min())
    smad = float(gaps.mean()) if gaps.size else float("nan")
    return Topology(
        minima=tuple(minima),
        tree=tuple(forest.nodes),
        smad=smad,
        smad_normalised=smad / spread if spread > 0 else float("nan"),
        smad_weighted=float((gaps * weights).mean()) if gaps.size else float("nan"),
        min_persistence=float(min_persistence),
        metric=grid.metric,
        window=grid.window,
        resolution=grid.resolution,
        masked=grid.masked,
        provenance=surface.provenance if isinstance(surface, Slice) else {},
        seconds=time.perf_counter() - started,
    )


def basins(surface: Slice | np.ndarray, *, metric: str = "loss", dataset: str | None = None) -> np.ndarray:
    """Return for each cell the flat index of the minimum that steepest descent over neighbours ends in; −1 if masked.

    >>> basins(np.array([3.0, 1.0, 2.0, 0.0, 5.0]))
    array([1, 1, 3, 3, 3])
    """
    grid = surface_of(surface, metric, dataset)
    return _descend(grid).reshape(grid.values.shape)


@dataclass
class _Forest:
    """What the sweep gathers.

    Attributes:
        leaves: minima by cell, with the saddle where each ends (−1 for the lowest).
        first_saddle: the first saddle at which each minimum's component joins another that counts.
        nodes: the merge tree, parents filled in as they appear.
    """

    leaves: dict[int, int] = field(default_factory=dict)
    first_saddle: dict[int, int] = field(default_factory=dict)
    nodes: list[MergeNode] = field(default_factory=list)


def _sweep(grid: Surface, min_persistence: float) -> _Forest:
    """Add cells in order of value and watch components appear and meet."""
    flat = grid.values.reshape(-1)
    order = np.argsort(flat, kind="stable")
    order = order[np.isfinite(flat[order])]
    values, neighbours = flat.tolist(), _neighbours(grid.values.shape).tolist()
    parent: list[int] = [-1] * len(values)  # −1: not there yet
    lowest: dict[int, int] = {}  # component → its minimum
    merges: list[tuple[int, int, list[int]]] = []  # saddle, surviving minimum, minima that end there
    for cell in order.tolist():
        roots = set()
        for other in neighbours[cell]:
            if other >= 0 and parent[other] >= 0:
                while parent[other] != other:
                    parent[other] = parent[parent[other]]
                    other = parent[other]
                roots.add(other)
        if not roots:
            parent[cell], lowest[cell] = cell, cell
            continue
        elder, *younger = sorted(roots, key=lambda root: (values[lowest[root]], lowest[root]))
        ended = [lowest[root] for root in younger if values[cell] - values[lowest[root]] > min_persistence]
        if ended:
            merges.append((cell, lowest[elder], ended))
        for root in younger:
            parent[root] = elder
        parent[cell] = elder
    survivors = {lowest[root] for root in lowest if parent[root] == root}
    return _tree(flat, merges, survivors)


def _tree(flat: np.ndarray, merges: list[tuple[int, int, list[int]]], survivors: set[int]) -> _Forest:
    """Turn merges, in order of level, into the tree."""
    forest = _Forest(leaves=dict.fromkeys(survivors, -1))
    for saddle, _, ended in merges:
        forest.leaves.update(dict.fromkeys(ended, saddle))
    forest.nodes = [MergeNode(cell, float(flat[cell]), -1, True) for cell in forest.leaves]
    top = {node.cell: row for row, node in enumerate(forest.nodes)}  # minimum → topmost node of its component
    for saddle, survivor, ended in merges:
        row = len(forest.nodes)
        forest.nodes.append(MergeNode(saddle, float(flat[saddle]), -1, False))
        for cell in (survivor, *ended):
            below = forest.nodes[top[cell]]
            forest.nodes[top[cell]] = MergeNode(below.cell, below.value, row, below.is_minimum)
            forest.first_saddle.setdefault(cell, saddle)
            top[cell] = row
    return forest


def _minimum(grid: Surface, cell: int, forest: _Forest, share: float) -> Minimum:
    flat, end = grid.values.reshape(-1), forest.leaves[cell]
    value, saddle = float(flat[cell]), float("inf") if end < 0 else float(flat[end])
    place = np.unravel_index(cell, grid.values.shape)
    x, y, z = (*(float(axis[i]) for axis, i in zip(grid.axes, reversed(place), strict=True)), None, None)[:3]
    assert x is not None
    rim = any(i in (0, n - 1) for i, n in zip(place, grid.values.shape, strict=True))
    return Minimum(x, y, z, value, saddle, saddle - value, share, rim)


def _basin_shares(grid: Surface, forest: _Forest) -> dict[int, float]:
    """Return the share of the finite cells that flow into each minimum; shallow ones pass theirs on at their saddle."""
    ends = _descend(grid)
    cells, counts = np.unique(ends[ends >= 0], return_counts=True)
    shares = dict.fromkeys(forest.leaves, 0.0)
    kept = np.array(sorted(forest.leaves))
    places = np.stack(np.unravel_index(kept, grid.values.shape), axis=1)
    for cell, count in zip(cells.tolist(), (counts / counts.sum()).tolist(), strict=True):
        if cell not in shares:  # left out as noise: its cells count for the nearest minimum that is kept
            here = np.array(np.unravel_index(cell, grid.values.shape))
            cell = int(kept[np.abs(places - here).sum(1).argmin()])
        shares[cell] += count
    return shares


def _descend(grid: Surface) -> np.ndarray:
    """Return the flat index at which steepest descent from each cell ends, −1 for masked cells."""
    flat = grid.values.reshape(-1)
    finite = np.isfinite(flat)
    rank = np.empty(flat.size, dtype=np.int64)
    rank[np.argsort(np.where(finite, flat, np.inf), kind="stable")] = np.arange(flat.size)
    neighbours = _neighbours(grid.values.shape)
    candidates = np.concatenate([np.arange(flat.size)[:, None], neighbours], axis=1)
    ranks = np.where((candidates >= 0) & finite[candidates], rank[candidates], flat.size)
    step = candidates[np.arange(flat.size), ranks.argmin(1)]
    while True:
        further = step[step]
        if np.array_equal(further, step):
            return np.where(finite, step, -1)
        step = further


def _neighbours(shape: tuple[int, ...]) -> np.ndarray:
    """Return the flat indices of each cell's neighbours along the axes, (cells, 2·dimensions); −1 beyond the rim."""
    index = np.arange(np.prod(shape)).reshape(shape)
    padded = np.pad(index, 1, constant_values=-1)
    inner = tuple(slice(1, -1) for _ in shape)
    found = [np.roll(padded, shift, axis)[inner].reshape(-1) for axis in range(len(shape)) for shift in (1, -1)]
    return np.stack(found, axis=1)
