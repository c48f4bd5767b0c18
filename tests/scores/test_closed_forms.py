"""The closed forms that scores are proved by: L = ½ xᵀHx in P dimensions, and where each is tested."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from landscape.errors import LandscapeError
from landscape.scores.adaptive_average import adaptive_average, average_increase
from landscape.scores.evaluation import Meter, loss_share, values_at
from landscape.scores.noise_tolerance import find_level
from landscape.scores.radius import ball_log_volume, crossing_radii, loss_heights

TESTS = Path(__file__).parents[1]

CLOSED_FORMS = {
    "worst case ℓ2: ½ρ²λmax": "scores/test_sam.py::test_worst_case_in_a_ball_is_half_the_largest_eigenvalue",
    "worst case ℓ∞, diagonal H: ½ρ² Tr H": (
        "scores/test_adaptive_worst.py::test_box_on_a_diagonal_quadratic_at_its_minimum"
    ),
    "average over N(0, s²): ½s² Tr H": "scores/test_adaptive_average.py::test_isotropic_noise_on_a_quadratic",
    "average over a uniform box: ρ²/6 Tr H": "scores/test_closed_forms.py::test_average_over_a_uniform_box",
    "adaptive average: ½ρ² Σ w²H_ii": (
        "scores/test_adaptive_average.py::test_noise_proportional_to_the_weights_on_a_quadratic"
    ),
    "adaptive worst case ℓ2: ½ρ²λmax(D H D)": "scores/test_sam.py::test_worst_case_in_the_ellipsoid_of_the_weights",
    "low-pass filter: ½s² Tr H": "scores/test_low_pass.py::test_lpf_is_the_rise_without_the_loss",
    "local entropy: ½ log det(I + H/γ)": "scores/test_low_pass.py::test_local_entropy_of_a_quadratic",
    "radius at height c: √(2c / uᵀHu)": "scores/test_radius.py::test_radius_along_a_direction_of_a_quadratic",
    "volume at height c: ω_p (2c)^{p/2} / √det H": "scores/test_closed_forms.py::test_volume_of_an_ellipse",
    "soft rank: Σ λ/(λ+z)": "scores/test_spectral_summaries.py::test_soft_rank_of_known_eigenvalues",
    "learning coefficient: ½Σ nβλ/(nβλ+γ), with the step's bias": (
        "scores/test_learning_coefficient.py::test_quadratic_with_the_bias_of_the_step"
    ),
    "Rényi, H = cI: −log p": "scores/test_spectral_summaries.py::test_equal_eigenvalues_have_the_entropy_of_their_number",
    "σ by the loss: σ² = 2τ / Tr H": "scores/test_closed_forms.py::test_noise_level_of_a_rise_of_the_loss",
    "divergence: 2/η, (2+2β)/η, (2+2β)/(η(1+2β))": (
        "scores/test_stability.py::test_thresholds_separate_convergence_from_divergence"
    ),
    "linear regression: XᵀX/n for every label": (
        "scores/test_curvature.py::test_linear_regression_has_one_hessian_for_every_label_vector"
    ),
    "softmax layer: κ_Tr": ("scores/test_relative_flatness.py::test_closed_form_of_a_softmax_layer_to_twelve_digits"),
    "floor of the normalised cross-entropy": "scores/test_margin.py::test_floor_of_the_normalised_cross_entropy",
}
"""Closed form → its test."""

H = torch.diag(torch.tensor([4.0, 1.0, 0.25])).double()


@pytest.mark.parametrize("where", CLOSED_FORMS.values())
def test_every_closed_form_has_its_test(where):
    file, _, name = where.partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_average_over_a_uniform_box(quadratic):
    (row,) = average_increase(quadratic(H), torch.ones(3).double(), [0.3], pairs=4000, seed=0, noise="uniform")
    expected = 0.3**2 / 6 * float(H.trace())
    assert abs(row.value - expected) < 3 * row.standard_error
    assert row.standard_error < 0.02 * expected


def test_uniform_noise_of_a_classifier_is_weaker(classifier):
    normal, uniform = (adaptive_average(classifier(), radii=[0.2], noise=kind)[0] for kind in ("normal", "uniform"))
    assert 0.15 < uniform.value / normal.value < 0.7  # a third at small radii
    with pytest.raises(LandscapeError, match="noise='cauchy'"):
        adaptive_average(classifier(fit=1), noise="cauchy")


def test_volume_of_an_ellipse(quadratic):
    """E[r^p] over directions in the plane, where it can be estimated, is the volume over that of the unit ball."""
    objective, height = quadratic(H[:2, :2]), 0.02
    angles = torch.linspace(0, 2 * torch.pi, 2001, dtype=torch.float64)[:-1]
    units = [torch.stack([angle.cos(), angle.sin()]) for angle in angles]
    crossed = crossing_radii(units, loss_heights(objective, Meter()), height, guess=2.0**-6)
    volume = np.exp(ball_log_volume(2)) * np.mean(np.square(crossed))
    assert volume == pytest.approx(np.pi * 2 * height / 2.0, rel=1e-9)  # √det H = 2


def test_noise_level_of_a_rise_of_the_loss(quadratic):
    """The search for σ, given the loss instead of the 0–1 error."""
    objective, generator = quadratic(H), torch.Generator().manual_seed(0)
    noise = torch.randn(4000, 3, generator=generator).double()

    def rises(level):
        return values_at(objective, level * noise, loss_share, Meter())

    level, error = find_level(rises, 0.0, guess=0.1, rise=0.05, slug="sigma")
    assert abs(level - np.sqrt(2 * 0.05 / float(H.trace()))) < 3 * error
    assert error < 0.02 * level
