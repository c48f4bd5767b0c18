"""Results about curvature short of a spectrum: a diagonal, layers, a critical point, what a sample says of all the data."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.schema import array, curvature, describe, printed, rows
from landscape.results.tabulate import aligned_table
from landscape.tables import Measured, Table, cell, duration

QUANTILES = {"smallest": 0.0, "5 %": 0.05, "25 %": 0.25, "median": 0.5, "75 %": 0.75, "95 %": 0.95, "largest": 1.0}
"""The entries of a diagonal that its table shows."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Diagonal(Result):
    """The diagonal of an operator, entry by entry, with standard errors.

    Attributes:
        values: (P,) the entries.
        standard_errors: (P,) their standard errors over the probes; 0 when exact.
        operator: what was multiplied.
        method: ``hutchinson``, ``xdiag`` or ``exact``.
        matvecs: products used.
        error_kind: ``standard``, ``heuristic`` or ``exact``.
        seed: seed of the probes.
    """

    kind: ClassVar[str] = "diagonal"
    location: ClassVar[str] = "checkpoints/{owner}/diagonals/{entry}"

    values: np.ndarray = curvature("P", long_name="diagonal entry")
    standard_errors: np.ndarray = curvature("P", long_name="standard error")
    operator: str
    method: str
    matvecs: int
    error_kind: str = "standard"
    seed: int = 0

    def tables(self) -> tuple[Table, ...]:
        """Return the smallest, the median, the largest entry and quantiles between, each ± its standard error."""
        order = np.argsort(self.values)
        places = {name: int(order[round(share * (order.size - 1))]) for name, share in QUANTILES.items() if order.size}
        values, errors = self.values, self.standard_errors
        body = [(name, i, Measured(float(values[i]), float(errors[i]))) for name, i in places.items()]
        return (Table(self.title, ("quantile", "parameter", "entry ± s.e."), tuple(body)),)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield the entries, their errors and the cost."""
        yield "entries", f"{describe(self.values)}, {int((self.values < 0).sum())} negative"
        yield "errors", f"{describe(self.standard_errors)} ({self.error_kind})"
        yield "method", f"{self.method} on {self.operator}"
        yield "cost", f"{self.matvecs} products, {duration(self.seconds)}"


@dataclass(frozen=True)
class LayerRow:
    """The curvature of one layer: of the diagonal block of its parameters.

    Attributes:
        name: of the layer.
        parameters: size of the block.
        lambda_max: largest eigenvalue of the block, a Rayleigh quotient; never above that of the whole operator.
        residual: measured ‖Av − λv‖ in the block; an eigenvalue of the block lies within it.
        trace: trace of the block.
        trace_error: its standard error over the probes.
        share: the block's trace over the whole trace.
        share_error: its standard error over the probes.
    """

    name: str = field(metadata=printed("layer"))
    parameters: int
    lambda_max: float = field(metadata=printed("λmax ± residual", error="residual"))
    residual: float
    trace: float = field(metadata=printed("trace ± s.e."))
    trace_error: float
    share: float = field(metadata=printed("share of the trace", percent=1))
    share_error: float


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Layers(Result):
    """Curvature layer by layer, and how much of the operator lies between layers.

    Attributes:
        rows: one per layer, in the operator's order.
        missed: ‖A − D‖_F / ‖A‖_F with D the block diagonal: what ‖Av − Dv‖ / ‖Av‖ is for a random v.
        missed_error: its standard error over the probes.
        operator: what was multiplied.
        tol: the relative residual asked for of each λmax.
        converged: whether every layer reached it.
        message: which layers did not, and what to do.
        probes: random probes of the traces; 0 when every unit vector was multiplied.
        matvecs: vectors multiplied, one per layer in each product with the block diagonal.
        passes: passes over the data that these took.
        seed: seed of start vectors and probes.
    """

    kind: ClassVar[str] = "layers"
    location: ClassVar[str] = "checkpoints/{owner}/layers/{entry}"

    rows: tuple[LayerRow, ...] = rows(LayerRow, dim="layer", title="layers")
    missed: float = field(metadata=printed("missed by the block diagonal", percent=1))
    missed_error: float
    operator: str
    tol: float
    converged: bool
    message: str = ""
    probes: int
    matvecs: int
    passes: int = field(metadata=printed("passes over the data"))
    seed: int = 0


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


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SamplingError(Result):
    """How far eigenvalues and trace on n examples are from those on all the data, and in which direction.

    Attributes:
        values: (k,) eigenvalues on the sample, the largest first.
        standard_errors: (k,) their bootstrap standard errors over groups of examples.
        bootstrap: (draws, k) the eigenvalues of the resampled groups.
        trace: estimate of the trace on the sample.
        trace_error: its standard error from the choice of examples.
        trace_probe_error: its standard error from the random probes, to be added in quadrature.
        subset_sizes: (s,) sizes of the subsets that the largest eigenvalue was computed on.
        subset_means: (s,) its mean over disjoint subsets of each size.
        bias: by how much the largest eigenvalue on the sample is expected to exceed that on all the data.
        bias_error: its standard error over subsets; heuristic, as the subsets share the sample's eigenvector.
        n: examples in the sample.
        population: examples in the data set; 0 for a distribution, an unlimited one.
        groups: groups of examples that were resampled.
        tol: relative error that was asked for.
        enough: whether error and bias of the largest eigenvalue and error of the trace are below it.
        needed: about how many examples would be enough.
        verdict: the same in words.
        operator: what was multiplied.
        seed: seed of the groups, the probes and the bootstrap.
    """

    kind: ClassVar[str] = "sampling"
    location: ClassVar[str] = "checkpoints/{owner}/sampling/{entry}"
    index: ClassVar[str] = "rank"

    values: np.ndarray = curvature(
        "k", long_name="eigenvalue on the sample", title="eigenvalue ± s.e.", error="standard_errors"
    )
    standard_errors: np.ndarray = curvature("k", long_name="sampling standard error")
    bootstrap: np.ndarray = curvature("draw", "k", long_name="resampled eigenvalue")
    trace: float
    trace_error: float
    trace_probe_error: float
    subset_sizes: np.ndarray = array("subset", long_name="examples in a subset")
    subset_means: np.ndarray = curvature("subset", long_name="mean largest eigenvalue over disjoint subsets")
    bias: float
    bias_error: float
    n: int
    population: int = 0
    groups: int
    tol: float
    enough: bool
    needed: int
    verdict: str
    operator: str
    seed: int = 0

    @property
    def extrapolated(self) -> float:
        """The largest eigenvalue expected on all the data: that of the sample less its bias."""
        return float(self.values[0]) - self.bias

    def tables(self) -> tuple[Table, ...]:
        """Return one row per eigenvalue: ± its sampling error, absolute and relative."""
        with np.errstate(divide="ignore", invalid="ignore"):
            relative = np.where(self.values == 0, np.nan, self.standard_errors / np.abs(self.values))
        return (aligned_table(self, **{"relative error": [f"{x:.1%}" if x == x else None for x in relative]}),)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield the verdict, then the numbers it rests on."""
        yield "verdict", self.verdict
        pairs = zip(self.values, self.standard_errors, strict=True)
        yield "eigenvalues", ", ".join(cell(value, error) for value, error in pairs)
        yield "largest on all the data", f"{self.extrapolated:.4g} (bias {cell(self.bias, self.bias_error)})"
        yield "trace", f"{cell(self.trace, self.trace_error)} (examples) ± {self.trace_probe_error:.2g} (probes)"
        means = sorted(zip(self.subset_sizes.tolist(), self.subset_means.tolist(), strict=True))
        yield "largest on subsets", ", ".join(f"{value:.4g} on {size}" for size, value in means)
        yield "sample", f"{self.n} of {self.population or 'unlimited'} examples in {self.groups} groups"
        yield "operator", self.operator
        yield "time", duration(self.seconds)
