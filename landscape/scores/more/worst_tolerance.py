"""The size of the worst-case box at which the 0–1 error rises by a tenth: alpha, plain and magnitude-aware."""

from __future__ import annotations

import numpy as np
import torch

from landscape.scores import quantities
from landscape.scores.apgd import maximize
from landscape.scores.compose import compose
from landscape.scores.functionals import Case, Functional
from landscape.scores.levels import RISE, find_level
from landscape.scores.perturbations import box, ones, weights_plus_one
from landscape.scores.quantities import Meter
from landscape.scores.register import Measurement


def _tolerated_box(case: Case, *, rise: float = RISE, iterations: int = 10, guess: float = 1.0) -> list[Measurement]:
    moved, meter = case.perturbation, Meter()
    start, values = case.quantity.begin(case.objective, meter)
    whole = case.objective.rebatch(case.objective.n)

    def errors(level: float) -> np.ndarray:
        climb = moved.rise(whole, whole.batches[0])
        origin = torch.zeros_like(moved.c)
        with whole.guard(), torch.no_grad():
            *_, best = maximize(climb, moved.ascent, moved.projection(level), origin, 2 * level, iterations=iterations)
        meter.gradient(iterations + 1)
        return values(case.displaced([moved.displacement(best)])) - start

    level, _ = find_level(errors, start, guess=guess * moved.size, rise=rise)
    return [Measurement(level**-2, gradients=meter.gradients)]


tolerated_box = Functional(_tolerated_box, unit="1", guesses=True, over="a set")
"""Inverse square of the box in which the quantity rises by a given amount, at the largest loss on all data that APGD meets."""

inverse_alpha = compose(
    "inverse-alpha",
    "worst-case flatness of the 0–1 error",
    quantities.error,
    box(ones),
    tolerated_box.with_(guess=0.01),
    family="error based",
    formula="1/α², max over |u| ≤ α of err(w + u) = err(w) + 0.1",
    source="Jiang et al. 2020, arXiv 1912.02178, SHARPNESS-FLAT",
    cost=150,
)
inverse_alpha_mag = compose(
    "inverse-alpha-mag",
    "worst-case flatness of the 0–1 error, magnitude-aware",
    quantities.error,
    box(weights_plus_one),
    tolerated_box.with_(guess=2e-3),
    family="error based",
    formula="1/α′², max over |u| ≤ α′(|w|+1) of err(w + u) = err(w) + 0.1",
    source="Dziugaite et al. 2020, arXiv 2010.11924, SHARPNESS-MAG-FLAT",
    cost=150,
)
