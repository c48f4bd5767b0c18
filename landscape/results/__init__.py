"""Result types: frozen dataclasses with one field schema. A leaf: imports nothing else of the package."""

from landscape.results.base import Result, array, arrays, describe, nested, plain, role_of, rows, volatile
from landscape.results.comparison import Comparison
from landscape.results.scores import Score, Scores
from landscape.results.slices import Directions, Line, Path, Plane, Slice
from landscape.results.spectra import Diagonal, Eigenpairs, Estimate, SpectralDensity

KINDS: dict[str, type[Result]] = {
    cls.kind: cls
    for cls in (Comparison, Directions, Line, Path, Plane, Eigenpairs, Estimate, Diagonal, SpectralDensity, Scores)
}
"""Every result class by the slug that a study file stores."""

__all__ = [
    "KINDS",
    "Comparison",
    "Diagonal",
    "Directions",
    "Eigenpairs",
    "Estimate",
    "Line",
    "Path",
    "Plane",
    "Result",
    "Score",
    "Scores",
    "Slice",
    "SpectralDensity",
    "array",
    "arrays",
    "describe",
    "nested",
    "plain",
    "role_of",
    "rows",
    "volatile",
]
