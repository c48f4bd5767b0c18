"""The result of asking whether a point is a minimum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from landscape.results.base import Result
from landscape.results.numbers import Measured, duration, number_text


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
    gradient_norm: float
    noise_ratio: float
    lambda_max: float
    lambda_max_error: float
    lambda_min: float
    lambda_min_error: float
    negative_mass: float
    negative_mass_error: float
    critical: bool
    verdict: str
    products: int
    seed: int = 0

    @property
    def curvature_ratio(self) -> float:
        """|λmin| / λmax, which Li et al. 2018 map over slices."""
        return abs(self.lambda_min) / self.lambda_max if self.lambda_max > 0 else float("inf")

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield the verdict, then the numbers it rests on."""
        yield "verdict", self.verdict
        yield "loss", f"{self.loss:.4g}"
        yield "gradient", f"{self.gradient_norm:.3g}, {self.noise_ratio:.2g} of its sampling noise"
        low = number_text(Measured(self.lambda_min, self.lambda_min_error))
        high = number_text(Measured(self.lambda_max, self.lambda_max_error))
        exact = "" if self.lambda_max_error > 0 or self.lambda_min_error > 0 else " (whole spectrum)"
        yield "eigenvalues", f"{low} to {high}{exact}"
        error = f" ± {self.negative_mass_error:.1%}" if self.negative_mass_error > 0 else ""
        yield "negative share of the spectrum", f"{self.negative_mass:.2%}{error}"
        yield "cost", f"{self.products} products, {duration(self.seconds)}"
