import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import NotDefinedError
from landscape.scores.low_pass import adaptive_average_error, local_entropy, local_entropy_quadratic, lpf

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


def test_error_of_regression_is_not_defined(regression):
    with pytest.raises(NotDefinedError, match="0–1 error"):
        adaptive_average_error(regression)


def test_entropy_error_is_calibrated(quadratic):
    objective = quadratic(H)
    rows = [local_entropy(objective, radii=[5.0], seed=s)[0] for s in range(30)]
    ratio = np.mean([r.standard_error for r in rows]) / np.std([r.value for r in rows], ddof=1)
    assert 0.6 < ratio < 1.6


def test_float32_sums_do_not_drown_small_rises(classifier):
    """Rises of 1e-6 of the loss agree between batch sizes, as they would not if batches were averaged in float32."""
    rows = []
    for size in (7, 60):
        made = classifier(batch_size=size)
        small = ls.Objective(made.model, [batch.raw for batch in made.batches], "cross_entropy", dtype=torch.float32)
        rows.append(lpf(small, radii=[1e-3], pairs=3)[0].value)
    assert rows[0] == pytest.approx(rows[1], rel=1e-3)
