"""What the user asked of an operator, and its plan: what was chosen, why, and what it keeps in memory."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from landscape.errors import LandscapeError

Keep = Literal["auto", "fewest", "all"]
Choice = Literal["auto", "kept", "split", "recompute"]


@dataclass(frozen=True)
class Settings:
    """What the user asked for, see `landscape.operators.curvature.Curvature`."""

    program: Choice = "auto"
    memory: float = 0.5
    products: int = 100
    keep: Keep = "auto"
    coalesce: bool = True
    compile: bool = False
    tf32: bool = False
    check: bool | None = None

    def __post_init__(self) -> None:
        if self.program not in ("auto", "kept", "split", "recompute"):
            raise LandscapeError(f"program is {self.program!r}, expected 'auto', 'kept', 'split' or 'recompute'")
        if self.keep not in ("auto", "fewest", "all"):
            raise LandscapeError(f"keep is {self.keep!r}, expected 'auto', 'fewest' or 'all'")
        if self.compile and self.program in ("kept", "recompute"):
            raise LandscapeError(f"compile=True needs the split program, not program={self.program!r}")
        if self.products < 1:
            raise LandscapeError(f"products is {self.products}, expected the number of products to come, at least 1")


@dataclass(frozen=True)
class Plan:
    """How an operator computes its products.

    Attributes:
        program: ``kept``, ``split`` or ``recompute``.
        reason: Why, in words.
        batches: Batches after coalescing.
        batch_size: Largest number of examples in one of them.
        kept: Batches whose state stays in memory; the others are computed again for every product.
        kept_bytes: Bytes of all kept states, as estimated (``kept``) or counted (``split``).
        budget_bytes: Bytes that states and working memory may take.
        chunk: Vectors multiplied at a time.
        mapped: Whether the vectors of a chunk are mapped together (`torch.vmap`) or one after the other.
        compiled: Whether the split program went through the compiler.
        trace_seconds: Time to trace, cut and check; 0 without a trace.
        compile_seconds: Time to compile; 0 without.
        difference: How far a product is from a difference of gradients, relative to it, where they were compared.
    """

    program: str
    reason: str
    batches: int
    batch_size: int
    kept: int
    kept_bytes: int
    budget_bytes: int
    chunk: int
    mapped: bool = False
    compiled: bool = False
    trace_seconds: float = 0.0
    compile_seconds: float = 0.0
    difference: float | None = None

    def __str__(self) -> str:
        """Return the plan in one line.

        >>> print(Plan("kept", "few products", batches=3, batch_size=100, kept=3, kept_bytes=2**22, budget_bytes=2**33, chunk=8))
        kept (few products): 3 of 3 batches of at most 100 in memory, 4 of 8192 MiB; 8 vectors at a time
        """
        sizes = f"{self.kept_bytes / 2**20:.3g} of {self.budget_bytes / 2**20:.0f} MiB"
        how = ", compiled" if self.compiled else ""
        vectors = f"{self.chunk} vectors at a time" if self.chunk > 1 else "one vector at a time"
        return (
            f"{self.program}{how} ({self.reason}): {self.kept} of {self.batches} batches of at most {self.batch_size} in "
            f"memory, {sizes}; {vectors}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return what a result stores: everything but the times and the memory that happened to be free."""
        volatile = ("trace_seconds", "compile_seconds", "budget_bytes", "difference")
        return {key: value for key, value in asdict(self).items() if key not in volatile}
