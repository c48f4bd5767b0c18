"""Result types: frozen dataclasses with one field schema. Below them stand only tables and errors."""

from importlib import import_module
from pkgutil import iter_modules

from landscape.results.base import KINDS, Result
from landscape.results.comparison import Comparison, Placebo
from landscape.results.curvature import CriticalPoint, Diagonal, LayerRow, Layers, SamplingError
from landscape.results.effects import Effect, Finding
from landscape.results.evidence import Evidence, Judged
from landscape.results.memorisation import InfluentialPair, Memorisation, MemorisedExample
from landscape.results.schema import (
    array,
    arrays,
    describe,
    dims_of,
    nested,
    plain,
    printed,
    role_of,
    rows,
    volatile,
)
from landscape.results.scores import Audit, AuditRow, Score, Scores
from landscape.results.slices import (
    Directions,
    Line,
    MergeNode,
    Minimum,
    Path,
    Plane,
    Reading,
    ScaleCurvature,
    Slice,
    Topology,
    Volume,
)
from landscape.results.spectra import Eigenpairs, Estimate, SpectralDensity
from landscape.results.trajectory import Smoothness, Track, Trajectory
from landscape.results.trials import Trials

for _module in iter_modules(__path__):  # a kind is known as soon as its file is here
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "Audit",
    "AuditRow",
    "InfluentialPair",
    "KINDS",
    "Comparison",
    "CriticalPoint",
    "Diagonal",
    "Directions",
    "Effect",
    "Eigenpairs",
    "Estimate",
    "Evidence",
    "Finding",
    "Judged",
    "LayerRow",
    "Layers",
    "Line",
    "Memorisation",
    "MemorisedExample",
    "MergeNode",
    "Minimum",
    "Path",
    "Placebo",
    "Plane",
    "Reading",
    "Result",
    "SamplingError",
    "ScaleCurvature",
    "Score",
    "Scores",
    "Slice",
    "Smoothness",
    "SpectralDensity",
    "Topology",
    "Track",
    "Trajectory",
    "Trials",
    "Volume",
    "array",
    "arrays",
    "describe",
    "dims_of",
    "nested",
    "plain",
    "printed",
    "role_of",
    "rows",
    "volatile",
]
