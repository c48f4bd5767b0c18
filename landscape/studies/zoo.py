"""A zoo of small networks at one loss, and what is measured on each: what factors do to scores, and scores say of test error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

import landscape
from landscape.comparison import PRIMARY
from landscape.errors import LandscapeError
from landscape.function.checkpoint import Checkpoint
from landscape.function.objective import Objective
from landscape.results import Effect, Finding, Trials
from landscape.results.scores import score_columns
from landscape.results.trials import REACHED
from landscape.scores.panel import Panel
from landscape.scores.register import REGISTRY
from landscape.scores.sharpness import measured
from landscape.statistics.contrasts import contrast
from landscape.store import open_study
from landscape.studies.grid import grid
from landscape.studies.registry import Experiment, published
from landscape.studies.zoo_networks import FACTORS, GROUP, KINDS, WEIGHTS, checkpoint_of, split_of, zoo_networks

VERSION = 1
"""Of how networks are drawn and measured: another version has other numbers."""
EVALUATED = 250
"""Training examples that scores are measured on: all of 250, every fourth of 1,000, so that all cost and vary alike."""
SCORES = (
    "adaptive-worst-symmetric",
    "adaptive-average",
    "inverse-sigma-mag",
    "adaptive-average-loss",
    "adaptive-average-error",
    "inverse-sigma",
    "sam",
    "m-sharpness",
    "asam",
    "trace",
    "frobenius",
    "lambda-max",
    "adaptive-trace",
    "adaptive-lambda-max",
    "curvature-at-scale",
    "relative-flatness",
    "fisher-rao",
    "input-jacobian",
    "gradient-norm",
    "gradient-covariance",
    "noise-scale",
    "linearisation-error",
    "loss",
    "margin",
    "margin-normalized",
    "confidence",
    "logit-norm",
    "calibration-error",
    "weight-norm",
    "distance-from-init",
    "relative-movement",
)
EFFECTS = (*PRIMARY, "trace", "lambda-max", "test_error")
"""What factors are contrasted in."""
CONTRASTS = (
    ("effective_step", 0.05, 0.5),
    ("momentum", 0.0, 0.9),
    ("label_noise", 0.0, 0.2),
    ("label_noise", 0.0, 1.0),
    ("examples", 1000, 250),
)
"""Factors with the two levels that are compared; one decade of effective step."""
TARGET = 0.01
WITHIN = ("effective_step", "momentum", "label_noise")
"""What differs within a group of networks."""
WORDS = {"effective_step": "η/(1 − β)", "momentum": "β", "label_noise": "label noise", "test_error": "test error"}
ROUNDING = 0.1
"""Change of the loss by rounding the weights, as a share of `TARGET`, from which a network counts as one that missed it."""
RADII = {"adaptive-worst-symmetric": (4e-3, 16e-3)}
OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "adaptive-average": {"pairs": 4},
    "adaptive-average-loss": {"pairs": 4},
    "adaptive-average-error": {"pairs": 4},
    "inverse-sigma-mag": {"samples": 8},
    "inverse-sigma": {"samples": 8},
    "trace": {"matvecs": 10},
    "adaptive-trace": {"matvecs": 10},
    "lambda-max": {"max_matvecs": 15},
    "adaptive-lambda-max": {"max_matvecs": 15},
}


def scored(checkpoints: Sequence[Checkpoint], panel: Panel, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Return the scores of networks as columns of `Trials`: small ones of one architecture together, each with its seed."""
    objectives = [evaluated(one.objective()) for one in checkpoints]
    rows: list[dict[str, Any]] = []
    for one, at, seed, known in zip(checkpoints, objectives, seeds, panel.together(objectives, seeds), strict=True):
        row: dict[str, Any] = {}
        found = measured(at, replace(panel, seed=seed, checkpoint=one), known)
        for definition in panel.definitions:
            row |= score_columns(definition.slug, found.all(definition.slug), radii_of(definition.slug))
        rows.append(row)
    return rows


