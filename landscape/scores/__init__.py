"""Sharpness scores, each with its formula, cost, uncertainty and invariances, and the panel that measures them."""

from landscape.scores.adaptive_average import adaptive_average
from landscape.scores.adaptive_worst import adaptive_worst_linf
from landscape.scores.curvature import extreme_eigenvalues, trace_and_norm
from landscape.scores.fit import accuracy, gradient_norm, loss, weight_norm
from landscape.scores.keskar import keskar, keskar_subspace
from landscape.scores.margin import margins
from landscape.scores.noise_tolerance import inverse_sigma, inverse_sigma_mag
from landscape.scores.panel import sharpness
from landscape.scores.registry import REGISTRY, Definition, Measurement, describe, score, select
from landscape.scores.slice_curvature import curvature_at_scale

__all__ = [
    "REGISTRY",
    "Definition",
    "Measurement",
    "accuracy",
    "adaptive_average",
    "adaptive_worst_linf",
    "curvature_at_scale",
    "describe",
    "extreme_eigenvalues",
    "trace_and_norm",
    "gradient_norm",
    "inverse_sigma",
    "inverse_sigma_mag",
    "keskar",
    "keskar_subspace",
    "loss",
    "margins",
    "score",
    "select",
    "sharpness",
    "weight_norm",
]
