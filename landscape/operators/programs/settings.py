"""What the user asked of an operator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

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
    tune: bool = False
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