def shortened(theta: np.ndarray) -> np.ndarray:
    """Round float32 to the 11 digits (binary) of float16, whose range the weights of networks that nearly diverged leave.

    >>> shortened(np.float32([1 + 2**-11, 3e9])).tolist()
    [1.0, 3001024512.0]
    """
    fraction, exponent = np.frexp(theta)
    return np.ldexp(np.round(fraction * 2048) / 2048, exponent).astype(np.float32)


def evaluated(objective: Objective) -> Objective:
    """Return the part of a training loss that scores are measured on."""
    return objective.subset(range(0, objective.n, max(1, objective.n // EVALUATED)))


def panel_of(scores: Sequence[str]) -> Panel:
    """Return the panel of some scores with the options of the zoo."""
    radii = {slug: grid for slug, grid in RADII.items() if slug in scores}
    return Panel(list(scores), radii=radii, options={slug: own for slug, own in OPTIONS.items() if slug in scores})


def radii_of(slug: str) -> tuple[float, ...]:
    """Return the radii at which the zoo measures a score, none where it has none."""
    return RADII.get(slug, REGISTRY[slug].radii)


@published
def measure_zoo(
    networks: Callable[..., Trials] = zoo_networks,
    *,
    scores: Sequence[str] = SCORES,
    kept: int = 2,
    workers: int = 1,
    save: str | os.PathLike[str] | None = None,
) -> Trials:
    """Measure a zoo of small networks: scores of sharpness and controls on own training data, at one training loss.

    The weights are rounded to 11 binary digits first, and measured as they are kept. Networks that did not reach the loss have
    no score, nor have those whose loss the rounding moves by a tenth of it or more (`ROUNDING`): their weights had grown so
    large that what is kept is no longer what was trained.

    Args:
        networks: called with ``workers=`` and ``save=``; returns them as `zoo_networks` does, which keeps them in a file beside,
            ``zoo-networks.h5``.
        scores: slugs.
        kept: seeds, the first ones, whose networks are kept with their weights.

    Returns:
        `Trials`, one row per network.

    >>> len(SCORES) == len(set(SCORES))
    True
    """
    beside = None if save is None else Path(save).with_name(f"{Path(save).stem}-networks.h5")
    trained = networks(workers=workers, save=beside)
    panel, shown = panel_of(scores), [slug for slug in EFFECTS if slug in scores]
    return grid(
        partial(_measured, trained, panel, trained.levels("seed")[:kept]),
        {name: trained.levels(name) for name in GROUP},
        name="zoo",
        settings={
            "version": VERSION,
            "scores": list(scores),
            "radii": panel.radii,
            "options": panel.options,
            "kept": kept,
            "test_examples": min(len(split_of(*kind).test[1]) for kind in KINDS),
            "networks": trained.settings,
        },
        also=WITHIN,
        arrays=(WEIGHTS, "draw"),
        coordinates={slug: np.array(radii_of(slug)) for slug in scores if len(radii_of(slug)) > 1},
        geometric=tuple(slug for slug in scores if slug not in ("loss", "train_loss")),
        parts=("network", "data"),
        effects=_effects,
        findings=_findings,
        shown=("steps", "train_loss", "train_error", "test_error", *shown),
        words=WORDS,
        view={"x": "effective_step", "y": [*shown, "test_error"], "hue": "label_noise"},
        workers=workers,
        save=save,
        desc="groups of networks",
    )


def _measured(networks: Trials, panel: Panel, seeds: Sequence[int], **group: Any) -> list[dict[str, Any]]:
    part = networks.where(**group)
    columns = {**part.factors, **part.measures}
    rows = [{name: values[i].item() for name, values in columns.items()} for i in range(len(part))]
    weights = shortened(part.arrays[WEIGHTS])
    checkpoints = [
        checkpoint_of(row, theta) if np.isfinite(theta).all() else None
        for row, theta in zip(rows, weights, strict=True)
    ]
    fits = [_fit(one) for one in checkpoints]
    reached = {
        i: one
        for i, (row, fit, one) in enumerate(zip(rows, fits, checkpoints, strict=True))
        if one is not None and row[REACHED] and abs(fit["train_loss"] / TARGET - 1) < ROUNDING
    }
    draws = [int(rows[i]["draw"]) for i in reached]
    found = dict(zip(reached, scored([*reached.values()], panel, draws), strict=True))
    return [
        {
            **{name: row[name] for name in (*WITHIN, "draw", "steps")},
            REACHED: float(i in found),
            **fits[i],
            **found.get(i, {}),
            WEIGHTS: weights[i] if i in found and row["seed"] in seeds else np.zeros_like(weights[i]),
        }
        for i, row in enumerate(rows)
    ]


def _fit(checkpoint: Checkpoint | None) -> dict[str, float]:
    """Return loss and error on all training and all test examples; NaN for weights that are not finite."""
    fit: dict[str, float] = {}
    for part in ("train", "test"):
        values = {"loss": np.nan, "accuracy": np.nan} if checkpoint is None else checkpoint.objective(part).evaluate()
        fit |= {f"{part}_loss": values["loss"], f"{part}_error": 1 - values["accuracy"]}
    return fit


def _effects(trials: Trials) -> Iterator[Effect]:
    """Compare cells that differ in one factor alone: pairs of means over seeds, of all networks and of each architecture."""
    parts = {"": trials, **{name: trials.where(network=name) for name in trials.levels("network")}}
    for part, chosen in parts.items():
        cells = _positive(chosen).by(*FACTORS)
        for factor, a, b in CONTRASTS:
            if {a, b} <= set(cells.levels(factor)):
                others = [cells.factors[name].tolist() for name in FACTORS if name != factor]
                rest = np.array(["/".join(map(str, levels)) for levels in zip(*others, strict=True)])
                paired = cells.replace(factors={**cells.factors, "rest": rest})
                for measure in (name for name in EFFECTS if name in cells.measures):
                    scale: Literal["raw", "log10"] = "raw" if measure == "test_error" else "log10"
                    yield replace(contrast(paired, measure, factor, a, b, pair="rest", scale=scale), part=part)


def _positive(trials: Trials) -> Trials:
    """Leave out scores that have no logarithm: curvatures of networks whose loss is flat or falls, after they nearly diverged."""
    scores = {name: trials.measures[name] for name in EFFECTS if name in trials.measures and name != "test_error"}
    kept = {name: np.where(values > 0, values, np.nan) for name, values in scores.items()}
    return trials.replace(measures={**trials.measures, **kept})


def _findings(trials: Trials) -> Iterator[Finding]:
    rows, reached = trials.effects, int(trials.met.sum())
    yield Finding("networks", f"{reached} of {len(trials)} reached cross-entropy {TARGET:g}")
    for part, factor, a, b in dict.fromkeys((row.part, row.factor, row.a, row.b) for row in rows):
        own = [row for row in rows if (row.part, row.factor, row.a, row.b) == (part, factor, a, b) and row.runs_a]
        chance = ["" if row.p_value is None else f" p {row.p_value:.2g}" for row in own]
        text = "; ".join(f"{row.measure} {row.change} {row.interval}{p}" for row, p in zip(own, chance, strict=True))
        pairs = f" ({max(row.runs_a for row in own)} pairs of cells)" if own else ""
        label = f"{trials.words.get(factor, factor)} {a} → {b}" + (f", {part}" if part else "")
        yield Finding(label, f"{text}{pairs}")


@dataclass(frozen=True, eq=False, repr=False)
class Zoo:
    """Trained networks with what was measured on them.

    Attributes:
        trials: one row per network, also of those without weights here.
        kept: (K,) rows of the networks whose weights are here.
    """

    trials: Trials
    kept: np.ndarray

    def __len__(self) -> int:
        return len(self.kept)

    def __repr__(self) -> str:
        return f"Zoo({len(self)} networks with weights, a table of {len(self.trials)} with {len(self.trials.measures)} measures)"

    def checkpoint(self, row: int) -> Checkpoint:
        """Return a network with the data that it was trained on.

        Args:
            row: of the table, one of `kept`.

        Raises:
            LandscapeError: the weights of that network are not here, or the data cannot be made.
        """
        if row not in self.kept:
            raise LandscapeError(f"the zoo has no weights of row {row}; it has those of the rows zoo.kept")
        known = {**self.trials.factors, **self.trials.measures, **self.trials.arrays}
        return checkpoint_of({name: values[row] for name, values in known.items()}, known[WEIGHTS][row])

    def objective(self, row: int) -> Objective:
        """Return the function that a network's scores in the table are of: 250 examples that it was trained on.

        Args:
            row: of the table, one of `kept`.
        """
        return evaluated(self.checkpoint(row).objective())

    def measure(self, rows: Sequence[int], scores: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Measure scores of some networks as those in the table were, with the same options and random draws.

        Args:
            rows: of the table, among `kept`.
            scores: slugs of the register, also of scores that are not in the table.

        Yields:
            For each network, columns as those of the table.
        """
        panel, draws = panel_of(scores), [int(self.trials.arrays["draw"][row]) for row in rows]
        for row, draw in zip(rows, draws, strict=True):
            yield from scored([self.checkpoint(row)], replace(panel, seed=draw), [draw])


def zoo(path: str | os.PathLike[str] | None = None) -> Zoo:
    """Open the zoo: small networks at one training loss, with weights, data and scores. Nothing is downloaded.

    MNIST-1D is made on the spot by the ``mnist1d`` package when a network of it is asked for.

    Args:
        path: a study file of the zoo; `None`: ``data/zoo.h5`` of the repository that the package lies in.

    Raises:
        LandscapeError: there is no file, or it holds no zoo, or one of another version.

    >>> import landscape as ls
    >>> zoo = ls.zoo()  # doctest: +SKIP
    >>> zoo.checkpoint(zoo.kept[0])  # doctest: +SKIP
    Checkpoint(mlp-digits-0.015-0.0-0.0-250-0: P=4,810, lr=0.015, momentum=0.0, step=5242)
    """
    if path is not None and not isinstance(path, str | os.PathLike):
        raise LandscapeError(
            f"path={path!r} is {type(path).__name__}, expected the path of a zoo, or None for the one here"
        )
    file = Path(landscape.__file__).parents[1] / "data" / "zoo.h5" if path is None else Path(path)
    if not file.exists():
        raise LandscapeError(
            f"no zoo at {file}; pass the path of data/zoo.h5 of the repository, or make it: landscape experiment zoo"
        )
    trials = open_study(file).get(STUDY.name)
    if not isinstance(trials, Trials) or WEIGHTS not in trials.arrays:
        raise LandscapeError(f"{file.name} holds no zoo; expected trials with weights under {STUDY.name!r}")
    if trials.settings.get("version") != VERSION:
        raise LandscapeError(
            f"{file.name} holds a zoo of version {trials.settings.get('version')}, and this package reads version {VERSION}; "
            "use the file of the same repository, or make it again: landscape experiment zoo"
        )
    return Zoo(trials, np.flatnonzero(trials.arrays[WEIGHTS].any(1)))


STUDY = Experiment(
    name="zoo",
    question="What do step size, momentum, label noise and few examples do to sharpness, and what does it say of test error?",
    function=measure_zoo,
    quick={
        "networks": partial(
            zoo_networks, ("mlp",), ("digits",), steps=(0.5,), noise=(0.0, 1.0), examples=(50,), seeds=(0, 1), slow=2
        ),
        "scores": ("adaptive-average", "trace", "margin", "weight-norm"),
    },
)
