"""Worst cases: APGD, boxes and ellipsoids, one step, Keskar."""

import numpy as np
import pytest
import torch

from landscape.errors import LandscapeError, NotDefinedError
from landscape.scores import (
    adaptive_worst_l2,
    adaptive_worst_linf,
    adaptive_worst_loss,
    adaptive_worst_symmetric,
    asam,
    keskar,
    keskar_subspace,
    m_sharpness,
    sam,
)
from landscape.scores.ascent import box_maximum, checkpoints, maximize
from landscape.scores.functionals import Case, largest_rise
from landscape.scores.gauges import Gauged, logit_normalized, shift_removed
from landscape.scores.perturbations import Ball, Box, ones, weights

H = torch.tensor([[4.0, 1.0], [1.0, 2.0]]).double()


def worst(shape, scale, objective, radius, **options):
    return largest_rise(Case(objective, shape(objective, scale)), [radius], **options)[0].value


def test_checkpoints_of_twenty_iterations():
    assert checkpoints(20) == [5, 9, 12, 15, 16, 18, 19, 20]


def quadratic(H):
    def evaluate(x):
        return 0.5 * x @ H @ x, H @ x

    return evaluate


def test_reaches_the_corner_of_a_box():
    H = torch.diag(torch.tensor([3.0, 1.0, 0.2], dtype=torch.float64))
    _, _, best, x = maximize(
        quadratic(H), torch.sign, lambda x: x.clamp(-0.5, 0.5), torch.tensor([0.01, -0.02, 0.03]).double(), 1.0
    )
    assert float(best) == pytest.approx(0.5 * 0.25 * 4.2, rel=1e-6)
    assert x.tolist() == pytest.approx([0.5, -0.5, 0.5], rel=1e-6)


def test_returns_the_best_point_met_not_the_last():
    seen = []

    def evaluate(x):
        seen.append((float(-(x - 0.3).abs().sum()), x.clone()))
        return -(x - 0.3).abs().sum(), -(x - 0.3).sign()

    initial, _, best, x = maximize(evaluate, torch.sign, lambda x: x.clamp(-1, 1), torch.zeros(1).double(), 2.0)
    values = [value for value, _ in seen]
    assert float(best) == max(values) > values[-1] - 1e-12
    assert float(initial) == values[0]
    assert float(-(x - 0.3).abs().sum()) == max(values)


def test_a_halved_step_restarts_the_perturbation_from_the_best_point():
    """Published code resets only the model: the iterate goes on from the old perturbation."""
    seen = []

    def evaluate(x):  # the first step overshoots; nothing after it improves until the step has shrunk
        value = -(x - 0.1).abs().sum()
        seen.append(x.clone())
        return value, torch.where(x > 0.1, -1.0, 1.0).double()

    maximize(evaluate, torch.sign, lambda x: x.clamp(-4, 4), torch.zeros(1).double(), 4.0)
    values = [float(-(x - 0.1).abs().sum()) for x in seen]
    after = seen[6]  # iteration 5 is the first checkpoint; this is the point visited next
    best = seen[max(range(6), key=lambda i: values[i])]
    direction = -1.0 if float(best) > 0.1 else 1.0
    expected = 0.75 * (best + 2.0 * direction).clamp(-4, 4) + 0.25 * best
    assert float(after) == pytest.approx(float(expected), rel=1e-12)


def test_no_step_leaves_the_set():
    seen = []

    def evaluate(x):
        seen.append(x.clone())
        return x.sum(), torch.ones_like(x)

    maximize(evaluate, torch.sign, lambda x: x.clamp(-1, 1), torch.zeros(3).double(), 2.0)
    assert max(float(x.abs().max()) for x in seen) <= 1.0


def test_box_on_a_diagonal_quadratic_at_its_minimum(quadratic):
    """At an exact minimum the gradient is zero and the ascent has to start from a point beside it."""
    H = torch.diag(torch.tensor([4.0, 1.0, 0.5]))
    value = worst(Box, ones, quadratic(H), 0.3)
    assert value == pytest.approx(0.5 * 0.3**2 * 5.5, rel=1e-6)


def test_box_proportional_to_the_weights(quadratic):
    objective = quadratic(torch.diag(torch.tensor([4.0, 1.0, 2.0])), at=[1.0, -3.0, 0.0])
    value = worst(Box, weights, objective, 0.1)
    assert value == pytest.approx(0.5 * 0.1**2 * (4 + 9), rel=1e-6)  # a zero weight does not move


def test_small_radius_limit_is_the_scaled_gradient(classifier):
    objective = Gauged(classifier(activation="gelu").rebatch(60)).at(shift_removed)
    normalized = logit_normalized(objective)
    expected = float((normalized.theta * normalized.gradient()).abs().sum())
    (row,) = adaptive_worst_linf(objective, radii=[1e-7], subset=60)
    assert row.value / 1e-7 == pytest.approx(expected, rel=1e-4)

    assert row.note == "the slope at the weights alone gives 100% of it"


