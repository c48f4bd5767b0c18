"""The choice of a program: a fixed cost model and a memory budget, so that the same call gives the same digits."""

from __future__ import annotations

from dataclasses import dataclass, replace

from landscape.errors import LandscapeError
from landscape.function.batches import Batch
from landscape.function.data import Data
from landscape.function.memory import budget
from landscape.function.objective import Objective
from landscape.function.weighting import separable
from landscape.graphs import TraceError
from landscape.operators.programs.costs import Costs, measure
from landscape.operators.programs.plan import Choice, Plan, Settings
from landscape.operators.programs.program import Kept, Program, Recompute, Rule
from landscape.operators.programs.split import Compiled, Split

MOST_VECTORS = 64
"""Vectors multiplied at a time at most."""

# a graph of this size still has its values in cache on a CPU, and keeps a GPU busy
_TARGET_BYTES = {"cpu": 32 * 2**20, "cuda": 2 * 2**30}
_FEW = 4

# gradients per product, (dense, convolutional), measured on a CPU; kept graphs lose on convolutions and norm layers
_KEPT, _SPLIT, _BUILD, _RECOMPUTE = (2.0, 2.8), (2.0, 2.2), 1.2, (3.1, 3.3)


@dataclass(frozen=True)
class Prepared:
    """A plan with what it takes to follow it."""

    plan: Plan
    program: Program
    batches: Data


def prepare(rule: Rule, settings: Settings) -> Prepared:
    """Choose a program, the batches it works on and how many of them keep their state. Use inside the objective's guard.

    Raises:
        TraceError: The split program was asked for and the network cannot be traced.
    """
    objective, world = rule.objective, rule.objective.world
    if world.sharded:  # every process must call the network as often as the others
        frugal: Choice = "recompute" if settings.program == "recompute" else "kept"
        settings = replace(settings, program=frugal, coalesce=False, compile=False)
    available = budget(settings.memory, objective.device)
    costs = measure(objective, objective.batches[0])
    batches = coalesced(objective, costs, available) if settings.coalesce else objective.batches
    chosen, reason = settings.program, "asked for"
    first = rule.dress(batches[0].rescaled(1.0), ())
    if chosen == "auto" and settings.compile:
        chosen, reason = "split", "compiled"
    elif chosen == "auto":
        chosen, reason = _cheaper(objective, costs, settings, available)
    try:
        program = _make(chosen, rule, settings, batches, first)
    except TraceError as error:
        if settings.program == "split" and not objective.nested:
            raise
        program, reason = Kept(rule, objective.theta), f"{reason}, but {error}"
    traced = program.trace(first) if isinstance(program, Split) else None
    example_bytes = (traced.kept_bytes if traced else costs.graph(first.size)) / first.size
    plan = _plan(program, reason, batches, available, costs, example_bytes)
    if world.sharded:
        kept, chunk = (min(numbers) for numbers in zip(*world.exchange((plan.kept, plan.chunk)), strict=True))
        plan = replace(plan, kept=kept, chunk=chunk)
    return Prepared(plan, program, batches)


def _make(choice: Choice, rule: Rule, settings: Settings, batches: Data, first: Batch) -> Program:
    """Make a program; one that is traced is traced here, so that a failure shows."""
    theta = rule.objective.theta
    if choice == "recompute":
        return Recompute(rule, theta)
    if choice == "split" and rule.objective.nested:
        raise TraceError("the loss takes derivatives itself")
    if choice != "split":
        return Kept(rule, theta)
    generous = budget(settings.memory, theta.device) / 4 / len(batches)
    room = {"auto": generous, "fewest": 0.0, "all": float("inf")}[settings.keep]
    split = (Compiled if settings.compile else Split)(rule, theta, room=room, batches=batches)
    split.trace(first)
    return split


def _cheaper(objective: Objective, costs: Costs, settings: Settings, available: int) -> tuple[Choice, str]:
    """Compare the gradients that all products take by each program, tracing included."""
    conv = int(costs.convolutional > 0.5)

    def gradients(each: float, state: int) -> float:
        kept = min(1.0, available / state) if state else 1.0
        return each + (1 - kept) * _BUILD

    n = objective.batches.n
    kept, split = (gradients(each[conv], state) for each, state in ((_KEPT, costs.graph(n)), (_SPLIT, costs.split(n))))
    if _RECOMPUTE[conv] < min(kept, split):
        return "recompute", "too little memory for states to pay"
    saved = kept - split
    seconds = settings.products * saved * costs.gradient_seconds(n)
    if seconds > costs.trace_seconds:
        return "split", f"saves about {saved:.1f} gradients per product, {settings.products} products are expected"
    if saved > 0:
        return "kept", f"tracing would not pay within {settings.products} products"
    return "kept", "a kept graph costs no more than a split program here"


def _plan(
    program: Program,
    reason: str,
    batches: Data,
    available: int,
    costs: Costs,
    example_bytes: float,
) -> Plan:
    """Say how many batches keep their state, and how many vectors go together."""
    sizes = [batch.size for batch in batches.stored]
    working = costs.saved(max(sizes))  # what one product holds besides the states
    kept, kept_bytes = 0, 0.0
    for size in sizes if program.keeps else ():
        if kept_bytes + size * example_bytes + working > available:
            break
        kept, kept_bytes = kept + 1, kept_bytes + size * example_bytes
    mapped = program.mapped()
    # a vector in a chunk takes its product and a copy, and the working memory too where vectors go together
    each = 16 * len(program.theta) + (2 * working if mapped else 0)
    return Plan(
        program=program.name,
        reason=reason,
        batches=len(batches),
        batch_size=max(sizes),
        kept=kept,
        kept_bytes=int(kept_bytes),
        budget_bytes=available,
        chunk=min(MOST_VECTORS, max(1, int((available - kept_bytes) // (2 * each)))),
        mapped=mapped,
        compiled=program.compiled,
        trace_seconds=program.trace_seconds,
        compile_seconds=program.compile_seconds,
    )


def coalesced(objective: Objective, costs: Costs, budget: int) -> Data:
    """Return the data in batches whose graphs are as large as is useful and fit into the budget.

    Five batches of 256 as one: 1.6 gradients per product instead of 2.1 on an MLP (measured, CPU). Data stay as they are when
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
