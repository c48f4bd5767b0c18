"""Results about the eigenvalues of an operator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.signal import find_peaks

from landscape.lazy import verb
from landscape.results.base import Result
from landscape.results.schema import array, curvature, describe
from landscape.results.tabulate import aligned_table
from landscape.tables import Cell, Measured, Table, cell, duration, number_text


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Eigenpairs(Result):
    """Eigenvalues and eigenvectors with measured residuals.

    Attributes:
        values: (k,) Rayleigh quotients, in the order asked for.
        residuals: (k,) measured ‖Av − λv‖₂ of each unit vector; an eigenvalue of A lies within that distance of λ.
        vectors: (k, P) unit eigenvectors, one per row.
        gaps: (k,) distance to the nearest other Ritz interval; NaN where intervals overlap.
        history: (checks,) largest relative residual estimate among the wanted pairs after each block of products.
        history_matvecs: (checks,) products spent by then.
        operator: what was multiplied: ``hessian``, ``gauss-newton`` …
        which: ``LA``, ``SA``, ``LM`` or ``BE``, as in SciPy.
        tol: the relative residual asked for.
        matvecs: products used, those that measured the residuals included.
        converged: every residual ≤ tol·|λ|, or below the rounding level of the products.
        verified: whether the residuals come from fresh products rather than from the recurrence.
        message: what happened, and what to do when it did not converge.
        block_size: vectors multiplied at a time.
        max_basis: the largest number of vectors kept.
        restarts: thick restarts made.
        seed: seed of the start vector.
        certificate: what is known of eigenvalues beyond λ_k that are not here: ``residuals``, nothing; ``checked``, a few
            products from a fresh random start found none; ``certified``, as many as the probability asked for took;
            ``complete``, the whole space was spanned.
        check_matvecs: products of that search, which `matvecs` includes.
        margin: ε of the search: it looks for eigenvalues beyond λ_k by more than ε·|λ_k|.
        missed_probability: at most so probably would the search have found no more than it did, were there such an
            eigenvalue; NaN where none was made.
        check_message: what stopped the search before its end.
    """

    kind: ClassVar[str] = "eigenpairs"
    location: ClassVar[str] = "checkpoints/{owner}/eigen/{entry}"
    index: ClassVar[str] = "rank"
    note: ClassVar[str] = "± is the measured residual ‖Av − λv‖."

    values: np.ndarray = curvature("k", long_name="eigenvalue", title="eigenvalue ± residual", error="residuals")
    residuals: np.ndarray = curvature("k", long_name="measured residual norm")
    vectors: np.ndarray | None = array("k", "P", long_name="unit eigenvectors, one per row", optional=True)
    gaps: np.ndarray | None = curvature(
        "k", long_name="distance to the nearest other Ritz interval", optional=True, title="gap"
    )
    history: np.ndarray | None = array("check", long_name="largest relative residual", optional=True)
    history_matvecs: np.ndarray | None = array("check", long_name="products spent", optional=True)
    operator: str
    which: str
    tol: float
    matvecs: int
    converged: bool
    verified: bool = True
    message: str = ""
    block_size: int = 1
    max_basis: int = 0
    restarts: int = 0
    seed: int = 0
    certificate: str = "residuals"
    check_matvecs: int = 0
    margin: float = float("nan")
    missed_probability: float = float("nan")
    check_message: str = ""

    @property
    def gap_bounds(self) -> np.ndarray:
        """(k,) residual² / gap, the Kato–Temple bound on |λ − λ*|; NaN where no gap exceeds the residual.

        The residual itself always bounds the distance to *some* eigenvalue. This bound is quadratically smaller and
        holds when the Ritz values missed no eigenvalue inside the gap, which no Krylov method can exclude.
        """
        if self.gaps is None:
            return np.full_like(self.residuals, np.nan)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(self.gaps > self.residuals, self.residuals**2 / self.gaps, np.nan)

    @property
    def title(self) -> str:
        """What was multiplied, and which end of its spectrum this is."""
        return f"Eigenvalues of the {self.operator} ({self.which})"

    def tables(self) -> tuple[Table, ...]:
        """Return one row per eigenvalue: ± its measured residual, the gap to its neighbour, the bound that follows."""
        return (aligned_table(self, **{"residual²/gap": self.gap_bounds}),)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield each eigenvalue with its residual, then the cost."""
        shown = ", ".join(map(cell, self.values[:8], self.residuals[:8]))
        yield "values", shown + (" …" if len(self.values) > 8 else "")
        yield "operator", f"{self.operator}, {self.which}, tol {self.tol:.0e}"
        yield "converged", describe(self.converged) + (f": {self.message}" if self.message else "")
        yield "complete", self.completeness()
        yield "cost", f"{self.matvecs} products, {duration(self.seconds)}"

    def completeness(self) -> str:
        """Return what is known of eigenvalues that these may have missed, in words."""
        if self.certificate == "complete":
            return "yes: the whole space was spanned"
        beyond = {"LA": "above", "SA": "below"}.get(self.which, "beyond")
        if self.certificate == "residuals":
            return "unknown: a residual says that an eigenvalue is near, not that none was missed" + (
                f" ({self.check_message})" if self.check_message else ""
            )
        chance = f"{self.missed_probability:.1g}" if self.missed_probability < 0.995 else "1"
        return (
            f"{self.certificate}: an eigenvalue more than {self.margin:.0%} {beyond} the last was missed with probability "
            f"≤ {chance} ({self.check_matvecs} products)"
        )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Estimate(Result):
    """One number estimated from random probes, with its standard error.

    Attributes:
        value: the estimate.
        standard_error: its standard error; 0 when the value is exact, NaN when one probe shows no spread.
        samples: (m,) the terms averaged, when the method has such terms.
        matvecs: products used.
        method: ``hutchinson``, ``hutch++``, ``xtrace`` … or ``exact``.
        quantity: what was estimated: ``trace``, ``frobenius-norm`` …
        operator: what was multiplied.
        degrees: degrees of freedom of the standard error; infinite when the value is exact.
        error_kind: ``standard``, ``calibrated`` (by measurement), ``conservative`` (errs on the large side), ``heuristic`` or
            ``exact``.
        converged: whether the standard error reached what was asked for.
        message: what to do when it did not.
        seed: seed of the probes.
    """

    kind: ClassVar[str] = "estimate"
    location: ClassVar[str] = "checkpoints/{owner}/estimates/{entry}"

    value: float
    standard_error: float
    samples: np.ndarray | None = array("probe", long_name="terms averaged", optional=True)
    matvecs: int
    method: str
    quantity: str
    operator: str = ""
    degrees: float = float("inf")
    error_kind: str = "standard"
    converged: bool = True
    message: str = ""
    seed: int = 0

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the two-sided confidence interval at `level`, from Student's t with this estimate's degrees."""
        ends: tuple[float, float] = verb("interval")(self.value, self.standard_error, self.degrees, level)
        return ends

    @property
    def title(self) -> str:
        """What was estimated, of which operator."""
        return self.quantity + (f" of the {self.operator}" if self.operator else "")

    def tables(self) -> tuple[Table, ...]:
        """Return one row: the value ± its standard error, the method and its cost."""
        row = (self.quantity, Measured(self.value, self.standard_error), self.method, self.matvecs)
        return (Table(self.title, ("quantity", "value ± s.e.", "method", "products"), (row,)),)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield the value with its standard error, then the cost."""
        yield self.quantity, number_text(Measured(self.value, self.standard_error), 6)
        yield "method", f"{self.method} on {self.operator}" if self.operator else self.method
        if self.standard_error != self.standard_error:
            yield "error", "unknown: one probe shows no spread"
        elif self.error_kind in ("calibrated", "conservative", "heuristic"):
            yield "error", f"{self.error_kind} standard error"
        if self.message:
            yield "message", self.message
        yield "cost", f"{self.matvecs} products, {duration(self.seconds)}"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SpectralDensity(Result):
    """The density of eigenvalues, estimated by stochastic Lanczos quadrature, with a band from the spread over probes.

    The density is that of the bulk, the P − o eigenvalues that were not deflated, and integrates to one over the linear
    axis. On the logarithmic axis it is the density per decade of |λ|, positive and negative eigenvalues apart.

    Attributes:
        grid: (g,) eigenvalue axis; |λ| on the logarithmic one.
        density: (g,) eigenvalue density; of the positive eigenvalues on the logarithmic axis.
        standard_error: (g,) standard error of the density over probes; NaN for a single probe.
        nodes: (probes, steps) Ritz values.
        weights: (probes, steps) their quadrature weights; each row sums to one.
        negative_density: (g,) density of the negative eigenvalues; on the logarithmic axis only.
        negative_standard_error: (g,) its standard error.
        outliers: (o,) converged eigenvalues that were deflated and are listed apart from the bulk.
        operator: what was multiplied.
        width: standard deviation of the Gaussian that smooths the nodes; in decades on the logarithmic axis.
        axis: ``linear`` or ``log``.
        positive: whether the operator is known to have no negative eigenvalue: then nothing is drawn below zero.
        size: P.
        matvecs: products used.
        seed: seed of the probes.
    """

    kind: ClassVar[str] = "density"
    location: ClassVar[str] = "checkpoints/{owner}/density/{entry}"

    grid: np.ndarray = curvature("lambda", long_name="eigenvalue")
    density: np.ndarray = array("lambda", long_name="eigenvalue density")
    standard_error: np.ndarray = array("lambda", long_name="standard error of the density")
    nodes: np.ndarray = curvature("probe", "step", long_name="Ritz values")
    weights: np.ndarray = array("probe", "step", long_name="quadrature weights")
    negative_density: np.ndarray | None = array(
        "lambda", long_name="density of the negative eigenvalues", optional=True
    )
    negative_standard_error: np.ndarray | None = array(
        "lambda", long_name="standard error of the density of the negative eigenvalues", optional=True
    )
    outliers: np.ndarray | None = curvature("outlier", long_name="deflated eigenvalues", optional=True)
    operator: str
    width: float
    size: int
    matvecs: int
    axis: str = "linear"
    positive: bool = False
    seed: int = 0

    def band(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Return a pointwise interval of the smoothed density: its lower and its upper end, (g,) each.

        With t the quantile of Student's distribution with probes − 1 degrees, it reaches down by t·s.e. and up by the factor
        exp(t·s.e. / density), since what is estimated is positive and its estimate skewed. It covers the density of all
        eigenvalues smoothed with this width in `level` of the runs at each place, not everywhere at once, and says
        nothing of what the width hides. NaN for a single probe.
        """
        if not (degrees := len(self.nodes) - 1):
            return np.full_like(self.density, np.nan), np.full_like(self.density, np.nan)
        reach = verb("interval")(0.0, 1.0, float(degrees), level)[1] * self.standard_error
        exponent = reach / np.where(self.density > 0, self.density, 1.0)
        return np.maximum(self.density - reach, 0.0), self.density * np.exp(np.minimum(exponent, 300.0))

    @property
    def below_zero(self) -> tuple[float, float]:
        """Share of the drawn area below zero, and of the bulk's eigenvalues below −0.001·max|λ|.

        The first exceeds the second where the smoothing carries the many eigenvalues near zero across it.
        """
        top = np.abs(np.append(self.nodes, _listed(self.outliers))).max()
        counted = float((self.weights * (self.nodes < -1e-3 * top)).sum() / len(self.weights))
        if self.axis == "log":
            positive, negative = (
                0.0 if side is None else np.trapezoid(side, np.log10(self.grid))
                for side in (self.density, self.negative_density)
            )
            return float(negative / (positive + negative)), counted
        grid, density = self.grid, self.density
        upto = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2 * np.diff(grid))])
        return float(np.interp(0.0, grid, upto) / upto[-1]) if grid[0] < 0 else 0.0, counted

    def tables(self) -> tuple[Table, ...]:
        """Return the deflated outliers, then every peak of the density that rises above twice its standard error."""
        outliers = np.sort(_listed(self.outliers))[::-1]
        body: list[tuple[Cell, ...]] = [("outlier", Measured(float(value)), "one eigenvalue") for value in outliers]
        negative = _listed(self.negative_density), _listed(self.negative_standard_error)
        for sign, density, error in ((1, self.density, self.standard_error), (-1, *negative)):
            for i in _peaks(density, error):
                height = Measured(float(density[i]), float(error[i]))
                body.append(("peak", Measured(float(sign * self.grid[i])), height))
        unit = "density per decade" if self.axis == "log" else "density"
        return (Table(self.title, ("feature", "eigenvalue", f"{unit} ± s.e."), tuple(body)),)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield the range of the bulk, the outliers and the cost."""
        yield "bulk", f"[{self.nodes.min():.4g}, {self.nodes.max():.4g}]"
        if self.outliers is not None:
            yield "outliers", describe(self.outliers)
        yield "operator", f"{self.operator}, P = {self.size}"
        yield "smoothing", f"{self.width:.3g}" + (" decades" if self.axis == "log" else "")
        if not self.positive:
            yield (
                "below zero",
                "{:.1%} of the drawn area, {:.1%} of the eigenvalues (−0.001 max|λ|)".format(*self.below_zero),
            )
        probes, steps = self.nodes.shape
        yield "cost", f"{probes} probes of {steps} steps, {self.matvecs} products, {duration(self.seconds)}"


def _listed(values: np.ndarray | None) -> np.ndarray:
    return np.zeros(0) if values is None else values


def _peaks(curve: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return where the maxima of a curve are, ends included, that rise above two standard errors and a thousandth of the highest.

    >>> _peaks(np.array([0.0, 1.0, 0.9, 1.2, 0.0]), np.full(5, 0.1)).tolist()
    [3]
    """
    places, about = find_peaks(np.concatenate([[0.0], curve, [0.0]]), prominence=0.0)
    noise = np.nan_to_num(error[places - 1]) if error.size else 0.0
    return places[about["prominences"] > np.maximum(2 * noise, 1e-3 * curve.max(initial=0.0))] - 1
