"""A zoo of small networks at one loss, and what is measured on each: what factors do to scores, and scores say of test error."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from landscape.comparison import PRIMARY
from landscape.function.checkpoint import Checkpoint
from landscape.function.objective import Objective
from landscape.results.effects import Effect, Finding
from landscape.results.scores import score_columns
from landscape.results.trials import REACHED, Trials
from landscape.scores.panel import Panel
from landscape.scores.register import select
from landscape.scores.sharpness import measured
from landscape.statistics.contrasts import contrast
from landscape.studies.grid import grid
from landscape.studies.registry import Experiment, published
from landscape.studies.zoo_networks import KINDS, WEIGHTS, recipe_of, split_of, zoo_networks
from landscape.training.training_data import training_set

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
CELL = ("network", "data", "examples", "effective_step", "momentum", "label_noise")
CONTRASTS = (
    ("effective_step", 0.05, 0.5),
    ("momentum", 0.0, 0.9),
    ("label_noise", 0.0, 0.2),
    ("label_noise", 0.0, 1.0),
    ("examples", 1000, 250),
)
"""Factors with the two levels that are compared; one decade of effective step."""
TARGET = 0.01
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


def checkpoint_of(row: Mapping[str, Any], theta: np.ndarray) -> Checkpoint:
    """Return a network of the zoo with the data that it was trained on, all drawn again from its seed.

    Its batch size is left out: what it is trained and scored on are frozen norm statistics of all its training examples.

    Args:
        row: its factors and measures by name, as in the zoo's `Trials`.
        theta: its weights, padded.
    """
    kind, split = KINDS[row["network"], row["data"]], split_of(row["network"], row["data"])
    cell = ("network", "data", "effective_step", "momentum", "label_noise", "examples")
    recipe, draw = recipe_of(*(row[name] for name in cell)), int(row["draw"])
    data, model = training_set(recipe, split, seed=draw), kind.factory(seed=draw)
    init = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    flat, shapes = torch.from_numpy(theta.astype(np.float32)), {n: p.shape for n, p in model.named_parameters()}
    parts = flat.split(
        [shape.numel() for shape in shapes.values()] + [len(flat) - sum(p.numel() for p in model.parameters())]
    )
    weights = {name: part.view(shape) for (name, shape), part in zip(shapes.items(), parts)}
    return Checkpoint(
        model,
        {**init, **weights},
        loss="cross_entropy",
        train=(data.X, data.y),
        test=split.test,
        init=init,
        optimizer="sgd",
        lr=recipe.lr,
        momentum=recipe.momentum,
        step=int(row["steps"]),
        name="-".join(str(row[name]) for name in (*cell, "seed")),
    )


def scored(checkpoints: Sequence[Checkpoint], panel: Panel, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Return the scores of networks as columns of `Trials`, small ones of one architecture evaluated together.

    Args:
        checkpoints: any.
        panel: which scores, and how.
        seeds: of the random draws of each.
    """
    objectives = [evaluated(one.objective()) for one in checkpoints]
    rows: list[dict[str, Any]] = []
    for one, at, seed, known in zip(checkpoints, objectives, seeds, panel.together(objectives, seeds), strict=True):
        row: dict[str, Any] = {}
        found = measured(at, replace(panel, seed=seed, checkpoint=one), known)
        for definition in panel.definitions:
            row |= score_columns(definition.slug, found.all(definition.slug), _radii(panel, definition.slug))
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
    return Panel(
        list(scores),
        radii={slug: grid for slug, grid in RADII.items() if slug in scores},
        options={slug: given for slug, given in OPTIONS.items() if slug in scores},
    )


