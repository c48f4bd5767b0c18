"""Sharpness scores, each with its formula, cost, uncertainty and invariances, and the panel that measures them."""

from landscape.scores.adaptive_average import adaptive_average
from landscape.scores.adaptive_curvature import adaptive_lambda_max, adaptive_trace
from landscape.scores.adaptive_worst import adaptive_worst_linf
from landscape.scores.adaptive_worst_l2 import adaptive_worst_l2
from landscape.scores.audit import audit
from landscape.scores.calibration import calibration
from landscape.scores.compressibility import compressibility, intrinsic_dimension
from landscape.scores.critical import critical_point
from landscape.scores.critical_samples import critical_sample_ratio
from landscape.scores.curvature import extreme_eigenvalues, trace_and_norm
from landscape.scores.directional_curvature import filter_curvature, weight_curvature
from landscape.scores.distance import distance_from_init
from landscape.scores.fisher_rao import fisher_lambda_max, fisher_rao
from landscape.scores.fit import accuracy, gradient_norm, loss, weight_norm
from landscape.scores.geodesic import geodesic_worst
from landscape.scores.gradient_noise import gradient_noise
from landscape.scores.information_geometry import igs
from landscape.scores.input_jacobian import input_jacobian
from landscape.scores.keskar import keskar, keskar_subspace
from landscape.scores.learning_coefficient import llc
from landscape.scores.linearised import linearisation_error, linearised_agreement
from landscape.scores.local_volume import local_volume
from landscape.scores.low_pass import adaptive_average_error, local_entropy, local_entropy_quadratic, lpf
from landscape.scores.margin import margins
from landscape.scores.noise_tolerance import inverse_sigma, inverse_sigma_mag
from landscape.scores.pac_bayes import pac_bayes
from landscape.scores.panel import sharpness
from landscape.scores.radius import basin, kl_radius
from landscape.scores.register import REGISTRY, Definition, Measurement, describe, score, select
from landscape.scores.relative_flatness import relative_flatness
from landscape.scores.sam import asam, m_sharpness, sam
from landscape.scores.slice_curvature import curvature_at_scale
from landscape.scores.spectral_summaries import renyi_sharpness, soft_rank
from landscape.scores.spikiness import slice_shape, spikiness, worst_to_average
from landscape.scores.stability import batch_sharpness, stability
from landscape.scores.subsampling import sampling_error
from landscape.scores.takeuchi import tic, tic_diagonal, tic_trace
from landscape.scores.tangent_kernel import ntk_alignment, ntk_movement
from landscape.scores.worst_tolerance import inverse_alpha, inverse_alpha_mag

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
    "batch_sharpness",
    "calibration",
    "compressibility",
    "critical_point",
    "critical_sample_ratio",
    "curvature_at_scale",
    "describe",
    "distance_from_init",
    "extreme_eigenvalues",
    "filter_curvature",
    "fisher_lambda_max",
    "fisher_rao",
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
    "linearisation_error",
    "linearised_agreement",
    "llc",
    "local_entropy",
    "local_entropy_quadratic",
    "local_volume",
    "loss",
    "lpf",
    "m_sharpness",
    "margins",
    "ntk_alignment",
    "ntk_movement",
    "pac_bayes",
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
