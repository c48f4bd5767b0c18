"""Worst cases of networks: batches, radii, costs, and one step against many."""

import numpy as np
import pytest

from landscape.errors import LandscapeError, NotDefinedError
from landscape.scores import (
    adaptive_worst_l2,
    adaptive_worst_linf,
    adaptive_worst_symmetric,
    inverse_alpha,
    inverse_sigma,
    keskar,
    keskar_subspace,
    m_sharpness,
    sam,
    worst_to_average,
)
from landscape.scores.gauges import Gauged, logit_normalized, shift_removed


def test_small_radius_limit_is_the_scaled_gradient(classifier):
    objective = Gauged(classifier(activation="gelu").rebatch(60)).at(shift_removed)
    normalized = logit_normalized(objective)
    expected = float((normalized.theta * normalized.gradient()).abs().sum())
    (row,) = adaptive_worst_linf(objective, radii=[1e-7], subset=60)
    assert row.value / 1e-7 == pytest.approx(expected, rel=1e-4)
    assert row.note == "the slope at the weights alone gives 100% of it"
    expected = 100 * float((objective.gradient().abs() * (objective.theta.abs() + 1)).sum()) / (1 + objective.loss())
    assert keskar(objective, radii=[1e-7])[0].value / 1e-7 == pytest.approx(expected, rel=1e-3)


def test_the_symmetrised_worst_case_grows_with_the_square_of_the_radius(classifier):
    rows = adaptive_worst_symmetric(classifier(activation="gelu"), radii=[1e-4, 1e-3], iterations=40)
    assert np.log10(rows[1].value / rows[0].value) == pytest.approx(2, abs=0.02)
    assert sum(row.gradients for row in rows) == pytest.approx(2 * 2 * 41 + 1 / 3)


def test_smaller_batches_are_sharper_than_all_data(classifier):
    objective = classifier(activation="gelu")
    whole, parts = (adaptive_worst_linf(objective, radii=[0.05], subset=m)[0].value for m in (60, 6))
    assert parts > whole
    values = [m_sharpness(objective, subset=m)[0].value for m in (1, 10, 60)]
    assert values[0] > values[1] > values[2] > 0
    assert values[2] == pytest.approx(sam(objective)[0].value, rel=1e-12)


def test_sub_batches_are_cut_by_index_not_by_the_objectives_batches(classifier):
    rows = [adaptive_worst_linf(classifier(batch_size=b), radii=[0.01], subset=16)[0] for b in (7, 60)]
    assert rows[0].value == pytest.approx(rows[1].value, rel=1e-12)
    assert rows[1].gradients == pytest.approx(21)  # one per iteration and one for the start


def test_worst_cases_of_a_network_are_ordered(classifier):
    objective = classifier()
    values = [row.value for row in adaptive_worst_l2(objective)]
    assert 0 < values[0] < values[1] < values[2] < values[3]
    full, part = keskar(objective)[0], keskar_subspace(objective, dimensions=10)[0]
    assert 0 < part.value < full.value
    assert full.unit == "%"
    (ratio,) = worst_to_average(objective)
    assert ratio.value > 1
    assert ratio.standard_error > 0
    assert inverse_alpha(objective)[0].value > inverse_sigma(objective)[0].value


def test_what_has_no_worst_case(classifier, quadratic):
    with pytest.raises(NotDefinedError, match="two classes"):
        adaptive_worst_linf(classifier(sizes=(6, 5, 2)))
    with pytest.raises(LandscapeError, match="divides by 1"):
        keskar(quadratic([[-1.0]], at=[3.0], minimum=[0.0]))
