"""Results about the eigenvalues of an operator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from landscape.results.base import Result, array, describe


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Eigenpairs(Result):
    """Eigenvalues and eigenvectors with measured residuals.

    Attributes:
        values: (k,) Rayleigh quotients, in the order asked for.
        residuals: (k,) measured ‖Av − λv‖₂ of each unit vector; an eigenvalue of A lies within that distance of λ.
        vectors: (k, P) unit eigenvectors, one a row.
        history: (restarts,) largest relative residual after each restart.
        operator: what was multiplied: ``hessian``, ``gauss-newton`` …
        which: ``LA``, ``SA``, ``LM`` or ``BE``, as in SciPy.
        tol: the relative residual asked for.
        matvecs: products used, those that measured the residuals included.
        converged: every residual ≤ tol·max(|λ|, the floating-point floor).
        message: what happened, and what to do when it did not converge.
        seed: seed of the start vector.
    """

    kind: ClassVar[str] = "eigenpairs"
    location: ClassVar[str] = "checkpoints/{owner}/eigen/{entry}"

    values: np.ndarray = array("k", long_name="eigenvalue", units="loss per parameter squared")
    residuals: np.ndarray = array("k", long_name="measured residual norm", units="loss per parameter squared")
    vectors: np.ndarray | None = array("k", "P", long_name="unit eigenvectors, one a row", optional=True)
    history: np.ndarray | None = array("restart", long_name="largest relative residual", optional=True)
    operator: str
    which: str
    tol: float
    matvecs: int
    converged: bool
    message: str = ""
    seed: int = 0

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield each eigenvalue with its residual, then the cost."""
        shown = ", ".join(f"{v:.5g} ± {r:.1g}" for v, r in zip(self.values[:8], self.residuals[:8], strict=True))
        yield "values", shown + (" …" if len(self.values) > 8 else "")
        yield "operator", f"{self.operator}, {self.which}, tol {self.tol:.0e}"
        yield "converged", describe(self.converged) + (f": {self.message}" if self.message else "")
        yield "cost", f"{self.matvecs} products, {self.seconds:.3g} s"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Estimate(Result):
    """One number estimated from random probes, with its standard error.

    Attributes:
        value: the estimate.
        standard_error: its standard error; 0 when the value is exact.
        samples: (m,) the independent terms averaged, when the method has such terms.
        matvecs: products used.
        method: ``hutchinson``, ``hutch++``, ``xtrace`` …
        quantity: what was estimated: ``trace``, ``frobenius-norm`` …
        seed: seed of the probes.
    """

    kind: ClassVar[str] = "estimate"
    location: ClassVar[str] = "checkpoints/{owner}/estimates/{entry}"

    value: float
    standard_error: float
    samples: np.ndarray | None = array("probe", long_name="independent terms", optional=True)
    matvecs: int
    method: str
    quantity: str
    operator: str = ""
    converged: bool = True
    message: str = ""
    seed: int = 0

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield the value with its standard error, then the cost."""
        yield self.quantity, f"{self.value:.6g} ± {self.standard_error:.2g}"
        yield "method", f"{self.method} on {self.operator}" if self.operator else self.method
        if self.message:
            yield "message", self.message
        yield "cost", f"{self.matvecs} products, {self.seconds:.3g} s"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class SpectralDensity(Result):
    """The density of eigenvalues, estimated by stochastic Lanczos quadrature, with a band from the spread over probes.

    Attributes:
        grid: (g,) eigenvalue axis.
        density: (g,) eigenvalue density, integrating to one.
        standard_error: (g,) standard error of the density over probes.
        nodes: (probes, steps) Ritz values.
        weights: (probes, steps) their quadrature weights; each row sums to one.
        width: standard deviation of the Gaussian that smooths the nodes.
        outliers: (o,) converged eigenvalues that were deflated and are listed apart from the bulk.
    """

    kind: ClassVar[str] = "density"
    location: ClassVar[str] = "checkpoints/{owner}/density/{entry}"

    grid: np.ndarray = array("lambda", long_name="eigenvalue", units="loss per parameter squared")
    density: np.ndarray = array("lambda", long_name="eigenvalue density")
    standard_error: np.ndarray = array("lambda", long_name="standard error of the density")
    nodes: np.ndarray = array("probe", "step", long_name="Ritz values")
    weights: np.ndarray = array("probe", "step", long_name="quadrature weights")
    outliers: np.ndarray | None = array("outlier", long_name="deflated eigenvalues", optional=True)
    operator: str
    width: float
    size: int
    matvecs: int
    seed: int = 0
