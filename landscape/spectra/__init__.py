"""Eigenpairs, densities and traces of anything that multiplies vectors."""

from landscape.spectra.eigenpairs import top_eigenpairs
from landscape.spectra.frobenius import frobenius_norm, trace_and_frobenius
from landscape.spectra.trace import trace

__all__ = ["frobenius_norm", "top_eigenpairs", "trace", "trace_and_frobenius"]
