"""The result of comparing how smooth the loss is for architectures that differ in skip connections and norm layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.schema import array, arrays, rows
from landscape.results.slices import Plane
from landscape.tables import duration, format_table, spread


@dataclass(frozen=True, kw_only=True)
class ArchitectureRow:
    """One trained network.

    Attributes:
        variant: name of the architecture.
        seed: of initialisation and order.
        parameters: P.
        reached: its training loss met the target.
        steps: optimiser steps taken.
        train_loss: cross-entropy in nats.
        test_accuracy: accuracy on test examples.
        beta_start: effective smoothness along the gradient of one batch before training.
        beta_peak: the largest effective smoothness at the places measured during training.
        lambda_max: largest eigenvalue of the Hessian at the end.
        filter_curvature: curvature along filter-normalised directions at the end.
        adaptive_worst: adaptive worst-case sharpness (ℓ∞) at the end.
        adaptive_average: adaptive average-case sharpness at the end.
    """

    variant: str
    seed: int
    parameters: int
    reached: bool
    steps: int
    train_loss: float
    test_accuracy: float
    beta_start: float
    beta_peak: float
    lambda_max: float
    filter_curvature: float
    adaptive_worst: float
    adaptive_average: float


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Architecture(Result):
    """Planes on one scale, maps of the eigenvalue ratio, smoothness and scores of several architectures.

    Attributes:
        epochs: (T,) finished epochs at which smoothness was measured; the last place is the end of training, −1.
        x: (nx,) coordinates of the planes along the first filter-normalised direction.
        y: (ny,) along the second.
        ratio_x: coordinates of the maps.
        ratio_y: likewise.
        loss: (ny, nx) training loss about the first seed's solution, by variant.
        eigen_ratio: |λmin/λmax| of the Hessian over the same window, by variant.
        beta: (T,) effective smoothness of the first seed at `epochs`, by variant.
        rows: one a network.
        target: cross-entropy at which training stops, in nats.
        settings: networks, recipe and data.
    """

    kind: ClassVar[str] = "architecture"
    location: ClassVar[str] = "experiments/{entry}"

    epochs: np.ndarray = array("place", long_name="finished epochs")
    x: np.ndarray = array("x", long_name="coordinate along the first direction")
    y: np.ndarray = array("y", long_name="coordinate along the second direction")
    ratio_x: np.ndarray = array("ratio_x", long_name="coordinate along the first direction")
    ratio_y: np.ndarray = array("ratio_y", long_name="coordinate along the second direction")
    loss: Mapping[str, np.ndarray] = arrays("y", "x", long_name="training loss", units="nat")
    eigen_ratio: Mapping[str, np.ndarray] = arrays("ratio_y", "ratio_x", long_name="|λmin/λmax|")
    beta: Mapping[str, np.ndarray] = arrays("place", long_name="effective smoothness")
    rows: tuple[ArchitectureRow, ...] = rows(ArchitectureRow)
    target: float
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def variants(self) -> tuple[str, ...]:
        """Names of the architectures, in order."""
        return tuple(dict.fromkeys(row.variant for row in self.rows))

    def of(self, variant: str) -> tuple[ArchitectureRow, ...]:
        """Return the rows of an architecture that met the target."""
        return tuple(row for row in self.rows if row.variant == variant and row.reached)

    def planes(self) -> dict[str, Plane]:
        """Return the planes by variant, with the loss."""
        computed = np.ones((len(self.y), len(self.x)), dtype=np.uint8)
        return {
            name: Plane(x=self.x, y=self.y, values={"train/loss": values}, computed=computed)
            for name, values in self.loss.items()
        }

    def ratio_planes(self) -> dict[str, Plane]:
        """Return the maps of the eigenvalue ratio by variant."""
        computed = np.ones((len(self.ratio_y), len(self.ratio_x)), dtype=np.uint8)
        return {
            name: Plane(x=self.ratio_x, y=self.ratio_y, values={"train/eigen-ratio": values}, computed=computed)
            for name, values in self.eigen_ratio.items()
        }

    def table(self, style: str = "text") -> str:
        """Return means ± standard deviations over the seeds that met the target.

        Args:
            style: ``text`` or ``markdown``.
        """
        names = (
            "steps",
            "test_accuracy",
            "beta_start",
            "beta_peak",
            "lambda_max",
            "filter_curvature",
            "adaptive_worst",
            "adaptive_average",
        )
        header = ("architecture", "met target", *(name.replace("_", " ") for name in names), "median eigen ratio")
        body: list[tuple[str, ...]] = []
        for variant in self.variants:
            met, tried = self.of(variant), sum(row.variant == variant for row in self.rows)
            cells = [spread(getattr(row, name) for row in met) for name in names]
            ratio = self.eigen_ratio.get(variant)
            median = "—" if ratio is None else f"{np.nanmedian(ratio):.3g}"
            body.append((variant, f"{len(met)} of {tried}", *cells, median))
        return format_table(header, body, style)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield who met the target, then the order of the architectures by each measure."""
        missed = [f"{row.variant} (seed {row.seed})" for row in self.rows if not row.reached]
        if missed:
            yield "target not met, not compared", ", ".join(missed)
        for name in ("beta_peak", "lambda_max", "filter_curvature", "adaptive_worst", "adaptive_average"):
            means = {v: float(np.mean([getattr(row, name) for row in self.of(v)])) for v in self.variants if self.of(v)}
            order = sorted(means, key=means.__getitem__)
            if order:
                yield f"{name.replace('_', ' ')}, smoothest first", ", ".join(f"{v} {means[v]:.3g}" for v in order)
        ratios = {v: float(np.nanmedian(values)) for v, values in self.eigen_ratio.items() if self.of(v)}
        order = sorted(ratios, key=ratios.__getitem__)
        if order:
            yield "median |λmin/λmax|, most convex first", ", ".join(f"{v} {ratios[v]:.2g}" for v in order)
        yield "time", duration(self.seconds)
