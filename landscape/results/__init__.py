"""Result types: frozen dataclasses with one field schema. Below them stand only tables and errors."""

from importlib import import_module
from pkgutil import iter_modules

from landscape.results.audit import Audit, AuditRow
from landscape.results.base import KINDS, Result
from landscape.results.comparison import Comparison, Placebo
from landscape.results.critical import CriticalPoint
from landscape.results.effects import Effect, Finding
from landscape.results.evidence import Evidence, Judged
from landscape.results.memorisation import InfluentialPair, Memorisation, MemorisedExample
from landscape.results.sampling import SamplingError
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
from landscape.results.scores import Score, Scores
from landscape.results.slices import Directions, Line, Path, Plane, Slice, Volume
from landscape.results.spectra import Diagonal, Eigenpairs, Estimate, LayerRow, Layers, SpectralDensity
from landscape.results.topology import MergeNode, Minimum, Reading, ScaleCurvature, Topology
from landscape.results.track import Track
from landscape.results.trajectory import Smoothness, Trajectory
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