def test_the_symmetrised_worst_case_has_no_slope_and_a_closed_form(quadratic):
    """½[L(w + δ) + L(w − δ)] − L(w) = ½ δᵀHδ, whatever the gradient: for a diagonal H its maximum lies in any corner."""
    objective = quadratic(torch.diag(torch.tensor([4.0, 1.0, 2.0])), at=[1.0, -3.0, 0.0])
    objective = objective.at(torch.tensor([2.0, -3.0, 0.0]).to(objective.theta))
    assert objective.gradient().norm() > 1
    for row, radius in zip(adaptive_worst_loss(objective, radii=[1e-3, 0.1]), (1e-3, 0.1), strict=True):
        assert row.value == pytest.approx(0.5 * radius**2 * (4 * 4 + 9), rel=1e-6)


def test_the_symmetrised_worst_case_grows_with_the_square_of_the_radius(classifier):
    rows = adaptive_worst_symmetric(classifier(activation="gelu"), radii=[1e-4, 1e-3], iterations=40)
    assert np.log10(rows[1].value / rows[0].value) == pytest.approx(2, abs=0.02)
    assert sum(row.gradients for row in rows) == pytest.approx(2 * 2 * 41 + 1 / 3)


def test_smaller_batches_give_larger_values(classifier):
    objective = classifier()
    whole, parts = (adaptive_worst_linf(objective, radii=[0.05], subset=m)[0].value for m in (60, 6))
    assert parts > whole


def test_sub_batches_are_cut_by_index_not_by_the_objectives_batches(classifier):
    rows = [adaptive_worst_linf(classifier(batch_size=b), radii=[0.01], subset=16) for b in (7, 60)]
    assert rows[0][0].value == pytest.approx(rows[1][0].value, rel=1e-12)


def test_cost_is_one_gradient_an_iteration_and_one_for_the_start(classifier):
    (row,) = adaptive_worst_linf(classifier(), radii=[0.01], subset=16)
    assert row.gradients == pytest.approx(21)


def test_two_classes_have_no_gradient_on_normalised_logits(classifier):
    with pytest.raises(NotDefinedError, match="two classes"):
        adaptive_worst_linf(classifier(sizes=(6, 5, 2)))


def test_one_step_on_a_quadratic(quadratic):
    objective = quadratic(H, at=[1.0, -2.0], minimum=[0.0, 0.0])
    w = objective.theta
    d = 0.05 * (H @ w) / (H @ w).norm()
    (row,) = sam(objective)
    assert row.value == pytest.approx(float(0.5 * (w + d) @ H @ (w + d) - 0.5 * w @ H @ w), rel=1e-12)


def test_adaptive_step_on_a_quadratic(quadratic):
    objective = quadratic(H, at=[1.0, -2.0], minimum=[0.0, 0.0])
    w = objective.theta
    T = w.abs()
    d = 0.5 * T**2 * (H @ w) / (T * (H @ w)).norm()
    (row,) = asam(objective)
    assert row.value == pytest.approx(float(0.5 * (w + d) @ H @ (w + d) - 0.5 * w @ H @ w), rel=1e-12)


def test_batches_of_one_are_sharper_than_all_data(classifier):
    objective = classifier(activation="gelu")
    values = [m_sharpness(objective, subset=m)[0].value for m in (1, 10, 60)]
    assert values[0] > values[1] > values[2] > 0
    assert values[2] == pytest.approx(sam(objective)[0].value, rel=1e-12)


def test_a_stationary_point_has_no_first_step(quadratic):
    assert sam(quadratic(H))[0].value == 0.0


def test_worst_case_in_a_ball_is_half_the_largest_eigenvalue(quadratic):
    objective = quadratic(torch.diag(torch.tensor([4.0, 1.0, 0.5])))
    value = worst(Ball, ones, objective, 0.3, iterations=60)
    assert value == pytest.approx(0.5 * 0.3**2 * 4, rel=1e-6)


def test_worst_case_in_the_ellipsoid_of_the_weights(quadratic):
    at = torch.tensor([1.0, -3.0]).double()
    objective = quadratic(H, at=at)
    D = torch.diag(at.abs())
    value = worst(Ball, weights, objective, 0.1, iterations=60)
    assert value == pytest.approx(0.5 * 0.1**2 * float(torch.linalg.eigvalsh(D @ H @ D)[-1]), rel=1e-6)


def test_zero_weights_do_not_lift_the_constraint(quadratic):
    """Projecting onto the ellipsoid itself meets 0/0 at a zero weight, and the constraint is silently dropped."""
    with_zero = quadratic(torch.diag(torch.tensor([4.0, 100.0])), at=[1.0, 0.0], minimum=[0.5, 0.0])
    without = quadratic(torch.diag(torch.tensor([4.0])), at=[1.0], minimum=[0.5])
    values = [worst(Ball, weights, o, 0.1) for o in (with_zero, without)]
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    assert values[0] == pytest.approx(0.5 * 4 * (0.6**2 - 0.5**2), rel=1e-6)


def test_normalised_worst_case_grows_with_the_radius(classifier):
    values = [row.value for row in adaptive_worst_l2(classifier())]
    assert values == sorted(values)
    assert values[0] > 0


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
