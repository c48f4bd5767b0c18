import math

import pytest
import torch

import landscape as ls


def test_minimum(quadratic):
    found = ls.critical_point(quadratic(torch.diag(torch.tensor([3.0, 2.0, 1.0]))))
    assert found.critical
    assert found.verdict == "minimum: no negative curvature was found"
    assert (found.lambda_max, found.lambda_min) == pytest.approx((3.0, 1.0))
    assert found.negative_mass == pytest.approx(0.0)


def test_saddle(quadratic):
    found = ls.critical_point(quadratic(torch.diag(torch.tensor([3.0, 1.0, -1.5]))))
    assert found.critical
    assert found.verdict.startswith("saddle: negative curvature of 50.0%")
    assert found.curvature_ratio == pytest.approx(0.5)
    assert found.negative_mass == pytest.approx(1.5 / 5.5, rel=1e-6)


def test_a_point_with_a_gradient_is_not_critical(classifier):
    found = ls.critical_point(classifier(fit=1))
    assert found.noise_ratio > 1
    assert not found.critical
    assert found.verdict.startswith("not critical: the gradient is")


def test_a_trained_network_is_within_its_noise(classifier):
    found = ls.critical_point(classifier(fit=2000))
    assert found.noise_ratio < 1
    assert found.critical


def test_without_single_gradients_nothing_is_claimed(quadratic):
    found = ls.critical_point(quadratic(torch.eye(2), at=[1.0, 1.0], minimum=[0.0, 0.0]))
    assert math.isnan(found.noise_ratio)
    assert found.verdict.startswith("undecided")


def test_flat_function(quadratic):
    found = ls.critical_point(quadratic(torch.zeros(3, 3)))
    assert found.critical
    assert found.lambda_max == found.lambda_min == 0.0


def test_one_parameter(quadratic):
    assert ls.critical_point(quadratic([[2.0]])).lambda_min == pytest.approx(2.0)
