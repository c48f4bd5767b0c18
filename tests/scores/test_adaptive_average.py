import numpy as np
import pytest
import torch

from landscape.errors import NotDefinedError
from landscape.scores.adaptive_average import adaptive_average, average_increase
from landscape.scores.evaluation import error_share


def test_isotropic_noise_on_a_quadratic(quadratic):
    H = torch.diag(torch.tensor([4.0, 1.0, 0.5]))
    (row,) = average_increase(quadratic(H), torch.ones(3).double(), [0.3], pairs=4000, seed=0)
    assert abs(row.value - 0.5 * 0.3**2 * 5.5) < 3 * row.standard_error
    assert row.standard_error < 0.02 * row.value


def test_noise_proportional_to_the_weights_on_a_quadratic(quadratic):
    at = torch.tensor([1.0, -2.0, 0.0])
    H = torch.tensor([[4.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 9.0]])
    objective = quadratic(H, at)
    (row,) = average_increase(objective, objective.theta.abs(), [0.5], pairs=4000, seed=1)
    assert abs(row.value - 0.5 * 0.5**2 * (4 + 4 * 2)) < 3 * row.standard_error


def test_antithetic_pairs_cancel_the_gradient(quadratic):
    """Away from the minimum the linear part of a rise would be a hundred times the quadratic one."""
    objective = quadratic(torch.eye(2) * 1e-3, at=[1.0, 1.0], minimum=[1000.0, 1000.0])
    (row,) = average_increase(objective, torch.ones(2).double(), [0.01], pairs=50, seed=0)
    assert abs(row.value - 0.5 * 1e-4 * 2e-3) < 4 * row.standard_error
    assert row.standard_error < row.value


def test_standard_error_is_that_of_the_mean(classifier):
    objective = classifier()
    values = [adaptive_average(objective, radii=[0.3], pairs=8, seed=s)[0] for s in range(60)]
    spread = np.std([row.value for row in values], ddof=1)
    assert 0.7 < np.sqrt(np.mean([row.standard_error**2 for row in values])) / spread < 1.4


def test_every_radius_sees_the_same_draws(quadratic):
    objective = quadratic(torch.diag(torch.tensor([3.0, 1.0])), at=[1.0, 1.0])
    small, large = average_increase(objective, objective.theta.abs(), [0.1, 0.2], pairs=3, seed=0)
    assert large.value == pytest.approx(4 * small.value, rel=1e-12)


def test_error_as_the_quantity(each):
    objective = each(torch.ones(500))
    (row,) = average_increase(objective, objective.theta.abs(), [1.0], pairs=20, seed=0, share=error_share)
    assert row.value == pytest.approx(0.15866, abs=4 * row.standard_error)  # Φ(−1)


def test_no_classes_no_score(regression):
    with pytest.raises(NotDefinedError, match="needs logits"):
        adaptive_average(regression)


def test_does_not_depend_on_the_batches(classifier):
    rows = [adaptive_average(classifier(batch_size=b), pairs=3) for b in (7, 60)]
    assert [r.value for r in rows[0]] == pytest.approx([r.value for r in rows[1]], rel=1e-10)
