"""Sharpness scores, each with its formula, cost, uncertainty and invariances, and the panel that measures them.

A score is a functional of a quantity under a perturbation, in a gauge (`compose`), or a function (`score`). The parts are in
`gauges`, `quantities`, `perturbations`, `functionals`, `levels` and `crossings`; rare scores are in `more`. The function of every
score of the register is here under its name, such as `adaptive_average`.
"""

from typing import TYPE_CHECKING, Any

from landscape.scores import crossings, functionals, gauges, levels, perturbations, quantities
from landscape.scores.audit import audit
from landscape.scores.catalogue import basin
from landscape.scores.compose import compose
from landscape.scores.critical import critical_point
from landscape.scores.register import REGISTRY, Definition, Measurement, describe, score, select
from landscape.scores.sharpness import sharpness
from landscape.scores.subsampling import sampling_error

# isort: split
# these enter their scores into the register; rare ones come last in their families
from landscape.scores import fit, relative_flatness, single_gradients, stability  # noqa: F401

# isort: split
from landscape.scores import more  # noqa: F401

if TYPE_CHECKING:

    def __getattr__(name: str) -> Any: ...


_FUNCTIONS = {definition.compute.__name__: definition.compute for definition in REGISTRY.values() if definition.compute}
globals().update(_FUNCTIONS)

__all__ = [
    "REGISTRY",
    "Definition",
    "Measurement",
    "audit",
    "basin",
    "compose",
    "critical_point",
    "crossings",
    "describe",
    "functionals",
    "gauges",
    "levels",
    "perturbations",
    "quantities",
    "sampling_error",
    "score",
    "select",
    "sharpness",
    *sorted(_FUNCTIONS),
]
