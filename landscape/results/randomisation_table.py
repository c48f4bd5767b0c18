"""The result of training over a grid of label noise: scores at matched loss, epoch and norm, and one trend a score."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from landscape.results.base import Result
from landscape.results.comparison import Audited, Placebo, over_radii
from landscape.results.schema import array, arrays, nested, rows
from landscape.tables import duration, format_table


@dataclass(frozen=True)
class NoiseTrend:
    """How one score moves with the share of redrawn labels, for one recipe at one place of its training.

    Attributes:
        recipe: slug.
        stage: where in training, e.g. ``loss-0.01``.
        evaluation: ``own``, ``label-free``, ``clean`` or ``corrupted``.
        score: slug.
        primary: whether the verdict rests on it.
        scale: ``log10`` for positive scores (geometric mean over radii), ``raw`` for the others.
        change: mean over seeds of the value at the highest noise level less that at the lowest, on that scale.
        spread: standard deviation of that difference over seeds; NaN for a single seed.
        tau: Kendall's tau of score and noise level, mean over seeds.
        p_value: two-sided, from Page's test with seeds as blocks; `None` where it is not defined.
        p_holm: after Holm's correction over the primary scores on own labels; `None` for the others.
        sign_stable: the change has one sign at every radius.
        seeds: seeds with a value at every level that has any.
        levels: noise levels with a value; the corrupted part has none without noise.
    """

    recipe: str
    stage: str
    evaluation: str
    score: str
    primary: bool
    scale: str
    change: float
    spread: float
    tau: float
    p_value: float | None
    p_holm: float | None
    sign_stable: bool
    seeds: int
    levels: int


@dataclass(frozen=True)
class NoiseVerdict:
    """What may be said of minima and label noise, for one recipe at one place of its training.

    Attributes:
        recipe: slug.
        stage: where in training.
        verdict: ``spikier``, ``flatter``, ``mixed``, ``inconclusive`` or ``not comparable``, with growing noise.
        loss_ratio: largest over smallest mean training loss of the noise levels, less one.
        accuracy_gap: largest less smallest mean training accuracy.
        gradient: largest over noise levels of the median mean gradient in units of its sampling noise.
        reached: runs that got there.
        runs: runs made.
        text: the same in a sentence that claims geometry only.
    """

    recipe: str
    stage: str
    verdict: str
    loss_ratio: float
    accuracy_gap: float
    gradient: float
    reached: int
    runs: int
    text: str


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class RandomisationTable(Result):
    """Runs over noise levels, seeds and recipes, measured where they match in loss, in epoch and in weight norm.

    Attributes:
        recipes: slugs.
        long_names: their names in words.
        stages: places on the way: ``loss-0.01``, ``epoch-100``, ``norm-12.5``.
        noise: (noise,) probability with which a label was redrawn.
        seeds: (seed,) seeds.
        epochs: (epoch,) numbers of epochs of the learning curves.
        metrics: (recipe, noise, seed, stage) fit, test error, epoch and step; ``reached`` is 0 where training never got
            there and the numbers are those of its end.
        lengths: (recipe, noise, seed) optimiser steps to an accuracy or a loss, at the end of an epoch; NaN where never.
        curves: (recipe, noise, seed, epoch) training loss and accuracy; NaN after the last epoch.
        scores: (recipe, noise, seed, stage, radius) by ``evaluation/score``; NaN where not measured or not reached.
        errors: their Monte-Carlo standard errors.
        radii: (radius,) by score; NaN where a score has fewer or none.
        trends: one row a recipe, stage, evaluation and score.
        verdicts: one row a recipe and stage.
        audited: how the primary scores of one network without and one with the most noise took transformations.
        audit: the same in words.
        placebo: how often the rule finds a trend in runs of one noise level, and how large a one it can see.
    """

    kind: ClassVar[str] = "randomisation-table"
    location: ClassVar[str] = "experiments/{entry}"

    recipes: tuple[str, ...]
    long_names: tuple[str, ...]
    stages: tuple[str, ...]
    noise: np.ndarray = array("noise", long_name="probability with which a label was redrawn")
    seeds: np.ndarray = array("seed", long_name="seed")
    epochs: np.ndarray = array("epoch", long_name="epochs finished")
    metrics: Mapping[str, np.ndarray] = arrays("recipe", "noise", "seed", "stage", long_name="fit and test error")
    lengths: Mapping[str, np.ndarray] = arrays("recipe", "noise", "seed", long_name="optimiser steps", units="step")
    curves: Mapping[str, np.ndarray] = arrays("recipe", "noise", "seed", "epoch", long_name="learning curve")
    scores: Mapping[str, np.ndarray] = arrays("recipe", "noise", "seed", "stage", "radius", long_name="score")
    errors: Mapping[str, np.ndarray] = arrays(
        "recipe", "noise", "seed", "stage", "radius", long_name="Monte-Carlo standard error"
    )
    radii: Mapping[str, np.ndarray] = arrays("radius", long_name="radius of the score")
    trends: tuple[NoiseTrend, ...] = rows(NoiseTrend, dim="trend")
    verdicts: tuple[NoiseVerdict, ...] = rows(NoiseVerdict, dim="verdict")
    audited: tuple[Audited, ...] = rows(Audited, dim="audited")
    audit: str = "not run"
    placebo: Placebo | None = nested(Placebo, optional=True)

    def values(self, name: str, stage: str, recipe: str | None = None) -> np.ndarray:
        """Return one score, (noise, seed): the geometric mean over its radii, or the value itself.

        Args:
            name: ``evaluation/score``.
            stage: one of `stages`.
            recipe: one of `recipes`; `None`: the first.

        Raises:
            KeyError: no such score, stage or recipe.
        """
        if name not in self.scores:
            raise KeyError(f"no score {name!r}; there are {', '.join(self.scores)}")
        block = self.scores[name][self._place(self.recipes, recipe or self.recipes[0])]
        block = block[:, :, self._place(self.stages, stage)]
        return over_radii(block.reshape(-1, block.shape[-1])).reshape(block.shape[:2])

    def metric(self, name: str, stage: str, recipe: str | None = None) -> np.ndarray:
        """Return one metric, (noise, seed).

        Raises:
            KeyError: no such metric, stage or recipe.
        """
        if name not in self.metrics:
            raise KeyError(f"no metric {name!r}; there are {', '.join(self.metrics)}")
        place = self._place(self.recipes, recipe or self.recipes[0])
        return self.metrics[name][place][:, :, self._place(self.stages, stage)]

    @staticmethod
    def _place(names: tuple[str, ...], name: str) -> int:
        if name not in names:
            raise KeyError(f"no {name!r}; there are {', '.join(names)}")
        return names.index(name)

    def table(self, style: str = "text", *, stage: str | None = None) -> str:
        """Return mean scores over seeds at every noise level, with the trend, for every recipe.

        Args:
            style: ``text`` or ``markdown``.
            stage: one of `stages`; `None`: every stage at a matched loss.

        Raises:
            KeyError: no such stage.
        """
        chosen = [name for name in self.stages if name.startswith("loss-")] if stage is None else [stage]
        parts = []
        for one in chosen:
            self._place(self.stages, one)
            for recipe, long_name in zip(self.recipes, self.long_names, strict=True):
                heading = f"{long_name}, {one.replace('-', ' ')}"
                title = f"### {heading}\n" if style == "markdown" else heading
                parts.append(f"{title}\n{self._table(one, recipe, style)}")
        return "\n\n".join(parts)

    def _table(self, stage: str, recipe: str, style: str) -> str:
        header = ("score", *(f"p = {level:g}" for level in self.noise), "change", "τ", "p (Page)")
        body: list[tuple[str, ...]] = []
        for name in ("train/loss", "train/accuracy", "test/error", "step"):
            cells = (_mean(row, log=False) for row in self.metric(name, stage, recipe))
            body.append((name, *cells, "", "", ""))
        for row in self.trends:
            if (row.recipe, row.stage) == (recipe, stage):
                name = f"{row.evaluation}/{row.score}"
                cells = (_mean(values, log=row.scale == "log10") for values in self.values(name, stage, recipe))
                change = f"× {10**row.change:.3g}" if row.scale == "log10" else f"{row.change:+.3g}"
                p = row.p_value if row.p_holm is None else row.p_holm
                tau = "—" if np.isnan(row.tau) else f"{row.tau:+.2f}"
                body.append((name, *cells, change, tau, "—" if p is None else f"{p:.1g}"))
        return format_table(header, body, style)

    def summary(self) -> Iterator[tuple[str, str]]:
        """Yield what was run, the verdict of each recipe at each loss, then audit and placebo."""
        runs = len(self.recipes) * len(self.noise) * len(self.seeds)
        yield "runs", f"{runs}: {len(self.recipes)} recipes × {len(self.noise)} noise levels × {len(self.seeds)} seeds"
        for row in self.verdicts:
            yield f"{row.recipe}, {row.stage}", row.text
        yield "audit", self.audit
        if self.placebo is not None:
            yield from ((f"placebo, {label}", text) for label, text in self.placebo.summary() if label != "arms")
        yield "time", duration(self.seconds)


def _mean(values: np.ndarray, *, log: bool) -> str:
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "—"
    if log and (finite > 0).all():
        return f"{np.exp(np.log(finite).mean()):.3g}"
    return f"{finite.mean():.3g}"
