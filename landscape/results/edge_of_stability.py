"""The result of training with the sharpness tracked against the threshold of the optimiser."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.schema import array, rows
from landscape.tables import duration, format_table


@dataclass(frozen=True, kw_only=True)
class EdgeRun:
    """One training run beside the stability threshold of its rule; ratios are curvature over threshold.

    Attributes:
        problem: slug of what was fitted.
        descent: rule and settings in words.
        rule: ``sgd``, ``heavy ball``, ``nesterov`` or ``adam``.
        lr: learning rate η.
        momentum: β, or β₁ of Adam.
        batch_size: examples a step; all of them in full-batch training.
        examples: N.
        seed: of the weights and of the order of examples.
        steps: steps taken.
        threshold: curvature beyond which the rule diverges on a quadratic.
        start: ratio before training (of Adam: at the first measurement).
        crossing: first step measured at which the ratio was at least 1; −1 if it never was.
        peak: largest ratio.
        late: mean ratio over the last quarter of the run.
        late_low: smallest ratio there.
        late_high: largest ratio there.
        late_batch: mean ratio of the batch sharpness there; NaN in full-batch training.
        loss: training loss at the end.
        status: ``ok``, or ``diverged``.
    """

    problem: str
    descent: str
    rule: str
    lr: float
    momentum: float
    batch_size: int
    examples: int
    seed: int
    steps: int
    threshold: float
    start: float
    crossing: int
    peak: float
    late: float
    late_low: float
    late_high: float
    late_batch: float
    loss: float
    status: str

    @property
    def text(self) -> str:
        """The run in a sentence."""
        if self.status != "ok":
            return f"{self.status} after {self.steps} steps; largest ratio {self.peak:.3g}"
        crossed = f"crosses at step {self.crossing}" if self.crossing >= 0 else "never crosses"
        batch = "" if np.isnan(self.late_batch) else f"; batch sharpness {self.late_batch:.3f}"
        return (
            f"{crossed}, peak {self.peak:.3f}, last quarter {self.late:.3f} "
            f"({self.late_low:.3f} to {self.late_high:.3f}){batch}"
        )


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class EdgeOfStability(Result):
    """Training runs with the largest eigenvalue tracked; of Adam, that of the preconditioned Hessian P^−½ H P^−½.

    Attributes:
        runs: one row a run.
        step: (run, time) steps at which the curvature was measured; NaN after the end of a shorter run.
        loss: (run, time) training loss over all examples.
        sharpness: (run, time) largest eigenvalue.
        batch_sharpness: (run, time) mean of gᵀHg/‖g‖² over minibatches; NaN in full-batch training.
        settings: problems, rules and how often was measured.
    """

    kind: ClassVar[str] = "edge-of-stability"
    location: ClassVar[str] = "experiments/{entry}"

    runs: tuple[EdgeRun, ...] = rows(EdgeRun, dim="run")
    step: np.ndarray = array("run", "time", long_name="optimiser step")
    loss: np.ndarray = array("run", "time", long_name="training loss")
    sharpness: np.ndarray = array("run", "time", long_name="largest eigenvalue", units="loss per parameter squared")
    batch_sharpness: np.ndarray = array("run", "time", long_name="batch sharpness", units="loss per parameter squared")
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def thresholds(self) -> np.ndarray:
        """(run, 1) stability thresholds."""
        return np.array([[run.threshold] for run in self.runs])

    @property
    def ratio(self) -> np.ndarray:
        """(run, time) largest eigenvalue over threshold: 1 at the edge of stability."""
        return self.sharpness / self.thresholds

    @property
    def batch_ratio(self) -> np.ndarray:
        """(run, time) batch sharpness over threshold."""
        return self.batch_sharpness / self.thresholds

    def table(self, style: str = "text") -> str:
        """Return one line a run.

        Args:
            style: ``text`` or ``markdown``.
        """
        header: tuple[str, ...] = (
            "problem", "rule", "seed", "threshold", "start", "crosses at step", "peak", "last quarter", "its range",
            "batch sharpness", "loss", "status",
        )  # fmt: skip
        body: list[tuple[str, ...]] = [
            (
                run.problem,
                run.descent,
                str(run.seed),
                f"{run.threshold:.4g}",
                f"{run.start:.3f}",
                str(run.crossing) if run.crossing >= 0 else "never",
                f"{run.peak:.3f}",
                f"{run.late:.3f}",
                f"{run.late_low:.3f} to {run.late_high:.3f}",
                "full batch" if np.isnan(run.late_batch) else f"{run.late_batch:.3f}",
                f"{run.loss:.3g}",
                run.status,
            )
            for run in self.runs
        ]
        return format_table(header, body, style)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield what each rule did, in units of its threshold."""
        for run in self.runs:
            yield f"{run.problem}, {run.descent}, seed {run.seed}", run.text
        yield "time", duration(self.seconds)
