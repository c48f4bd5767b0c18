"""Curvature matrices by exact products with vectors."""

from landscape.operators.algebra import scaled
from landscape.operators.base import Operator
from landscape.operators.hessian import Hessian

__all__ = ["Hessian", "Operator", "scaled"]
