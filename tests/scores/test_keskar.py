import numpy as np
import pytest
import torch

from landscape.errors import LandscapeError
from landscape.scores.keskar import box_maximum, keskar, keskar_subspace


def test_full_space_on_a_diagonal_quadratic(quadratic):
    at = torch.tensor([1.0, -3.0, 0.0])
    objective = quadratic(torch.diag(torch.tensor([4.0, 1.0, 2.0])), at=at)
    half = 1e-2 * (at.abs() + 1)
    expected = 100 * 0.5 * float((torch.tensor([4.0, 1.0, 2.0]) * half**2).sum())
    (row,) = keskar(objective, radii=[1e-2])
    assert row.value == pytest.approx(expected, rel=1e-6)
    assert row.unit == "%"


def test_denominator_is_one_plus_the_loss(quadratic):
    objective = quadratic(torch.eye(1), at=[3.0], minimum=[1.0])  # L = 2 at w = 3
    (row,) = keskar(objective, radii=[1e-2])
    rise = 0.5 * (2 + 0.04) ** 2 - 2
    assert row.value == pytest.approx(100 * rise / 3, rel=1e-6)


def test_small_radius_limit(classifier):
    objective = classifier(activation="gelu")
    expected = 100 * float((objective.gradient().abs() * (objective.theta.abs() + 1)).sum()) / (1 + objective.loss())
    (row,) = keskar(objective, radii=[1e-7])
    assert row.value / 1e-7 == pytest.approx(expected, rel=1e-3)


def test_moves_from_a_converged_minimum(quadratic):
    """Plain L-BFGS-B stops where the gradient is of the order of its tolerance."""
    objective = quadratic(torch.diag(torch.tensor([1e-6, 3e-6])), at=[1.0, 1.0])
    (row,) = keskar(objective, radii=[1e-3])
    assert row.value == pytest.approx(100 * 0.5 * 4e-6 * 4e-6, rel=1e-6)


def test_best_value_seen_is_reported_not_the_last():
    seen = []

    def function(y):  # the first step lands on a spike that the line search cannot keep to: its slope points back
        spike = len(seen) == 1
        seen.append(5.0 if spike else float(-np.square(y).sum()))
        return seen[-1], np.full_like(y, -1e3) if spike else np.array([1.0, -1.0])

    assert box_maximum(function, np.ones(2), iterations=5, seed=0) == max(seen) == 5.0
    assert seen[-1] != 5.0


def test_stays_in_the_box():
    seen = []

    def function(y):
        seen.append(np.abs(y).max())
        return float(y.sum()), np.ones_like(y)

    box_maximum(function, np.full(5, 0.3), iterations=10, seed=0)
    assert max(seen) <= 0.3 + 1e-12


def test_subspace_of_all_dimensions_is_a_rotation(quadratic):
    """With H = c I the maximum over |y| ≤ half depends on the half-widths alone."""
    at = torch.tensor([1.0, -3.0, 0.5])
    (row,) = keskar_subspace(quadratic(3 * torch.eye(3), at=at), radii=[1e-2], seed=0)
    generator = torch.Generator().manual_seed(0)
    columns = torch.stack([torch.randn(3, dtype=torch.float64, generator=generator) for _ in range(3)], 1)
    basis = torch.linalg.qr(columns).Q
    half = 1e-2 * ((basis.T @ at.double()).abs() + 1)
    assert row.value == pytest.approx(100 * 1.5 * float(half.square().sum()), rel=1e-6)


def test_subspace_is_below_the_full_space(classifier):
    objective = classifier()
    full, part = keskar(objective)[0].value, keskar_subspace(objective, dimensions=10)[0].value
    assert 0 < part < full


def test_a_loss_below_minus_one_is_refused(quadratic):
    objective = quadratic(-torch.eye(1), at=[3.0], minimum=[0.0])
    with pytest.raises(LandscapeError, match="divides by 1"):
        keskar(objective)
