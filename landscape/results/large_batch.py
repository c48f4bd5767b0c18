"""The result of training with small and with large batches: sharpness of what they find."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.schema import arrays, rows
from landscape.tables import Measured, duration, format_table, number_text

MATCHINGS = {"epochs": "equal epochs", "loss": "equal training loss", "steps": "equal steps"}
"""What small and large batches may have in common when they are compared, in words."""


@dataclass(frozen=True, kw_only=True)
class BatchRun:
    """One network.

    Attributes:
        matching: ``epochs``, ``loss`` or ``steps``.
        batch: ``small`` or ``large``.
        batch_size: examples a step.
        seed: of weights and order of examples.
        reached: whether the target loss was met, where it was asked for; rows that did not are not compared.
        epochs: epochs trained.
        steps: steps taken.
        train_loss: cross-entropy in nats, norm statistics re-estimated over the training data, as the scores see it.
        train_accuracy: share of the training labels fitted.
        test_accuracy: share of the test labels.
    """

    matching: str
    batch: str
    batch_size: int
    seed: int
    reached: bool
    epochs: int
    steps: int
    train_loss: float
    train_accuracy: float
    test_accuracy: float


@dataclass(frozen=True, kw_only=True)
class BatchContrast:
    """Large against small batches in one score.

    Attributes:
        matching: ``epochs``, ``loss`` or ``steps``.
        score: slug, with the radius where it has one.
        small: mean over the small-batch networks.
        small_sd: standard deviation; NaN for one network.
        large: mean over the large-batch networks.
        large_sd: standard deviation.
        ratio: large over small, of the means.
        p_value: exact two-sided permutation p of the mean log10 score; NaN where it is not defined.
        networks: small- plus large-batch networks compared.
    """

    matching: str
    score: str
    small: float
    small_sd: float
    large: float
    large_sd: float
    ratio: float
    p_value: float
    networks: int

    @property
    def text(self) -> str:
        """The contrast in words."""
        chance = "" if np.isnan(self.p_value) else f", p = {self.p_value:.2g}"
        return f"large {self.arms[1]}, small {self.arms[0]}: ratio {self.ratio:.3g}{chance}"

    @property
    def arms(self) -> tuple[str, str]:
        """Mean and standard deviation of the small-batch and of the large-batch networks, in words."""
        return number_text(Measured(self.small, self.small_sd)), number_text(Measured(self.large, self.large_sd))


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class LargeBatch(Result):
    """Networks trained with small and with large batches, and how sharp they are.

    Attributes:
        runs: one row a network.
        scores: (run,) values by score; ``keskar/0.001`` is at ε = 0.001.
        contrasts: one row a matching and score.
        settings: network, data and training.
    """

    kind: ClassVar[str] = "large-batch"
    location: ClassVar[str] = "experiments/{entry}"

    runs: tuple[BatchRun, ...] = rows(BatchRun, dim="run")
    scores: Mapping[str, np.ndarray] = arrays("run", long_name="sharpness score")
    contrasts: tuple[BatchContrast, ...] = rows(BatchContrast, dim="contrast")
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def matchings(self) -> tuple[str, ...]:
        """What was matched, as run."""
        return tuple(dict.fromkeys(run.matching for run in self.runs))

    def values(self, score: str, matching: str, batch: str) -> np.ndarray:
        """Return a score of the networks of one arm that may be compared, one a seed."""
        arm = [run.matching == matching and run.batch == batch and run.reached for run in self.runs]
        return np.asarray(self.scores[score], dtype=float)[np.array(arm, dtype=bool)]

    def ratio(self, score: str, matching: str) -> float:
        """Return the mean of the large-batch networks over that of the small-batch ones.

        Raises:
            KeyError: there is no such contrast.
        """
        for row in self.contrasts:
            if (row.score, row.matching) == (score, matching):
                return row.ratio
        raise KeyError(f"no contrast of {score!r} at {matching!r}; there are {', '.join(self.scores)}")

    def table(self, style: str = "text") -> str:
        """Return one line a matching and score.

        Args:
            style: ``text`` or ``markdown``.
        """
        header = ("matched by", "score", "small batch", "large batch", "large / small", "p")
        body: list[tuple[str, ...]] = [
            (
                MATCHINGS[row.matching],
                row.score,
                *row.arms,
                f"{row.ratio:.3g}",
                "not defined" if np.isnan(row.p_value) else f"{row.p_value:.2g}",
            )
            for row in self.contrasts
        ]
        return format_table(header, body, style)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield how the arms were trained, then each contrast."""
        for matching in self.matchings:
            for batch in ("small", "large"):
                arm = [run for run in self.runs if run.matching == matching and run.batch == batch]
                kept = [run for run in arm if run.reached]
                missed = f", {len(arm) - len(kept)} did not reach the target" if len(kept) < len(arm) else ""
                if kept:
                    yield (
                        f"{MATCHINGS[matching]}, batches of {kept[0].batch_size}",
                        f"{len(kept)} networks, {_mean(kept, 'epochs'):.0f} epochs, {_mean(kept, 'steps'):.0f} steps, "
                        f"training loss {_mean(kept, 'train_loss'):.3g}, "
                        f"test accuracy {_mean(kept, 'test_accuracy'):.2%}{missed}",
                    )
                else:
                    yield f"{MATCHINGS[matching]}, {batch} batches", f"none of {len(arm)} networks reached the target"
        for row in self.contrasts:
            yield f"{row.score}, {MATCHINGS[row.matching]}", row.text
        yield "time", duration(self.seconds)


def _mean(runs: list[BatchRun], name: str) -> float:
    return float(np.mean([getattr(run, name) for run in runs]))
