"""The result of comparing the basins of clean and of poisoned training on one and the same loss surface."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from landscape.results.base import Result
from landscape.results.schema import rows
from landscape.tables import duration, format_table, spread

LOG10 = math.log(10)


@dataclass(frozen=True, kw_only=True)
class BasinRow:
    """One trained network and its basin, measured on the clean training examples.

    Attributes:
        poison: wrongly labelled points it was trained on as well; 0 is clean training.
        seed: of initialisation and order.
        reached: its loss on the clean examples met the target.
        train_loss: cross-entropy on the clean examples, in nats.
        train_accuracy: accuracy on the clean examples.
        test_accuracy: accuracy on test examples.
        radius: median radius at which the loss has risen by 0.1 along filter-normalised directions, relative to the filters.
        log10_volume: common logarithm of the basin's volume, from the mean log radius (a lower bound).
        log10_volume_error: its standard error over directions.
        log10_mass: common logarithm of the Gaussian mass of weights that predict alike (a lower bound).
        kl_radius: median radius at which predictions have moved by KL 0.01, in units of the weights.
    """

    poison: int
    seed: int
    reached: bool
    train_loss: float
    train_accuracy: float
    test_accuracy: float
    radius: float
    log10_volume: float
    log10_volume_error: float
    log10_mass: float
    kl_radius: float


@dataclass(frozen=True, kw_only=True)
class BasinDifference:
    """Poisoned against clean training for one measure of size.

    Attributes:
        poison: wrongly labelled points of the poisoned arm.
        measure: field of `BasinRow`; radii as common logarithms.
        pairs: seeds whose two networks both met the target.
        difference: mean over pairs of poisoned minus clean, of the common logarithm.
        smaller: pairs in which the poisoned network's is smaller.
        p_value: two-sided exact sign-flip test; NaN below 6 pairs.
    """

    poison: int
    measure: str
    pairs: int
    difference: float
    smaller: int
    p_value: float


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class BasinVolume(Result):
    """Basins of networks trained on clean and on poisoned data, all on the loss surface of the clean examples.

    Attributes:
        differences: poisoned against clean, over seeds that share initialisation and clean examples.
        rows: one a network.
        task: name of the data.
        examples: clean training examples.
        parameters: P.
        target: cross-entropy on the clean examples at which training stops, in nats.
        directions: random directions a measure, the same for all networks.
        settings: network, recipe and data.
    """

    kind: ClassVar[str] = "basin-volume"
    location: ClassVar[str] = "experiments/{entry}"

    differences: tuple[BasinDifference, ...] = rows(BasinDifference, dim="difference")
    rows: tuple[BasinRow, ...] = rows(BasinRow)
    task: str
    examples: int
    parameters: int
    target: float
    directions: int
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arms(self) -> tuple[int, ...]:
        """Numbers of poisoned points, in order."""
        return tuple(dict.fromkeys(row.poison for row in self.rows))

    def of(self, poison: int) -> tuple[BasinRow, ...]:
        """Return the rows of an arm that met the target.

        Args:
            poison: number of poisoned points.
        """
        return tuple(row for row in self.rows if row.poison == poison and row.reached)

    def table(self, style: str = "text") -> str:
        """Return means ± standard deviations over seeds by arm.

        Args:
            style: ``text`` or ``markdown``.
        """
        header = (
            "poison",
            "met target",
            "train loss",
            "test accuracy",
            "radius",
            "log10 volume",
            "log10 mass",
            "KL radius",
        )
        names = ("train_loss", "test_accuracy", "radius", "log10_volume", "log10_mass", "kl_radius")
        body: list[tuple[str, ...]] = []
        for poison in self.arms:
            met, tried = self.of(poison), sum(row.poison == poison for row in self.rows)
            cells = [spread(getattr(row, name) for row in met) for name in names]
            body.append((str(poison), f"{len(met)} of {tried}", *cells))
        return format_table(header, body, style)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield the task, then every difference."""
        yield "task", f"{self.task}, {self.examples} clean examples, {self.parameters} weights, loss {self.target:g}"
        for poison in self.arms:
            missed = [row.seed for row in self.rows if row.poison == poison and not row.reached]
            if missed:
                yield f"poison {poison}", f"target not met by seeds {', '.join(map(str, missed))}: not compared"
        for row in self.differences:
            if row.pairs:
                test = "too few pairs to test" if math.isnan(row.p_value) else f"p = {row.p_value:.2g}"
                yield (
                    f"{row.measure.replace('_', ' ')}, poison {row.poison}",
                    f"10^{row.difference:.4g} of clean training's on average; smaller in {row.smaller} of {row.pairs} "
                    f"pairs, {test}",
                )
        yield "time", duration(self.seconds)
