"""The result of comparing optimisers: sharpness at one loss, raw and in units of what each optimiser can bear."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.comparison import Comparison
from landscape.results.schema import array, arrays, nested
from landscape.tables import duration, format_table, spread


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Optimisers(Result):
    """Networks that several optimisers trained to one loss, and how close each ended to its own edge of stability.

    Attributes:
        recipes: slugs, the reference first.
        long_names: their names in words.
        lr: (recipe,) learning rates η.
        momentum: (recipe,) momentum β.
        batch_size: (recipe,) examples a step.
        thresholds: (recipe,) curvature at which full-batch training with the optimiser is unstable, (2 + 2β)/η.
        seeds: (seed,) seeds.
        relative: (recipe, seed) λmax, batch sharpness, and both in units of the threshold; NaN where the target was not
            reached.
        metrics: (recipe, seed) fit, test error and length of training; ``reached`` is 0 where training never got there.
        comparison: scores, gates, tests and verdicts of each recipe against the first.
        target: training cross-entropy at which all were measured, in nats.
    """

    kind: ClassVar[str] = "optimisers"
    location: ClassVar[str] = "experiments/{entry}"

    recipes: tuple[str, ...]
    long_names: tuple[str, ...]
    lr: np.ndarray = array("recipe", long_name="learning rate")
    momentum: np.ndarray = array("recipe", long_name="momentum")
    batch_size: np.ndarray = array("recipe", long_name="examples a step")
    thresholds: np.ndarray = array("recipe", long_name="stability threshold", units="loss per parameter squared")
    seeds: np.ndarray = array("seed", long_name="seed")
    relative: Mapping[str, np.ndarray] = arrays("recipe", "seed", long_name="curvature, raw and over the threshold")
    metrics: Mapping[str, np.ndarray] = arrays("recipe", "seed", long_name="fit and test error")
    comparison: Comparison = nested(Comparison)
    target: float

    def table(self, style: str = "text") -> str:
        """Return one row a quantity and one column an optimiser: mean ± standard deviation over seeds.

        Args:
            style: ``text`` or ``markdown``.
        """
        header = ("", *self.long_names)
        body = [
            ("η", *(f"{value:g}" for value in self.lr)),
            ("β", *(f"{value:g}" for value in self.momentum)),
            ("threshold (2 + 2β)/η", *(f"{value:.4g}" for value in self.thresholds)),
        ]
        for table in (self.metrics, self.relative):
            body += [(name, *map(spread, values)) for name, values in table.items()]
        for name in self.comparison.scores:
            body.append((name, *map(spread, self.comparison.score(name).values())))
        return format_table(header, body, style)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield the verdicts on raw sharpness, then where each optimiser stands against its threshold."""
        yield "seeds", str(len(self.seeds))
        for verdict in self.comparison.verdicts:
            yield f"{verdict.b} against {verdict.a}", verdict.text
        for i, name in enumerate(self.long_names):
            raw, share = (self.relative[key][i] for key in ("lambda-max", "lambda-max / threshold"))
            batch, batch_share = (self.relative[key][i] for key in ("batch sharpness", "batch sharpness / threshold"))
            if np.isnan(raw).all():
                yield name, f"none of {len(raw)} runs reached the target"
                continue
            yield (
                name,
                f"λmax {spread(raw)} is {spread(share)} of its threshold {self.thresholds[i]:.4g}; "
                f"batch sharpness {spread(batch)} is {spread(batch_share)} of it",
            )
        yield "time", duration(self.seconds)
