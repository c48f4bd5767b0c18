import pytest
import torch

from landscape.scores.adaptive_worst_l2 import adaptive_worst_l2, worst_in_ellipsoid
from landscape.scores.evaluation import Meter
from landscape.scores.sam import asam, m_sharpness, sam

H = torch.tensor([[4.0, 1.0], [1.0, 2.0]]).double()


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


def test_one_step_does_not_depend_on_the_batches(classifier):
    values = [f(classifier(batch_size=b))[0].value for f in (sam, m_sharpness, asam) for b in (7, 60)]
    assert values[::2] == pytest.approx(values[1::2], rel=1e-10)


def test_a_stationary_point_has_no_first_step(quadratic):
    assert sam(quadratic(H))[0].value == 0.0


def test_worst_case_in_a_ball_is_half_the_largest_eigenvalue(quadratic):
    objective = quadratic(torch.diag(torch.tensor([4.0, 1.0, 0.5])))
    value = worst_in_ellipsoid(objective, torch.ones(3).double(), 0.3, Meter(), iterations=60)
    assert value == pytest.approx(0.5 * 0.3**2 * 4, rel=1e-6)


def test_worst_case_in_the_ellipsoid_of_the_weights(quadratic):
    at = torch.tensor([1.0, -3.0]).double()
    objective = quadratic(H, at=at)
    D = torch.diag(at.abs())
    value = worst_in_ellipsoid(objective, at.abs(), 0.1, Meter(), iterations=60)
    assert value == pytest.approx(0.5 * 0.1**2 * float(torch.linalg.eigvalsh(D @ H @ D)[-1]), rel=1e-6)


def test_zero_weights_do_not_lift_the_constraint(quadratic):
    """Projecting onto the ellipsoid itself meets 0/0 at a zero weight, and the constraint is silently dropped."""
    with_zero = quadratic(torch.diag(torch.tensor([4.0, 100.0])), at=[1.0, 0.0], minimum=[0.5, 0.0])
    without = quadratic(torch.diag(torch.tensor([4.0])), at=[1.0], minimum=[0.5])
    values = [worst_in_ellipsoid(o, o.theta.abs(), 0.1, Meter()) for o in (with_zero, without)]
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    assert values[0] == pytest.approx(0.5 * 4 * (0.6**2 - 0.5**2), rel=1e-6)


def test_normalised_worst_case_grows_with_the_radius(classifier):
    values = [row.value for row in adaptive_worst_l2(classifier())]
    assert values == sorted(values)
    assert values[0] > 0
