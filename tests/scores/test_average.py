"""Averages over noise: of the loss, of the 0–1 error, and the local entropy."""

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import LandscapeError, NotDefinedError
from landscape.scores import (
    adaptive_average,
    adaptive_average_error,
    local_entropy,
    local_entropy_quadratic,
    lpf,
    quantities,
)
from landscape.scores.functionals import Case, mean_rise
from landscape.scores.perturbations import Noise, ones, weights

D = torch.diag(torch.tensor([4.0, 1.0, 0.25])).double()


def test_isotropic_noise_on_a_quadratic(quadratic):
    H = torch.diag(torch.tensor([4.0, 1.0, 0.5]))
    objective = quadratic(H)
    (row,) = mean_rise(Case(objective, Noise(objective, ones)), [0.3], pairs=4000, seed=0)
    assert abs(row.value - 0.5 * 0.3**2 * 5.5) < 3 * row.standard_error
    assert row.standard_error < 0.02 * row.value


def test_noise_proportional_to_the_weights_on_a_quadratic(quadratic):
    at = torch.tensor([1.0, -2.0, 0.0])
    H = torch.tensor([[4.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 9.0]])
    objective = quadratic(H, at)
    (row,) = mean_rise(Case(objective, Noise(objective, weights)), [0.5], pairs=4000, seed=1)
    assert abs(row.value - 0.5 * 0.5**2 * (4 + 4 * 2)) < 3 * row.standard_error


def test_antithetic_pairs_cancel_the_gradient(quadratic):
    """Away from the minimum the linear part of a rise would be a hundred times the quadratic one."""
    objective = quadratic(torch.eye(2) * 1e-3, at=[1.0, 1.0], minimum=[1000.0, 1000.0])
    (row,) = mean_rise(Case(objective, Noise(objective, ones)), [0.01], pairs=50, seed=0)
    assert abs(row.value - 0.5 * 1e-4 * 2e-3) < 4 * row.standard_error
    assert row.standard_error < row.value


def test_standard_error_is_that_of_the_mean(classifier, miscalibration):
    objective = classifier()
    rows = [adaptive_average(objective, radii=[0.3], pairs=8, seed=s)[0] for s in range(60)]
    assert abs(miscalibration(rows)) < 3


def test_every_radius_sees_the_same_draws(quadratic):
    objective = quadratic(torch.diag(torch.tensor([3.0, 1.0])), at=[1.0, 1.0])
    small, large = mean_rise(Case(objective, Noise(objective, weights)), [0.1, 0.2], pairs=3, seed=0)
    assert large.value == pytest.approx(4 * small.value, rel=1e-12)


def test_error_as_the_quantity(each):
    objective = each(torch.ones(500))
    (row,) = mean_rise(Case(objective, Noise(objective, weights), quantities.error), [1.0], pairs=20)
    assert row.value == pytest.approx(0.15866, abs=4 * row.standard_error)  # Φ(−1)


H = torch.diag(torch.tensor([4.0, 1.0, 0.5]).double())


def test_lpf_is_the_rise_without_the_loss(quadratic):
    objective = quadratic(H, at=[1.0, 1.0, 1.0], minimum=[0.0, 0.0, 0.0])  # L = 2.75 here
    (row,) = lpf(objective, radii=[0.1], pairs=3000)
    assert abs(row.value - 0.5 * 0.01 * 5.5) < 3 * row.standard_error


def test_local_entropy_of_a_quadratic(quadratic):
    """Noise has standard deviation γ^-½ in every one of the p dimensions: ½ log det(I + H/γ)."""
    gamma = 2.0
    expected = 0.5 * float(torch.log1p(H.diagonal() / gamma).sum())
    (row,) = local_entropy(quadratic(H), radii=[gamma], samples=4000)
    assert abs(row.value - expected) < 3 * row.standard_error
    (exact,) = local_entropy_quadratic(quadratic(H), radii=[gamma])
    assert exact.value == pytest.approx(expected, rel=1e-10)


def test_quadratic_form_by_quadrature(quadratic):
    values = torch.linspace(0.1, 5, 400)
    (row,) = local_entropy_quadratic(quadratic(torch.diag(values)), radii=[2.0], probes=8)
    assert abs(row.value - 0.5 * float(torch.log1p(values / 2).sum())) < 3 * row.standard_error + 1e-6


def test_the_integral_diverges_below_the_smallest_eigenvalue(quadratic):
    with pytest.raises(NotDefinedError, match="larger γ"):
        local_entropy_quadratic(quadratic(-3 * torch.eye(2)), radii=[2.0])


def test_many_examples_weigh_more(classifier):
    objective = classifier(n=30)
    single, all_of_them = (local_entropy(objective, radii=[1e4], per_example=p)[0].value for p in (False, True))
    assert all_of_them > 10 * single > 0


def test_error_under_relative_noise(each):
    (row,) = adaptive_average_error(each(torch.ones(500)), radii=[1.0], pairs=20)
    assert abs(row.value - 0.158655) < 3 * row.standard_error + 1e-3  # Φ(−1)


def test_entropy_error_is_calibrated(quadratic, miscalibration):
    objective = quadratic(H)
    assert abs(miscalibration([local_entropy(objective, radii=[5.0], seed=s)[0] for s in range(100)])) < 3


def test_float32_sums_do_not_drown_small_rises(classifier):
    """Rises of 1e-6 of the loss agree between batch sizes, as they would not if batches were averaged in float32."""
    rows = []
    for size in (7, 60):
        made = classifier(batch_size=size)
        small = ls.Objective(made.model, [batch.raw for batch in made.batches], "cross_entropy", dtype=torch.float32)
        rows.append(lpf(small, radii=[1e-3], pairs=3)[0].value)
    assert rows[0] == pytest.approx(rows[1], rel=1e-3)


def test_average_over_a_uniform_box(quadratic):
    objective = quadratic(D)
    (row,) = mean_rise(Case(objective, Noise(objective, ones, noise="uniform")), [0.3], pairs=4000)
    expected = 0.3**2 / 6 * float(D.trace())
    assert abs(row.value - expected) < 3 * row.standard_error
    assert row.standard_error < 0.02 * expected


def test_uniform_noise_of_a_classifier_has_a_third_of_the_effect(classifier):
    objective = classifier(activation="gelu")
    normal, uniform = (
        adaptive_average(objective, radii=[0.02], pairs=200, noise=kind)[0] for kind in ("normal", "uniform")
    )
    error = np.hypot(uniform.standard_error, normal.standard_error / 3)
    assert abs(uniform.value - normal.value / 3) < 3 * error < 0.3 * uniform.value
    with pytest.raises(LandscapeError, match="noise='cauchy'"):
        adaptive_average(classifier(fit=1), noise="cauchy")
