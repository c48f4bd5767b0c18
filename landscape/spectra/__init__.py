"""Eigenpairs, densities and traces of anything that multiplies vectors."""

from landscape.spectra.eigenpairs import top_eigenpairs

__all__ = ["top_eigenpairs"]
