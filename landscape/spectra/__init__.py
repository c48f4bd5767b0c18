"""Eigenpairs, densities and traces of anything that multiplies vectors."""

from landscape.spectra.by_layer import by_layer
from landscape.spectra.density import resmooth, spectral_density
from landscape.spectra.diagonal import diagonal
from landscape.spectra.eigenpairs import top_eigenpairs
from landscape.spectra.functionals import (
    bulk_edge,
    effective_dimension,
    log_determinant,
    mass,
    moment,
    outlier_edge,
    renyi_entropy,
    spectral_sum,
)
from landscape.spectra.lanczos import LanczosState
from landscape.spectra.protocol import Operator
from landscape.spectra.trace import frobenius_norm, trace, trace_and_frobenius

__all__ = [
    "LanczosState",
    "Operator",
    "bulk_edge",
    "by_layer",
    "diagonal",
    "effective_dimension",
    "frobenius_norm",
    "log_determinant",
    "mass",
    "moment",
    "outlier_edge",
    "renyi_entropy",
    "resmooth",
    "spectral_density",
    "spectral_sum",
    "top_eigenpairs",
    "trace",
    "trace_and_frobenius",
]
