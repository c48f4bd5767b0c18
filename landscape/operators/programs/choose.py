"""The choice of a program: a fixed cost model and a memory budget, so that the same call gives the same digits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from landscape.errors import LandscapeError
from landscape.operators.programs.kept import Kept
from landscape.operators.programs.memory import budget
from landscape.operators.programs.plan import Plan
from landscape.operators.programs.program import Program
from landscape.operators.programs.recompute import Recompute
from landscape.operators.programs.rule import Rule

if TYPE_CHECKING:
    from landscape.batches import Batches

Choice = Literal["auto", "kept", "split", "recompute"]


@dataclass(frozen=True)
class Settings:
    """What the user asked for, see `landscape.operators.curvature.Curvature`."""

    program: Choice = "auto"
    memory: float = 0.5
    tf32: bool = False

    def __post_init__(self) -> None:
        if self.program not in ("auto", "kept", "split", "recompute"):
            raise LandscapeError(f"program is {self.program!r}, expected 'auto', 'kept', 'split' or 'recompute'")


def prepare(rule: Rule, name: str, settings: Settings) -> tuple[Plan, Program, Batches]:
    """Choose a program, the batches it works on and how many of them keep their state."""
    objective = rule.objective
    batches = objective.batches
    program: Program = (Recompute if settings.program == "recompute" else Kept)(rule, objective.theta)
    plan = Plan(
        program=program.name,
        reason="asked for" if settings.program != "auto" else "the graph fits into memory",
        batches=len(batches),
        batch_size=max(batch.size for batch in batches.stored),
        kept=len(batches) if program.keeps else 0,
        kept_bytes=0,
        budget_bytes=budget(settings.memory, objective.device),
        chunk=64,
    )
    return plan, program, batches