def _radii(panel: Panel, slug: str) -> tuple[float, ...]:
    given = panel.radii.get(slug) if isinstance(panel.radii, Mapping) else panel.radii
    return tuple(given if given is not None else select([slug])[0].radii)


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
    panel = panel_of(scores)
    grids = {slug: np.array(radii) for slug in scores if (radii := _radii(panel, slug))}
    return grid(
        partial(_measured, trained, panel, trained.levels("seed")[:kept]),
        {name: trained.levels(name) for name in ("network", "data", "examples", "seed")},
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
        also=("effective_step", "momentum", "label_noise"),
        arrays=(WEIGHTS, "draw"),
        coordinates={slug: radii for slug, radii in grids.items() if len(radii) > 1},
        geometric=tuple(slug for slug in scores if slug not in ("loss", "train_loss")),
        parts=("network", "data"),
        effects=lambda trials: tuple(_effects(trials)),
        findings=_findings,
        shown=("steps", "train_loss", "train_error", "test_error", *(slug for slug in EFFECTS if slug in scores)),
        words={
            "effective_step": "η/(1 − β)",
            "momentum": "β",
            "label_noise": "label noise",
            "test_error": "test error",
        },
        view={
            "x": "effective_step",
            "y": [*(slug for slug in EFFECTS if slug in scores), "test_error"],
            "hue": "label_noise",
        },
        workers=workers,
        save=save,
        desc="groups of networks",
    )


def _measured(networks: Trials, panel: Panel, seeds: Sequence[int], **group: Any) -> list[dict[str, Any]]:
    """Measure the networks of one group."""
    part = networks.where(**group)
    rows = [
        {name: values[i].item() for name, values in {**part.factors, **part.measures}.items()} for i in range(len(part))
    ]
    weights = shortened(part.arrays[WEIGHTS])
    checkpoints = {
        i: checkpoint_of(row, theta)
        for i, (row, theta) in enumerate(zip(rows, weights, strict=True))
        if np.isfinite(theta).all()
    }
    fits = [_fit(checkpoints.get(i)) for i in range(len(rows))]
    reached = [i for i, row in enumerate(rows) if row["reached"] and abs(fits[i]["train_loss"] / TARGET - 1) < ROUNDING]
    draws = [int(rows[i]["draw"]) for i in reached]
    found = dict(zip(reached, scored([checkpoints[i] for i in reached], panel, draws), strict=True))
    kept = ("effective_step", "momentum", "label_noise", "draw", "steps")
    return [
        {
            **{name: row[name] for name in kept},
            REACHED: float(i in found),
            **fits[i],
            **found.get(i, {}),
            WEIGHTS: weights[i] if i in found and row["seed"] in seeds else np.zeros_like(weights[i]),
        }
        for i, row in enumerate(rows)
    ]


def _fit(checkpoint: Checkpoint | None) -> dict[str, float]:
    """Return loss and error on all training and all test examples; NaN for weights that are not finite."""
    if checkpoint is None:
        return dict.fromkeys(("train_loss", "train_error", "test_loss", "test_error"), np.nan)
    train, test = (checkpoint.objective(on).evaluate() for on in ("train", "test"))
    return {
        "train_loss": train["loss"],
        "train_error": 1 - train["accuracy"],
        "test_loss": test["loss"],
        "test_error": 1 - test["accuracy"],
    }


def _effects(trials: Trials) -> Iterator[Effect]:
    """Compare cells that differ in one factor alone: pairs of means over seeds, of all networks and of each architecture."""
    parts = {"": trials, **{name: trials.where(network=name) for name in trials.levels("network")}}
    for part, chosen in parts.items():
        cells = _positive(chosen).by(*CELL)
        for factor, a, b in CONTRASTS:
            if {a, b} <= set(cells.levels(factor)):
                others = [cells.factors[name].tolist() for name in CELL if name != factor]
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
    """Say what each factor does."""
    rows, reached = trials.effects, int(trials.met.sum())
    yield Finding("networks", f"{reached} of {len(trials)} reached cross-entropy {TARGET:g}")
    for part, factor, a, b in dict.fromkeys((row.part, row.factor, row.a, row.b) for row in rows):
        own = [row for row in rows if (row.part, row.factor, row.a, row.b) == (part, factor, a, b) and row.runs_a]
        text = "; ".join(f"{row.measure} {row.change} {row.interval}{_p(row)}" for row in own)
        pairs = f" ({max(row.runs_a for row in own)} pairs of cells)" if own else ""
        label = f"{trials.words.get(factor, factor)} {a} → {b}" + (f", {part}" if part else "")
        yield Finding(label, f"{text}{pairs}")


def _p(effect: Effect) -> str:
    return "" if effect.p_value is None else f" p {effect.p_value:.2g}"


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
