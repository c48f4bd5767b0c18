"""The result of training networks of many widths: error and sharpness along the width."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.schema import array, arrays, rows
from landscape.tables import duration, format_table, spread

INTERPOLATED = 0.01
"""Training error from which a width counts as fitting its data."""


@dataclass(frozen=True, kw_only=True)
class WidthRun:
    """One network.

    Attributes:
        width: hidden units a layer.
        parameters: P.
        seed: of initialisation and order of examples.
        train_loss: cross-entropy on the training data with their noisy labels, in nats.
        train_error: share of them classified wrong.
        test_loss: cross-entropy on the test data, whose labels are clean.
        test_error: share of them classified wrong.
    """

    width: int
    parameters: int
    seed: int
    train_loss: float
    train_error: float
    test_loss: float
    test_error: float


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class DoubleDescent(Result):
    """Error and sharpness of networks over their width.

    Attributes:
        runs: one row a network, by width and then by seed.
        scores: (run,) sharpness scores by slug.
        changed: (1,) share of the training labels that are wrong.
        settings: network, data, training and label noise.
    """

    kind: ClassVar[str] = "double-descent"
    location: ClassVar[str] = "experiments/{entry}"

    runs: tuple[WidthRun, ...] = rows(WidthRun, dim="run")
    scores: Mapping[str, np.ndarray] = arrays("run", long_name="sharpness score")
    changed: np.ndarray = array("one", long_name="share of wrong training labels")
    examples: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def widths(self) -> np.ndarray:
        """(W,) widths, ascending."""
        return np.unique([run.width for run in self.runs])

    def values(self, name: str) -> np.ndarray:
        """Return a column of `runs` or a score as (W, seeds); NaN where a width has fewer seeds.

        Raises:
            KeyError: there is no such column or score.
        """
        if name in self.scores:
            column = np.asarray(self.scores[name], dtype=float)
        elif name in WidthRun.__dataclass_fields__:
            column = np.array([getattr(run, name) for run in self.runs], dtype=float)
        else:
            raise KeyError(f"no column {name!r}; there are {', '.join([*WidthRun.__dataclass_fields__, *self.scores])}")
        width = np.array([run.width for run in self.runs])
        groups = [column[width == one] for one in self.widths]
        most = max(map(len, groups), default=0)
        return np.array([np.pad(group, (0, most - len(group)), constant_values=np.nan) for group in groups])

    def mean(self, name: str) -> np.ndarray:
        """Return the mean over seeds of a column or a score, (W,)."""
        return np.nanmean(self.values(name), axis=1)

    @property
    def interpolation(self) -> int | None:
        """The smallest width whose mean training error is at most 1 %, None if there is none."""
        fitted = np.flatnonzero(self.mean("train_error") <= INTERPOLATED)
        return int(self.widths[fitted[0]]) if len(fitted) else None

    def peak(self, name: str = "test_error") -> int | None:
        """Return the width at which a mean is largest beyond the first, classical descent of the test error.

        The classical minimum is the smallest test error at widths that do not yet fit the training data. None where
        there is no such peak: the largest value lies at the minimum itself or at the largest width.
        """
        error, fitted = self.mean("test_error"), self.mean("train_error") <= INTERPOLATED
        end = int(np.argmax(fitted)) if fitted.any() else len(error)
        if end == 0:
            return None
        first = int(np.argmin(error[:end]))
        top = first + int(np.argmax(self.mean(name)[first:]))
        return int(self.widths[top]) if first < top < len(error) - 1 else None

    def table(self, style: str = "text") -> str:
        """Return one line a width: means over seeds, with standard deviations of the errors.

        Args:
            style: ``text`` or ``markdown``.
        """
        header = ("width", "parameters", "seeds", "train error %", "test error %", "test loss", *self.scores)
        train, test = 100 * self.values("train_error"), 100 * self.values("test_error")
        body = [
            (
                str(width),
                f"{self.mean('parameters')[i]:.0f}",
                str(int(np.isfinite(test[i]).sum())),
                spread(train[i]),
                spread(test[i]),
                f"{self.mean('test_loss')[i]:.3f}",
                *(f"{self.mean(name)[i]:.4g}" for name in self.scores),
            )
            for i, width in enumerate(self.widths)
        ]
        return format_table(header, body, style)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield where the test error peaks, where the data are first fitted, and where each score peaks."""
        error = 100 * self.mean("test_error")
        peak, fitted = self.peak(), self.interpolation
        yield "data", f"{self.examples} examples, {100 * float(self.changed[0]):.1f} % of the training labels wrong"
        if peak is None:
            yield (
                "test error",
                "no second descent: "
                + ", ".join(f"{value:.1f} % at {width}" for width, value in zip(self.widths, error, strict=True)),
            )
        else:
            at = int(np.flatnonzero(self.widths == peak)[0])
            yield (
                "test error",
                f"peaks at width {peak} with {error[at]:.1f} %, falls to {error[at:].min():.1f} % beyond it",
            )
        yield "training data fitted", "at no width" if fitted is None else f"from width {fitted}"
        for name in self.scores:
            top = self.peak(name)
            yield name, "has no peak within the widths" if top is None else f"peaks at width {top}"
        yield "time", duration(self.seconds)
