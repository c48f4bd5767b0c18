import pytest
import torch

from landscape.errors import NotDefinedError
from landscape.scores.adaptive_worst import adaptive_worst_linf, worst_increase
from landscape.scores.evaluation import Meter
from landscape.scores.normalized import logit_normalized
from landscape.transforms.head import gauge_fixed


def test_box_on_a_diagonal_quadratic_at_its_minimum(quadratic):
    """At an exact minimum the gradient is zero and the ascent has to start from a point beside it."""
    H = torch.diag(torch.tensor([4.0, 1.0, 0.5]))
    value = worst_increase(quadratic(H), torch.ones(3).double(), 0.3, Meter())
    assert value == pytest.approx(0.5 * 0.3**2 * 5.5, rel=1e-6)


def test_box_proportional_to_the_weights(quadratic):
    objective = quadratic(torch.diag(torch.tensor([4.0, 1.0, 2.0])), at=[1.0, -3.0, 0.0])
    value = worst_increase(objective, objective.theta.abs(), 0.1, Meter())
    assert value == pytest.approx(0.5 * 0.1**2 * (4 + 9), rel=1e-6)  # a zero weight does not move


def test_small_radius_limit_is_the_scaled_gradient(classifier):
    objective = gauge_fixed(classifier(activation="gelu").rebatch(60))
    normalized = logit_normalized(objective)
    expected = float((normalized.theta * normalized.gradient()).abs().sum())
    (row,) = adaptive_worst_linf(objective, radii=[1e-7], subset=60)
    assert row.value / 1e-7 == pytest.approx(expected, rel=1e-4)


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


def test_no_classes_no_score(regression):
    with pytest.raises(NotDefinedError, match="needs logits"):
        adaptive_worst_linf(regression)
