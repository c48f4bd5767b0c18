"""Loss-landscape sharpness of trained networks: exact curvature products, spectra, slices and scores.

Names are loaded when first used (PEP 562), so that ``landscape --help`` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from landscape._version import __version__

if TYPE_CHECKING:
    from landscape.bars import progress as progress
    from landscape.errors import LandscapeError as LandscapeError
    from landscape.errors import NotDefinedError as NotDefinedError
    from landscape.errors import NumericalError as NumericalError
    from landscape.results import Directions as Directions
    from landscape.results import Eigenpairs as Eigenpairs
    from landscape.results import Estimate as Estimate
    from landscape.results import Line as Line
    from landscape.results import Plane as Plane
    from landscape.results import SpectralDensity as SpectralDensity

_HOME = {
    "errors": ["LandscapeError", "NotDefinedError", "NumericalError"],
    "bars": ["progress"],
    "results": ["Directions", "Eigenpairs", "Estimate", "Line", "Plane", "SpectralDensity"],
    "function.losses": ["BatchLoss"],
    "function.objective": ["Objective"],
    "function.checkpoint": ["Checkpoint"],
    "operators": ["EmpiricalFisher", "Fisher", "GaussNewton", "GradientCovariance", "Hessian", "scaled"],
    "spectra": ["by_layer", "diagonal", "frobenius_norm", "spectral_density", "top_eigenpairs", "trace"],
    "slices": [
        "align",
        "barriers",
        "connect",
        "direction_between",
        "eigen_directions",
        "interpolate",
        "line",
        "plane",
        "plane_through",
        "random_directions",
        "read_slice",
        "scale_curvature",
        "topology",
        "trajectory_plane",
        "volume",
    ],
    "scores": ["audit", "critical_point", "sharpness"],
    "comparison": ["compare", "placebo"],
    "store": ["open_study"],
}
_WHERE = {name: module for module, names in _HOME.items() for name in names}
_MODULES = [
    "datasets",
    "experiments",
    "export",
    "importers",
    "models",
    "operators",
    "plots",
    "report",
    "scores",
    "slices",
    "spectra",
    "store",
    "transforms",
]

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(import_module(f"landscape.{_WHERE[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"landscape.{name}")
    else:
        raise AttributeError(f"module 'landscape' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *_MODULES])
