"""Merge trees: where the basins of a slice meet as the level rises."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from landscape.errors import LandscapeError
from landscape.plots.scales import logarithmic
from landscape.plots.style import GREY, PALETTE, canvas, entry, legend
from landscape.results import Minimum, Topology

LARGEST = 9.0
"""Size of the marker of a minimum that all cells flow to; the area is proportional to the share."""


def merge_tree(result: Topology, ax: Axes | None = None, *, log: bool | None = None, most: int = 30) -> Axes:
    """Draw the merge tree of a slice: a stem from each minimum up to the saddle where its basin joins another.

    The height is the value, so the length of a stem that ends is the persistence of its minimum. The area of a marker is
    the share of the window that flows to the minimum; minima on the rim of the window are open.

    Args:
        result: minima and tree.
        log: logarithmic heights; `None`: when all values are positive and span a factor of 30 or more.
        most: leaves drawn; of a larger tree the most persistent ones.

    Raises:
        LandscapeError: fewer than one leaf asked for, or logarithmic heights of values that are not positive.

    >>> from matplotlib.figure import Figure
    >>> from landscape.results import MergeNode, Minimum
    >>> minima = (Minimum(3, None, None, 0.0, np.inf, np.inf, 0.6, False), Minimum(1, None, None, 1.0, 2.0, 1.0, 0.4, True))
    >>> tree = (MergeNode(3, 0.0, 2, True), MergeNode(1, 1.0, 2, True), MergeNode(2, 2.0, -1, False))
    >>> found = Topology(minima=minima, tree=tree, smad=1.5, smad_normalised=0.3, smad_weighted=0.8, min_persistence=0.0,
    ...     metric="loss", window=((0.0, 4.0),), resolution=(5,))
    >>> merge_tree(found, Figure().add_subplot()).get_ylabel()
    'loss'
    """
    if most < 1:
        raise LandscapeError(f"most={most}; at least one leaf is needed")
    on_log = logarithmic(np.array([node.value for node in result.tree]), log, 30)
    minima = _minima(result)
    shown = sorted(minima, key=lambda row: -minima[row].persistence)[:most]
    places, below = _layout(result, shown)
    own = ax is None
    with canvas(ax) as ax:
        for row, place in places.items():
            node = result.tree[row]
            if node.parent >= 0:
                ax.plot([place, place], [node.value, result.tree[node.parent].value], color=GREY, linewidth=0.9)
            if len(below[row]) > 1:
                across = [places[child] for child in below[row]]
                ax.plot([min(across), max(across)], [node.value, node.value], color=GREY, linewidth=0.9)
        kinds = {False: ("minimum (area: its basin)", PALETTE[0]), True: ("minimum on the rim", "white")}
        dot: dict[str, Any] = {"color": PALETTE[0], "marker": "o", "linestyle": "none"}
        for row in shown:
            size, (_, face) = LARGEST * float(np.sqrt(minima[row].basin_share)), kinds[minima[row].boundary]
            ax.plot(
                places[row],
                result.tree[row].value,
                markersize=max(2.0, size),
                zorder=3,
                clip_on=False,
                markerfacecolor=face,
                **dot,
            )
        if on_log:
            ax.set_yscale("log")
        left_out = len(minima) - len(shown)
        count = f"{len(minima)} {'minimum' if len(minima) == 1 else 'minima'}"
        ax.set_xlabel(count + (f", {left_out} shallower ones left out" if left_out else ""))
        ax.set_ylabel(result.metric.replace("/", " "))
        ax.set_xticks([])
        ax.set_xlim(-0.6, len(shown) - 0.4)
        ax.spines["bottom"].set_visible(False)
        told = [kinds[rim] for rim in sorted({minima[row].boundary for row in shown})]
        legend(ax, [entry(label, markerfacecolor=face, **dot) for label, face in told], own=own)
    return ax


def _minima(result: Topology) -> dict[int, Minimum]:
    """Return the minimum at each leaf, by row of the tree: both lists are in the same order among equal values."""
    leaves = [row for row, node in enumerate(result.tree) if node.is_minimum]
    leaves.sort(key=lambda row: result.tree[row].value)
    return dict(zip(leaves, result.minima, strict=True))


def _layout(result: Topology, shown: list[int]) -> tuple[dict[int, float], dict[int, list[int]]]:
    """Return the horizontal place of every row above a shown leaf, and its rows below, so that no stems cross."""
    below: dict[int, list[int]] = {}
    leaves: dict[int, list[int]] = {row: [row] for row in shown}
    for row, node in enumerate(result.tree):  # rows below come first
        below.setdefault(row, []).sort(key=lambda child: min(result.tree[leaf].value for leaf in leaves[child]))
        if below[row]:
            leaves[row] = [leaf for child in below[row] for leaf in leaves[child]]
        if node.parent >= 0 and row in leaves:
            below.setdefault(node.parent, []).append(row)
    roots = [row for row, node in enumerate(result.tree) if node.parent < 0 and row in leaves]
    order = [leaf for root in roots for leaf in leaves[root]]
    places = {leaf: float(place) for place, leaf in enumerate(order)}
    for row in range(len(result.tree)):
        if row in leaves and row not in places:
            places[row] = float(np.mean([places[child] for child in below[row]]))
    return places, below
