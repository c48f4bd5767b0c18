"""Result types: frozen dataclasses with one field schema. Below them stand only tables and errors."""

from importlib import import_module
from pkgutil import iter_modules

from landscape.results.architecture import Architecture, ArchitectureRow
from landscape.results.audit import Audit, AuditRow
from landscape.results.base import KINDS, Result
from landscape.results.basin_volume import BasinDifference, BasinRow, BasinVolume
from landscape.results.comparison import Comparison, Placebo
from landscape.results.critical import CriticalPoint
from landscape.results.double_descent import DoubleDescent, WidthRun
from landscape.results.edge_of_stability import EdgeOfStability, EdgeRun
from landscape.results.guess_and_check import GuessAndCheck
from landscape.results.kernel_regime import KernelRegime, KernelRun
from landscape.results.large_batch import BatchContrast, BatchRun, LargeBatch
from landscape.results.memorisation import InfluentialPair, Memorisation, MemorisedExample
from landscape.results.optimisers import Optimisers
from landscape.results.randomisation import Condition, Contrast, MemorisationTest, Randomisation
from landscape.results.randomisation_table import NoiseTrend, NoiseVerdict, RandomisationTable
from landscape.results.sampling import SamplingError
from landscape.results.schema import array, arrays, describe, nested, plain, printed, role_of, rows, volatile
from landscape.results.scores import Score, Scores
from landscape.results.slices import Directions, Line, Path, Plane, Slice, Volume
from landscape.results.spectra import Diagonal, Eigenpairs, Estimate, LayerRow, Layers, SpectralDensity
from landscape.results.topology import MergeNode, Minimum, Reading, ScaleCurvature, Topology
from landscape.results.track import Track
from landscape.results.trajectory import Smoothness, Trajectory

for _module in iter_modules(__path__):  # a kind is known as soon as its file is here
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "Architecture",
    "ArchitectureRow",
    "Audit",
    "AuditRow",
    "GuessAndCheck",
    "InfluentialPair",
    "KINDS",
    "BatchContrast",
    "BatchRun",
    "Comparison",
    "Condition",
    "Contrast",
    "BasinDifference",
    "BasinRow",
    "BasinVolume",
    "CriticalPoint",
    "Diagonal",
    "Directions",
    "DoubleDescent",
    "EdgeOfStability",
    "EdgeRun",
    "Eigenpairs",
    "Estimate",
    "KernelRegime",
    "KernelRun",
    "LargeBatch",
    "LayerRow",
    "Layers",
    "Line",
    "Memorisation",
    "MemorisedExample",
    "MemorisationTest",
    "MergeNode",
    "Minimum",
    "NoiseTrend",
    "NoiseVerdict",
    "Optimisers",
    "Path",
    "Placebo",
    "Plane",
    "Randomisation",
    "RandomisationTable",
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
    "Volume",
    "WidthRun",
    "array",
    "arrays",
    "describe",
    "nested",
    "plain",
    "printed",
    "role_of",
    "rows",
    "volatile",
]
