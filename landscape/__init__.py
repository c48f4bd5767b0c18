"""Loss-landscape sharpness of trained networks: exact curvature products, spectra, slices and scores.

Names are loaded when first used (PEP 562), so that ``landscape --help`` does not wait for torch.
"""

from __future__ import annotations

from importlib import import_module
from sys import modules
from typing import TYPE_CHECKING, Any

from landscape._version import __version__
from landscape.lazy import HOME, MODULES

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
    from landscape.results import Trials as Trials

__all__ = ["__version__", *HOME]


def __getattr__(name: str) -> Any:
    if name in HOME:
        value = getattr(import_module(f"landscape.{HOME[name]}"), name)
    elif name in MODULES:
        value = import_module(f"landscape.{name}")
    else:
        raise AttributeError(f"module 'landscape' has no attribute {name!r}", name=name, obj=modules[__name__])
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *MODULES])
