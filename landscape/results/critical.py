"""The result of asking whether a point is a minimum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from landscape.results.base import Result
from landscape.results.schema import printed


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class CriticalPoint(Result):
    """How close a point is to a critical point, and of which kind.

    Attributes:
        loss: L.
        gradient_norm: ‖g‖₂.
        noise_ratio: ‖g‖ / √(Tr C / n), the gradient in units of its own sampling noise; NaN where it is not defined.
        lambda_max: largest eigenvalue of the Hessian.
        lambda_max_error: measured residual; an eigenvalue lies within it. 0 where the whole spectrum was computed.
        lambda_min: smallest eigenvalue of the Hessian.
        lambda_min_error: measured residual.
        negative_mass: share of the spectrum's magnitude that is negative, Σ_{λ<0}|λ| / Σ|λ|.
        negative_mass_error: standard error over probes.
        critical: the gradient is within its sampling noise (ratio ≤ 1), or numerically zero.
        verdict: ``minimum``, ``saddle``, ``not critical`` or ``undecided``, in words.
        products: products with the Hessian.
        seed: of start vectors and probes.
    """

    kind: ClassVar[str] = "critical"
    location: ClassVar[str] = "checkpoints/{owner}/critical/{entry}"

    loss: float
    gradient_norm: float = field(metadata=printed("‖g‖"))
    noise_ratio: float = field(metadata=printed("‖g‖ / its sampling noise"))
    lambda_max: float = field(metadata=printed("largest eigenvalue"))
    lambda_max_error: float
    lambda_min: float = field(metadata=printed("smallest eigenvalue"))
    lambda_min_error: float
    negative_mass: float = field(metadata=printed("negative share of the spectrum", percent=2))
    negative_mass_error: float
    critical: bool = field(metadata=printed(hidden=True))
    verdict: str
    products: int
    seed: int = 0

    @property
    def curvature_ratio(self) -> float:
        """|λmin| / λmax, which Li et al. 2018 map over slices."""
        return abs(self.lambda_min) / self.lambda_max if self.lambda_max > 0 else float("inf")
