import math

import pytest
import torch

import landscape as ls

QUADRATICS = {
    # name: (H; verdict, λmax, λmin, negative share)
    "minimum": (torch.diag(torch.tensor([3.0, 2.0, 1.0])), "minimum: no negative curvature was found", 3.0, 1.0, 0.0),
    "saddle": (torch.diag(torch.tensor([3.0, 1.0, -1.5])), "saddle: negative curvature of 50.0%", 3.0, -1.5, 1.5 / 5.5),
    "flat": (torch.zeros(3, 3), "minimum", 0.0, 0.0, 0.0),
    "one parameter": ([[2.0]], "minimum", 2.0, 2.0, 0.0),
}


@pytest.mark.parametrize(("H", "verdict", "high", "low", "negative"), QUADRATICS.values(), ids=QUADRATICS)
def test_quadratics(quadratic, H, verdict, high, low, negative):
    found = ls.critical_point(quadratic(H))
    assert found.critical
    assert found.verdict.startswith(verdict)
    assert (found.lambda_max, found.lambda_min) == pytest.approx((high, low))
    assert found.negative_mass == pytest.approx(negative, rel=1e-6)


def test_a_gradient_is_judged_by_its_noise(classifier, quadratic):
    early, late = (ls.critical_point(classifier(fit=fit)) for fit in (1, 2000))
    assert late.noise_ratio < 1 < early.noise_ratio
    assert (early.critical, late.critical) == (False, True)
    assert early.verdict.startswith("not critical: the gradient is")
    unknown = ls.critical_point(quadratic(torch.eye(2), at=[1.0, 1.0], minimum=[0.0, 0.0]))
    assert math.isnan(unknown.noise_ratio)
    assert unknown.verdict.startswith("undecided")
