"""Curvature matrices by exact products with vectors."""

from landscape.operators.base import Operator, scaled
from landscape.operators.differences import FiniteDifferenceHessian
from landscape.operators.empirical_fisher import EmpiricalFisher, GradientCovariance
from landscape.operators.fisher import Fisher
from landscape.operators.gauss_newton import GaussNewton
from landscape.operators.hessian import Hessian
from landscape.operators.programs.plan import Plan

__all__ = [
    "EmpiricalFisher",
    "FiniteDifferenceHessian",
    "Fisher",
    "GaussNewton",
    "GradientCovariance",
    "Hessian",
    "Operator",
    "Plan",
    "scaled",
]
