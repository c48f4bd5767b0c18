"""The cells of a design: models that differ in nothing but their seeds, and what all statistics over many models share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from landscape.errors import LandscapeError
from landscape.statistics.samples import equally_long


@dataclass(frozen=True)
class Cells:
    """The cells of a design: models of equal factors, that differ in their seeds.

    Statistics over cells take the means of a score and of an outcome, each (C,), NaN where a cell has none, and weights (R, C)
    that say how often each cell counts, one row per bootstrap sample; `None` counts each once.

    Attributes:
        axes: the factors that vary and are compared across.
        codes: (C, axes) the level of each of them, as whole numbers.
        stratum: (C,) cells of one number are compared with each other.
        of: (M,) the cell of each model.

    >>> cells = Cells.of_design({"data": "aabb", "lr": [1, 2, 1, 2]}, strata=("data",))
    >>> cells.axes, int(cells.alone(0).sum())
    (('lr',), 4)
    """

    axes: tuple[str, ...]
    codes: np.ndarray
    stratum: np.ndarray
    of: np.ndarray

    @classmethod
    def of_design(cls, design: Mapping[str, Sequence], strata: Sequence[str] = ()) -> Cells:
        """Return the cells of a design.

        Args:
            design: factor → its level for each model; leave the seed out.
            strata: factors across which nothing is compared, such as the data.

        Raises:
            LandscapeError: an empty design, or columns of different lengths.
        """
        if not design:
            raise LandscapeError("The design is empty: name at least one hyperparameter and its value in each run.")
        runs = len(next(iter(design.values())))
        for name, values in design.items():
            if len(values) != runs:
                raise LandscapeError(
                    f"Hyperparameter {name!r} has {len(values)} values for {runs} runs: give one per run."
                )
        codes = np.stack([numbered(values) for values in design.values()], axis=1)
        of, first = groups(codes), np.unique(groups(codes), return_index=True)[1]
        fixed = [i for i, name in enumerate(design) if name in strata]
        free = [i for i, name in enumerate(design) if name not in strata and len(np.unique(codes[:, i])) > 1]
        axes = tuple(list(design)[i] for i in free)
        return cls(axes, codes[first][:, free], groups(codes[first][:, fixed]), of)

    def __len__(self) -> int:
        return len(self.codes)

    @property
    def together(self) -> np.ndarray:
        """(C, C) whether two cells are of one stratum, and not the same."""
        same: np.ndarray = self.stratum[:, None] == self.stratum
        return same & ~np.eye(len(self), dtype=bool)

    def alone(self, axis: int) -> np.ndarray:
        """(C, C) whether two cells of one stratum differ in one factor alone: that one."""
        differ = self.codes[:, None] != self.codes
        return self.together & differ[..., axis] & (differ.sum(axis=2) == 1)

    def means(self, *values: ArrayLike) -> tuple[np.ndarray, ...]:
        """Return the means (C,) of each variable over the models of each cell that have all of them; NaN where none has."""
        table = np.stack([np.asarray(v, dtype=np.float64) for v in values])
        equally_long(**{f"variable {i}": row for i, row in enumerate(table)}, design=self.of)
        there = np.isfinite(table).all(axis=0)
        count = np.bincount(self.of[there], minlength=len(self))
        with np.errstate(invalid="ignore"):
            return tuple(np.bincount(self.of[there], row[there], len(self)) / count for row in table)

    def resamples(self, count: int, seed: int = 0) -> np.ndarray:
        """Return how often each cell is drawn in bootstrap samples of the cells of every stratum, (count, C)."""
        if count < 1:
            raise LandscapeError(f"{count} resamples; expected at least 1")
        rng, drawn = np.random.default_rng(seed), np.zeros((count, len(self)))
        for number in np.unique(self.stratum):
            members = np.flatnonzero(self.stratum == number)
            drawn[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=count)
        return drawn


def numbered(values: Sequence) -> np.ndarray:
    """Number the distinct values in the order in which they come."""
    seen: dict = {}
    return np.array([seen.setdefault(value, len(seen)) for value in values], dtype=np.int64)


def groups(codes: np.ndarray) -> np.ndarray:
    """Number the distinct rows of `codes` (runs, axes): equal rows, equal number (runs,)."""
    if codes.shape[1] == 0:
        return np.zeros(len(codes), dtype=np.int64)
    return np.unique(codes, axis=0, return_inverse=True)[1].reshape(-1)
