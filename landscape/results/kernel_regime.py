"""The result of training networks of many widths on true and on random labels: lazy, or learning features?"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.schema import rows
from landscape.tables import duration, format_table

COLUMNS = {
    "relative_movement": "weight movement",
    "kernel_movement": "kernel change",
    "kernel_distance": "kernel distance",
    "linearisation_error": "linearisation error",
    "agreement": "agreement with linearised",
    "alignment_before": "alignment before",
    "alignment_after": "alignment after",
}
"""What the table and the figure show, in words."""


@dataclass(frozen=True, kw_only=True)
class KernelRun:
    """One network, and how far training took it from the kernel at its initial weights.

    Attributes:
        labels: ``true`` or ``random``.
        width: hidden units.
        parameters: P.
        seed: of weights, order of examples and random labels.
        reached: whether the target loss and accuracy were met; rows that were not are not compared.
        epochs: epochs to the target.
        train_loss: cross-entropy at the end, in nats.
        train_accuracy: share of the training labels fitted.
        test_accuracy: share of the test labels, which are true.
        relative_movement: ‖w − w₀‖/‖w₀‖.
        kernel_movement: ‖Θ − Θ₀‖_F/‖Θ₀‖_F.
        kernel_distance: 1 − ⟨Θ, Θ₀⟩/(‖Θ‖_F‖Θ₀‖_F).
        linearisation_error: what the expansion at w₀ misses of the change of the training outputs.
        agreement: share of the test inputs classified as by the linearised network trained alike; NaN where that diverged.
        alignment_before: centred alignment of Θ₀ with the training labels.
        alignment_after: the same of Θ.
    """

    labels: str
    width: int
    parameters: int
    seed: int
    reached: bool
    epochs: int
    train_loss: float
    train_accuracy: float
    test_accuracy: float
    relative_movement: float
    kernel_movement: float
    kernel_distance: float
    linearisation_error: float
    agreement: float
    alignment_before: float
    alignment_after: float


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class KernelRegime(Result):
    """Networks over their width, trained on true and on random labels.

    Attributes:
        runs: one row a network, by labels, width and seed.
        examples: N, training examples.
        settings: network, data and training.
    """

    kind: ClassVar[str] = "kernel-regime"
    location: ClassVar[str] = "experiments/{entry}"

    runs: tuple[KernelRun, ...] = rows(KernelRun, dim="run")
    examples: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def widths(self) -> np.ndarray:
        """(W,) widths, ascending."""
        return np.unique([run.width for run in self.runs])

    @property
    def labels(self) -> tuple[str, ...]:
        """The kinds of labels, as run."""
        return tuple(dict.fromkeys(run.labels for run in self.runs))

    def values(self, labels: str, column: str) -> list[np.ndarray]:
        """Return a column of the runs that reached the target: one array of seeds a width."""
        return [
            np.array(
                [
                    float(getattr(run, column))
                    for run in self.runs
                    if run.labels == labels and run.width == width and run.reached
                ]
            )
            for width in self.widths
        ]

    def mean(self, labels: str, column: str) -> np.ndarray:
        """Return means over seeds, (W,); NaN where no run reached the target."""
        found = [values[np.isfinite(values)] for values in self.values(labels, column)]
        return np.array([values.mean() if len(values) else np.nan for values in found])

    def exponent(self, labels: str, column: str) -> float:
        """Return the slope of log mean over log width; the theory of wide networks gives −1/2 for weight movement.

        NaN where fewer than two widths have a positive mean.
        """
        mean = self.mean(labels, column)
        usable = np.isfinite(mean) & (mean > 0)
        if usable.sum() < 2:
            return float("nan")
        return float(np.polyfit(np.log(self.widths[usable]), np.log(mean[usable]), 1)[0])

    def table(self, style: str = "text") -> str:
        """Return one line for labels and width: means over the seeds that reached the target.

        Args:
            style: ``text`` or ``markdown``.
        """
        header = ("labels", "width", "reached", "epochs", "test accuracy", *COLUMNS.values())
        body = []
        for labels in self.labels:
            means = {name: self.mean(labels, name) for name in ("epochs", "test_accuracy", *COLUMNS)}
            for i, width in enumerate(self.widths):
                members = [run for run in self.runs if run.labels == labels and run.width == width]
                body.append(
                    (
                        labels,
                        str(width),
                        f"{sum(run.reached for run in members)} of {len(members)}",
                        *(_number(means[name][i], ".1f" if name == "epochs" else ".3g") for name in means),
                    )
                )
        return format_table(header, body, style)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield how each measure of laziness changes with the width, and true against random labels."""
        first, last = int(self.widths[0]), int(self.widths[-1])
        yield "networks", f"{len(self.runs)} on {self.examples} examples, widths {first} to {last}"
        unreached = sum(not run.reached for run in self.runs)
        if unreached:
            yield "target not reached", f"{unreached} networks, left out of every mean"
        for labels in self.labels:
            for name, words in COLUMNS.items():
                mean = self.mean(labels, name)
                if np.isnan(mean[[0, -1]]).any():
                    continue
                slope = self.exponent(labels, name)
                yield (
                    f"{words}, {labels} labels",
                    f"{mean[0]:.3g} at width {first}, {mean[-1]:.3g} at {last} (∝ width^{slope:.2f})",
                )
        yield "time", duration(self.seconds)


def _number(value: float, spec: str) -> str:
    return "not reached" if np.isnan(value) else format(value, spec)
