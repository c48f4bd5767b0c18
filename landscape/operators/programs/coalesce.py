"""Data of another size for the same function: small ones joined, ones that do not fit into memory cut."""

from __future__ import annotations

from landscape.errors import LandscapeError
from landscape.function.data import Data
from landscape.function.objective import Objective
from landscape.function.weighting import separable
from landscape.operators.programs.costs import Costs

# a graph of this size still has its values in cache on a CPU, and keeps a GPU busy
_TARGET_BYTES = {"cpu": 32 * 2**20, "cuda": 2 * 2**30}
_FEW = 4


def coalesced(objective: Objective, costs: Costs, budget: int) -> Data:
    """Return the data in batches whose graphs are as large as is useful and fit into the budget.

    Five batches of 256 as one: 1.6 gradients a product instead of 2.1 on an MLP (measured, CPU). Data stay as they are when
    they cannot be joined, when the loss of a batch depends on what else is in it, and in train mode.
    """
    batches = objective.batches
    largest, total = max(batch.size for batch in batches.stored), batches.n
    if objective.mode != "eval" or costs.example_bytes == 0 or batches.uncut:
        return batches
    room = min(_TARGET_BYTES.get(objective.device.type, 2**30), budget // 4)
    useful = int((room / 2 - costs.fixed_bytes) / costs.example_bytes)
    fits = int((budget / 4 - costs.fixed_bytes) / costs.example_bytes)
    if len(batches) > 1 and useful >= 2 * largest:
        parts = -(-total // useful)
    elif 1 <= fits < largest:
        parts = -(-total // fits)
    else:
        return batches
    try:
        if not _separable(objective):
            return batches
        mine = objective.mine  # other processes may keep their batches
        share = sum(b.scale for b in batches.stored) / sum(b.scale for b in mine.batches.stored)
        fresh = mine.rebatch(-(-total // parts)).batches
        return fresh.with_scales([batch.scale * share for batch in fresh.stored])
    except LandscapeError:  # batches of different shapes, or of things that cannot be joined or cut
        return batches


def _separable(objective: Objective) -> bool:
    """Whether a few examples of the data, from two batches where there are two, have the same loss together and apart."""
    sizes = [batch.size for batch in objective.batches.stored]
    second = sizes[0] if len(sizes) > 1 else sizes[0] // 2
    indices = [*range(min(_FEW, second)), *range(second, min(second + _FEW, sum(sizes)))]
    return separable(objective, objective.theta, objective.batches.regrouped(indices, len(indices))[0])
