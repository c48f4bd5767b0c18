"""Curvature and what goes with it along a training run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.schema import array, arrays, describe
from landscape.results.tabulate import column_table
from landscape.tables import Table


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

    def tables(self) -> tuple[Table, ...]:
        """Return one row per measured step."""
        measured = {name: values for name, values in self.values.items() if "/" not in name}
        columns: dict[str, Iterable[Any]] = {
            "step": [str(int(step)) for step in self.step],
            **measured,
            "threshold": self.threshold,
        }
        return (column_table(self.title, columns),)

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
