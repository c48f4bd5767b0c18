"""Which values to keep between the two parts of a split program: a minimum cut on bytes.

Every value of the first part that the second part needs is either kept, or computed again from values that are. Keeping costs
its bytes; computing again is allowed for cheap operations only and costs nothing here. The cheapest choice is a minimum
cut: each value is an arc from its *made* to its *at hand* side with its bytes as capacity; operations that may
not run twice are made at the source, values the second part uses are wanted at the sink.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow
from torch import fx

from landscape.graphs.trace import is_cheap, is_view, size_of, storage_of


def everything(wanted: Iterable[fx.Node]) -> list[fx.Node]:
    """Keep every value that the second part uses, each storage once."""
    return list(dict.fromkeys(storage_of(node) for node in wanted))


def fewest_bytes(candidates: list[fx.Node], wanted: Iterable[fx.Node], free: set[fx.Node]) -> list[fx.Node]:
    """Choose what to keep so that the kept bytes are smallest.

    Args:
        candidates: The nodes of the first part, in order.
        wanted: Those of them whose values the second part uses.
        free: Inputs, which are at hand anyway.

    Returns:
        The nodes to keep, in the order of the graph.
    """
    index = {node: i for i, node in enumerate(n for n in candidates if n not in free)}
    if not index:
        return []
    source, sink = 2 * len(index), 2 * len(index) + 1
    unit = max(1, sum(size_of(n) for n in index) // 2**29)  # capacities are 32-bit integers
    unbounded = 2**30
    arcs: dict[tuple[int, int], int] = {}
    for node, i in index.items():
        keepable = size_of(node) > 0 and not is_view(node)
        arcs[2 * i, 2 * i + 1] = -(-size_of(node) // unit) if keepable else unbounded
        if not is_cheap(node):
            arcs[source, 2 * i] = unbounded
        for user in node.users:
            if user in index:
                arcs[2 * i + 1, 2 * index[user]] = unbounded
    for node in wanted:
        if node in index:
            arcs[2 * index[node] + 1, sink] = unbounded
    at_hand = _sink_side(arcs, source, sink)
    return [node for node, i in index.items() if not at_hand[2 * i] and at_hand[2 * i + 1]]


def _sink_side(arcs: dict[tuple[int, int], int], source: int, sink: int) -> np.ndarray:
    """Vertices on the sink's side of the minimum cut nearest to the sink: of equal cuts, the one that computes least again."""
    rows, columns = np.array(list(arcs), dtype=np.int32).reshape(-1, 2).T
    capacity = csr_array((np.array(list(arcs.values()), dtype=np.int32), (rows, columns)), shape=(sink + 1, sink + 1))
    flow = maximum_flow(capacity, source, sink).flow
    residual = (capacity - flow).tocsr()
    residual.eliminate_zeros()
    reached = breadth_first_order(residual.T.tocsr(), sink, return_predecessors=False)
    side = np.zeros(sink + 1, dtype=bool)
    side[reached] = True
    return side
