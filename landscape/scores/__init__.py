"""Sharpness scores, each with its formula, cost, uncertainty and invariances, and the panel that measures them.

A score is a functional of a quantity under a perturbation, in a gauge (`compose`), or a function (`score`). The parts are in
`gauges`, `quantities`, `perturbations`, `functionals`, `levels` and `crossings`; rare scores are in `more`.
"""

from landscape.scores import crossings, functionals, gauges, levels, perturbations, quantities
from landscape.scores.audit import audit
from landscape.scores.catalogue import (
    adaptive_average,
    adaptive_average_error,
    adaptive_lambda_max,
    adaptive_trace,
    adaptive_worst_l2,
    adaptive_worst_linf,
    asam,
    basin,
    basin_radius,
    curvature_at_scale,
    filter_curvature,
    inverse_sigma,
    inverse_sigma_mag,
    keskar,
    kl_radius,
    local_entropy,
    log_volume,
    lpf,
    m_sharpness,
    sam,
    spikiness,
    worst_to_average,
)
from landscape.scores.compose import compose
from landscape.scores.critical import critical_point
from landscape.scores.curvature import extreme_eigenvalues, trace_and_norm, weight_curvature
from landscape.scores.distance import distance_from_init
from landscape.scores.fisher import fisher_lambda_max, fisher_rao
from landscape.scores.fit import accuracy, gradient_norm, loss, weight_norm
from landscape.scores.gradient_noise import gradient_noise
from landscape.scores.margin import margins
from landscape.scores.register import REGISTRY, Definition, Measurement, describe, score, select
from landscape.scores.relative_flatness import relative_flatness
from landscape.scores.sharpness import sharpness
from landscape.scores.stability import batch_sharpness, stability
from landscape.scores.subsampling import sampling_error

# isort: split
# rare scores last, so that they come last in their families
from landscape.scores import more
from landscape.scores.more.calibration import calibration
from landscape.scores.more.compressibility import compressibility, intrinsic_dimension
from landscape.scores.more.critical_samples import critical_sample_ratio
from landscape.scores.more.geodesic import geodesic_worst
from landscape.scores.more.information_geometry import igs
from landscape.scores.more.input_jacobian import input_jacobian
from landscape.scores.more.keskar_subspace import keskar_subspace
from landscape.scores.more.learning_coefficient import llc
from landscape.scores.more.linearised import linearisation_error, linearised_agreement
from landscape.scores.more.local_volume import local_volume
from landscape.scores.more.pac_bayes import pac_bayes
from landscape.scores.more.slice_shape import slice_shape
from landscape.scores.more.spectral_summaries import local_entropy_quadratic, renyi_sharpness, soft_rank
from landscape.scores.more.takeuchi import tic, tic_diagonal, tic_trace
from landscape.scores.more.tangent_kernel import ntk_alignment, ntk_movement
from landscape.scores.more.worst_tolerance import inverse_alpha, inverse_alpha_mag

__all__ = [
    "Definition",
    "Measurement",
    "REGISTRY",
    "accuracy",
    "adaptive_average",
    "adaptive_average_error",
    "adaptive_lambda_max",
    "adaptive_trace",
    "adaptive_worst_l2",
    "adaptive_worst_linf",
    "asam",
    "audit",
    "basin",
    "basin_radius",
    "batch_sharpness",
    "calibration",
    "compose",
    "compressibility",
    "critical_point",
    "critical_sample_ratio",
    "crossings",
    "curvature_at_scale",
    "describe",
    "distance_from_init",
    "extreme_eigenvalues",
    "filter_curvature",
    "fisher_lambda_max",
    "fisher_rao",
    "functionals",
    "gauges",
    "geodesic_worst",
    "gradient_noise",
    "gradient_norm",
    "igs",
    "input_jacobian",
    "intrinsic_dimension",
    "inverse_alpha",
    "inverse_alpha_mag",
    "inverse_sigma",
    "inverse_sigma_mag",
    "keskar",
    "keskar_subspace",
    "kl_radius",
    "levels",
    "linearisation_error",
    "linearised_agreement",
    "llc",
    "local_entropy",
    "local_entropy_quadratic",
    "local_volume",
    "log_volume",
    "loss",
    "lpf",
    "m_sharpness",
    "margins",
    "more",
    "ntk_alignment",
    "ntk_movement",
    "pac_bayes",
    "perturbations",
    "quantities",
    "relative_flatness",
    "renyi_sharpness",
    "sam",
    "sampling_error",
    "score",
    "select",
    "sharpness",
    "slice_shape",
    "soft_rank",
    "spikiness",
    "stability",
    "tic",
    "tic_diagonal",
    "tic_trace",
    "trace_and_norm",
    "weight_curvature",
    "weight_norm",
    "worst_to_average",
]
