"""The result of asking what a sample of the data says about the whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.schema import array
from landscape.results.tabulate import aligned_table
from landscape.tables import Table, cell, duration


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

    values: np.ndarray = array(
        "k",
        long_name="eigenvalue on the sample",
        units="loss per parameter squared",
        title="eigenvalue ± s.e.",
        error="standard_errors",
    )
    standard_errors: np.ndarray = array("k", long_name="sampling standard error", units="loss per parameter squared")
    bootstrap: np.ndarray = array("draw", "k", long_name="resampled eigenvalue", units="loss per parameter squared")
    trace: float
    trace_error: float
    trace_probe_error: float
    subset_sizes: np.ndarray = array("subset", long_name="examples in a subset")
    subset_means: np.ndarray = array(
        "subset", long_name="mean largest eigenvalue over disjoint subsets", units="loss per parameter squared"
    )
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
