"""Curvature and what goes with it along a training run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from landscape.results.base import Result, array, arrays, describe
from landscape.results.tables import cell, format_table


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Track(Result):
    """What a `Tracker` measured while a network trained.

    Attributes:
        step: (T,) optimiser steps taken when a point was measured.
        values: quantities by name, (T,) each, NaN where one was not measured; ``residual/lambda_max`` and
            ``error/trace`` say how right the quantity after the slash is, ``products/lambda_max`` what it cost.
        threshold: (T,) the curvature at which the optimiser's full-batch steps turn unstable, NaN where it is not known.
        rule: how the optimiser steps: ``sgd``, ``heavy ball``, ``nesterov``, ``adam`` or its class.
        steps: steps of the whole run so far.
        training_seconds: time spent outside the tracker.
        measuring_seconds: time spent inside it.
        budget: the share of the training time that measuring was to keep within; NaN without one.
        missed: what could not be measured, and why, by name.
    """

    kind: ClassVar[str] = "track"
    location: ClassVar[str] = "checkpoints/{owner}/tracks/{entry}"

    step: np.ndarray = array("step", long_name="optimiser steps")
    values: Mapping[str, np.ndarray] = arrays("step", long_name="measured along training")
    threshold: np.ndarray = array("step", long_name="stability threshold", units="loss per parameter squared")
    rule: str
    steps: int
    training_seconds: float = 0.0
    measuring_seconds: float = 0.0
    budget: float = float("nan")
    missed: Mapping[str, str]

    @property
    def overhead(self) -> float:
        """The time measured with over the time trained."""
        return self.measuring_seconds / self.training_seconds if self.training_seconds > 0 else float("nan")

    def table(self, style: str = "text") -> str:
        """Return one line per measured step.

        Args:
            style: ``text`` or ``markdown``.
        """
        shown = [name for name in self.values if "/" not in name]
        columns = zip(self.step, *(self.values[name] for name in shown), self.threshold, strict=True)
        body = [(str(int(step)), *map(cell, line)) for step, *line in columns]
        return format_table(("step", *shown, "threshold"), body, style)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield how many steps were measured, at which overhead, and every quantity's range."""
        yield "measured", f"{len(self.step)} of {self.steps} steps, {self.rule}"
        limit = "" if np.isnan(self.budget) else f" (budget {self.budget:.1%})"
        yield "overhead", f"{self.overhead:.1%} of the training time{limit}"
        for name, value in self.values.items():
            if "/" not in name:
                yield name, describe(value)
        for name, why in self.missed.items():
            yield f"{name} not measured", why
