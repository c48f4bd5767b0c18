"""The composed scores: a row each, of gauge, quantity, perturbation and functional."""

from __future__ import annotations

from typing import Any

from landscape.function.objective import Objective
from landscape.results.scores import Score
from landscape.scores.compose import compose
from landscape.scores.crossings import log_volume as negative_log_volume
from landscape.scores.crossings import median_radius, spread_of_radii
from landscape.scores.curvature import scaled_maximum, scaled_trace
from landscape.scores.functionals import (
    Functional,
    curvature,
    largest_mean_rise,
    largest_rise,
    log_mean_exp,
    mean_rise,
    one_step_rise,
    relative_rise,
    second_difference,
    worst_over_mean,
)
from landscape.scores.gauges import Gauge, none, normalised, shift_removed
from landscape.scores.levels import tolerated_box, tolerated_noise
from landscape.scores.perturbations import (
    Perturbation,
    ball,
    box,
    filters,
    noise,
    ones,
    sphere,
    subspace_box,
    weights,
    weights_eta,
    weights_plus_one,
)
from landscape.scores.quantities import Quantity, divergence, error, loss
from landscape.scores.register import Compute

ANDRIUSHCHENKO = "Andriushchenko et al. 2023, arXiv 2302.07011"
KWON = "Kwon et al. 2021, arXiv 2102.11600"
HUANG = "Huang et al. 2020, arXiv 1906.03291"
LI = "Li et al. 2018, arXiv 1712.09913"

Parts = tuple[Gauge, Quantity, Perturbation, Functional]
"""Of a score: what is taken out, what is read, how weights are moved, and what is made of it."""

IN_BOX: dict[str, Any] = {"family": "worst case", "radii": (1e-3, 4e-3, 16e-3, 64e-3), "reference": 16e-3}
UNDER_NOISE: dict[str, Any] = {"radii": (0.1, 0.2, 0.4, 0.8), "reference": 0.4}
SYMMETRIC = f"{ANDRIUSHCHENKO}, S_max with p = ∞, for the box; the symmetrised rise is proposed with this package"


def entry(slug: str, title: str, parts: Parts, **fields: Any) -> Compute:
    """Enter the score of four parts, as `compose` does."""
    gauge, quantity, perturbation, functional = parts
    return compose(slug, title, quantity, perturbation, functional, gauge=gauge, **fields)


