"""A zoo of small networks at one loss, and what is measured on each: what factors do to scores, and scores say of test error."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch

from landscape.function.checkpoint import Checkpoint
from landscape.function.objective import Objective
from landscape.results.scores import score_columns
from landscape.results.trials import Trials
from landscape.scores.panel import Panel
from landscape.scores.register import select
from landscape.scores.sharpness import measured
from landscape.studies.grid import grid
from landscape.studies.registry import published
from landscape.studies.zoo_networks import KINDS, WEIGHTS, recipe_of, split_of, zoo_networks
from landscape.training.training_data import training_set

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
    objectives = [_evaluated(one.objective()) for one in checkpoints]
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


def _evaluated(objective: Objective) -> Objective:
    return objective.subset(range(0, objective.n, max(1, objective.n // EVALUATED)))


def _radii(panel: Panel, slug: str) -> tuple[float, ...]:
    given = panel.radii.get(slug) if isinstance(panel.radii, Mapping) else panel.radii
    return tuple(given if given is not None else select([slug])[0].radii)


@published
def zoo(
    networks: Trials | None = None,
    *,
    scores: Sequence[str] = SCORES,
    workers: int = 1,
    save: str | os.PathLike[str] | None = None,
) -> Trials:
    """Measure a zoo of small networks: scores of sharpness and controls on own training data, at one training loss.

    The weights are rounded to 11 binary digits first, and measured as they are kept. Networks that did not reach the loss have
    no score.

    Args:
        networks: as `zoo_networks` returns them; `None`: trained first, and kept in the study file as ``zoo-networks``.
        scores: slugs.

    Returns:
        `Trials`, one row per network.

    >>> len(SCORES) == len(set(SCORES))
    True
    """
    networks = zoo_networks(workers=workers, save=save) if networks is None else networks
    panel = Panel(
        list(scores),
        radii={slug: grid for slug, grid in RADII.items() if slug in scores},
        options={slug: given for slug, given in OPTIONS.items() if slug in scores},
    )
    grids = {slug: np.array(radii) for slug in scores if (radii := _radii(panel, slug))}
    return grid(
        partial(_measured, networks, panel),
        {name: networks.levels(name) for name in ("network", "data", "examples", "seed")},
        name="zoo",
        settings={
            "scores": list(scores),
            "radii": panel.radii,
            "options": panel.options,
            "networks": networks.settings,
        },
        also=("effective_step", "momentum", "label_noise"),
        arrays=(WEIGHTS,),
        coordinates={slug: radii for slug, radii in grids.items() if len(radii) > 1},
        geometric=tuple(slug for slug in scores if slug != "loss"),
        workers=workers,
        save=save,
        desc="groups of networks",
    )


def _measured(networks: Trials, panel: Panel, **group: Any) -> list[dict[str, Any]]:
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
    reached = [i for i, row in enumerate(rows) if row["reached"]]
    draws = [int(rows[i]["draw"]) for i in reached]
    found = dict(zip(reached, scored([checkpoints[i] for i in reached], panel, draws), strict=True))
    kept = ("effective_step", "momentum", "label_noise", "reached", "draw", "steps")
    return [
        {**{name: row[name] for name in kept}, **_fit(checkpoints.get(i)), **found.get(i, {}), WEIGHTS: weights[i]}
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