adaptive_worst_symmetric = entry(
    "adaptive-worst-symmetric",
    "symmetrised adaptive worst-case sharpness in the ℓ∞ box on normalised logits",
    (normalised, loss, box(weights), largest_mean_rise),
    about="""Published worst cases go one way, and at small radii read the slope of the normalised-logit loss, see
`adaptive_worst_linf`.""",
    formula="E_B max over |δ| ≤ ρ|w| of ½[L_B(w + δ) + L_B(w − δ)] − L_B(w), L on normalised logits",
    source=SYMMETRIC,
    panel=True,
    primary=True,
    **IN_BOX,
)
adaptive_worst_loss = entry(
    "adaptive-worst-loss",
    "symmetrised adaptive worst-case sharpness in the ℓ∞ box of the loss as it is",
    (shift_removed, loss, box(weights), largest_mean_rise),
    about="For regression, two classes and losses of one's own, where logits cannot be normalised.",
    formula="E_B max over |δ| ≤ ρ|w| of ½[L_B(w + δ) + L_B(w − δ)] − L_B(w)",
    source=SYMMETRIC,
    stands_in="adaptive-worst-symmetric",
    **IN_BOX,
)
adaptive_worst_linf = entry(
    "adaptive-worst-linf",
    "adaptive worst-case sharpness in the ℓ∞ box on normalised logits",
    (normalised, loss, box(weights), largest_rise),
    formula="E_B max over |δ| ≤ ρ|w| of L_B(w + δ) − L_B(w), L on normalised logits",
    source=f"{ANDRIUSHCHENKO}, S_max with p = ∞",
    stands_in="adaptive-worst-symmetric",
    **IN_BOX,
)
adaptive_worst_l2 = entry(
    "adaptive-worst-l2",
    "adaptive worst-case sharpness in the ℓ2 ellipsoid on normalised logits",
    (normalised, loss, ball(weights), largest_rise),
    family="worst case",
    formula="E_B max over ‖δ/w‖₂ ≤ ρ of L_B(w + δ) − L_B(w), L on normalised logits",
    source=f"{ANDRIUSHCHENKO}, S_max with p = 2",
    radii=(0.25, 0.5, 1.0, 2.0),
    reference=1.0,
)
keskar = entry(
    "keskar",
    "Keskar's ε-sharpness in the full space",
    (none, loss, box(weights_plus_one), relative_rise),
    about="""Ten iterations of L-BFGS-B give a lower bound. Neither the +1 of the box nor that of the denominator lets the
score survive a rescaling of layers. Published radii are 1e-3 and 5e-4.""",
    family="worst case",
    formula="100 (max over |y| ≤ ε(|w|+1) of L(w + y) − L(w)) / (1 + L(w))",
    source="Keskar et al. 2017, arXiv 1609.04836, eq. 4 with A = I",
    stochastic=False,
    cost=14,
    panel=True,
    radii=(1e-3,),
)
sam = entry(
    "sam",
    "SAM sharpness, one step on all data",
    (none, loss, ball(ones), one_step_rise.with_(subset=None)),
    about="""Near an interpolating minimum this is the direction of a vanishing gradient; `adaptive_worst_linf` climbs in many
steps.""",
    family="worst case",
    formula="L(w + ρg/‖g‖₂) − L(w)",
    source="Foret et al. 2021, arXiv 2010.01412, eq. 2",
    radii=(0.05,),
)
m_sharpness = entry(
    "m-sharpness",
    "SAM sharpness, one step on every batch of 128",
    (none, loss, ball(ones), one_step_rise),
    about="Smaller batches give larger values.",
    family="worst case",
    formula="E_B L_B(w + ρg_B/‖g_B‖₂) − L_B(w), |B| = m",
    source="Foret et al. 2021, arXiv 2010.01412, section 4.1",
    radii=(0.05,),
)
asam = entry(
    "asam",
    "ASAM sharpness, one step in units of the weights",
    (shift_removed, loss, ball(weights_eta), one_step_rise),
    about="All tensors are scaled, biases included; published training code leaves them alone.",
    family="worst case",
    formula="E_B L_B(w + ρT²g_B/‖Tg_B‖₂) − L_B(w), T = diag(|w|)",
    source=f"{KWON}, eq. 7 with η = 0",
    radii=(0.5,),
)
keskar_subspace = entry(
    "keskar-subspace",
    "Keskar's ε-sharpness in a random subspace",
    (none, loss, subspace_box, relative_rise),
    about="``dimensions`` are the columns of A, at most P.",
    family="worst case",
    formula="100 (max over |y| ≤ ε(|Aᵀw|+1) of L(w + Ay) − L(w)) / (1 + L(w)), A random orthonormal (P, 100)",
    source="Keskar et al. 2017, arXiv 1609.04836, eq. 4 with p = 100",
    cost=14,
    radii=(1e-3,),
)
adaptive_average = entry(
    "adaptive-average",
    "adaptive average-case sharpness on normalised logits",
    (normalised, loss, noise(weights), mean_rise),
    family="average case",
    formula="E[L(w + ρ|w|z) − L(w)], z ~ N(0, I), L on normalised logits",
    source=f"{ANDRIUSHCHENKO}, S_avg",
    panel=True,
    primary=True,
    **UNDER_NOISE,
)
adaptive_average_loss = entry(
    "adaptive-average-loss",
    "adaptive average-case sharpness of the loss as it is",
    (shift_removed, loss, noise(weights), mean_rise),
    about="For regression and losses of one's own, where logits cannot be normalised.",
    family="average case",
    formula="E[L(w + ρ|w|z) − L(w)], z ~ N(0, I)",
    source=f"{ANDRIUSHCHENKO}, S_avg",
    stands_in="adaptive-average",
    **UNDER_NOISE,
)
lpf = entry(
    "lpf",
    "low-pass-filter flatness: mean rise under isotropic noise",
    (none, loss, noise(ones), mean_rise.with_(pairs=50)),
    about="About ½σ² Tr H. The loss itself is subtracted, which the published score contains.",
    family="average case",
    formula="E[L(w + σz)] − L(w), z ~ N(0, I)",
    source="Bisla et al. 2022, arXiv 2201.08025, eq. 4",
    radii=(0.01,),
)
adaptive_average_error = entry(
    "adaptive-average-error",
    "adaptive average rise of the 0–1 error",
    (shift_removed, error, noise(weights), mean_rise),
    family="error based",
    formula="E[err(w + ρ|w|z)] − err(w), z ~ N(0, I)",
    source=f"{ANDRIUSHCHENKO}, S_avg of the error",
    **UNDER_NOISE,
)
inverse_sigma_mag = entry(
    "inverse-sigma-mag",
    "PAC-Bayes flatness, magnitude-aware, of the 0–1 error",
    (shift_removed, error, noise(weights), tolerated_noise.with_(guess=0.5)),
    family="error based",
    formula="1/σ′², E[err(w + σ′|w|z)] = err(w) + 0.1",
    source="Dziugaite et al. 2020, arXiv 2010.11924, PACBAYES-MAG-FLAT with ε → 0",
    cost=45,
    panel=True,
    primary=True,
)
inverse_sigma = entry(
    "inverse-sigma",
    "PAC-Bayes flatness of the 0–1 error",
    (none, error, noise(ones), tolerated_noise),
    family="error based",
    formula="1/σ², E[err(w + σz)] = err(w) + 0.1",
    source="Jiang et al. 2020, arXiv 1912.02178, PACBAYES-FLAT",
    cost=55,
)
inverse_alpha = entry(
    "inverse-alpha",
    "worst-case flatness of the 0–1 error",
    (none, error, box(ones), tolerated_box.with_(guess=0.01)),
    family="error based",
    formula="1/α², max over |u| ≤ α of err(w + u) = err(w) + 0.1",
    source="Jiang et al. 2020, arXiv 1912.02178, SHARPNESS-FLAT",
    cost=150,
)
inverse_alpha_mag = entry(
    "inverse-alpha-mag",
    "worst-case flatness of the 0–1 error, magnitude-aware",
    (none, error, box(weights_plus_one), tolerated_box.with_(guess=2e-3)),
    family="error based",
    formula="1/α′², max over |u| ≤ α′(|w|+1) of err(w + u) = err(w) + 0.1",
    source="Dziugaite et al. 2020, arXiv 2010.11924, SHARPNESS-MAG-FLAT",
    cost=150,
)
adaptive_trace = entry(
    "adaptive-trace",
    "trace of the Hessian in units of the weights",
    (shift_removed, loss, noise(weights_eta), scaled_trace),
    family="curvature",
    formula="Σ_i w_i² H_ii",
    source=f"{KWON}, for the scaling; ½ρ² times it is the mean rise under noise ρ|w|z",
)
adaptive_lambda_max = entry(
    "adaptive-lambda-max",
    "largest eigenvalue of the Hessian in units of the weights",
    (shift_removed, loss, ball(weights_eta), scaled_maximum),
    family="curvature",
    formula="λmax(D H D), D = diag(|w|)",
    source=f"{KWON}; ½ρ² times it is the worst rise within ‖δ/w‖₂ ≤ ρ at a minimum",
    stochastic=False,
    cost=40,
)
kl_radius = entry(
    "kl-radius",
    "inverse square of the median radius at which predictions move by KL 0.01, in units of the weights",
    (shift_removed, divergence, noise(weights), median_radius),
    about="The radii are KL levels in nats. It needs neither labels nor a minimum.",
    family="volume",
    formula="1/r², mean KL(p_w ‖ p_{w + r|w|u}) = 0.01, ‖u‖ = √P",
    source="Scherlis and Belrose 2025, arXiv 2501.18812, section 3, with element-scaled directions",
    cost=150,
    radii=(0.01,),
)
basin_radius = entry(
    "basin-radius",
    "inverse square of the median basin radius along filter-normalised directions",
    (none, loss, filters, median_radius),
    about="The radii are heights of the loss above that of the weights.",
    family="volume",
    formula="1/r², L(w + r d) − L(w) = 0.1",
    source=f"{HUANG}, section 5",
    cost=150,
    radii=(0.1,),
)
log_volume = entry(
    "log-volume",
    "negative log volume of the basin, from the mean log radius",
    (none, loss, sphere, negative_log_volume),
    about="The radii are heights of the loss above that of the weights.",
    family="volume",
    formula="−log ω_P − P mean log r(u), u uniform on the sphere",
    source=f"{HUANG}, eq. 4; a lower bound by Jensen's inequality",
    cost=150,
    radii=(0.1,),
    compared="difference",
    remark="E[r^P] cannot be estimated from few directions: P times the mean log radius is a bound, not the volume",
)
local_entropy = entry(
    "local-entropy",
    "negative local entropy, Monte Carlo",
    (none, loss, noise(ones), log_mean_exp),
    about="The radii are values of γ; `local_entropy_quadratic` is the closed form beside it.",
    family="volume",
    formula="−log E exp(−n (L(w + z/√γ) − L(w)))",
    source="Chaudhari et al. 2017, arXiv 1611.01838, eq. 3",
    radii=(1e4,),
    compared="difference",
)
curvature_at_scale = entry(
    "curvature-at-scale",
    "second difference of the loss along filter-normalised directions",
    (none, loss, filters, second_difference),
    about="""A smooth network's value tends to the mean of dᵀHd as h falls. For piecewise linear networks it does not: on digits
networks it exceeded the Hessian's by 8 times at h = 1e-2 and 19 times at 1e-3. In float32 rounding takes over below about
h = 1e-3.""",
    family="slice",
    formula="E_d [L(w + hd) + L(w − hd) − 2L(w)] / h²",
    source=f"{LI}, for the directions",
    panel=True,
    radii=(1e-3, 1e-2, 1e-1),
    reference=1e-2,
)
filter_curvature = entry(
    "filter-curvature",
    "curvature along random filter-normalised directions",
    (none, loss, filters, curvature),
    about="Rescaling single neurons still changes it.",
    family="slice",
    formula="E_d dᵀHd, ‖d_filter‖ = ‖w_filter‖",
    source=f"{LI}, section 4, for the directions",
)
spikiness = entry(
    "spikiness",
    "spread of the KL radius over directions",
    (shift_removed, divergence, noise(weights), spread_of_radii),
    family="slice",
    formula="log10(median r / 5th percentile r)",
    source="proposed with this package; not a published score",
    cost=280,
    compared="difference",
)
worst_to_average = entry(
    "worst-to-average",
    "worst case over average case at equal length, on normalised logits",
    (normalised, loss, ball(weights), worst_over_mean),
    family="slice",
    formula="S_max(ρ√P) / S_avg(ρ)",
    source="proposed with this package; not a published score",
    radii=(0.1,),
)


def basin(objective: Objective, **options: Any) -> tuple[Score, ...]:
    """Return basin-radius and log-volume: how far the basin reaches, and what that says of its volume.

    Args:
        objective: the function.
        options: of both: ``radii``, ``directions``, ``seed``.
    """
    return basin_radius(objective, **options) + log_volume(objective, **options)
