import pytest
import torch

from landscape.scores.adaptive_curvature import adaptive_lambda_max, adaptive_trace
from landscape.scores.directional_curvature import filter_curvature, weight_curvature

H = torch.tensor([[4.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 9.0]])
AT = torch.tensor([1.0, -2.0, 0.5])


def test_trace_in_units_of_the_weights(quadratic):
    (row,) = adaptive_trace(quadratic(H, AT))
    assert row.value == pytest.approx(float((AT**2 * H.diagonal()).sum()), rel=1e-12)


def test_largest_eigenvalue_in_units_of_the_weights(quadratic):
    (row,) = adaptive_lambda_max(quadratic(H, AT))
    D = torch.diag(AT.abs())
    assert row.value == pytest.approx(float(torch.linalg.eigvalsh(D @ H @ D)[-1]), rel=1e-6)


def test_lanczos_agrees_with_the_whole_spectrum(classifier):
    objective = classifier(activation="gelu")
    exact = adaptive_lambda_max(objective, max_matvecs=1000)[0].value
    assert adaptive_lambda_max(objective, tol=1e-7)[0].value == pytest.approx(exact, rel=1e-6)


def test_eta_moves_every_weight(quadratic):
    (row,) = adaptive_trace(quadratic(torch.eye(3), torch.zeros(3)), eta=0.1)
    assert row.value == pytest.approx(0.03)


def test_curvature_along_the_weights(quadratic):
    (row,) = weight_curvature(quadratic(H, AT))
    assert row.value == pytest.approx(float(AT @ H @ AT), rel=1e-12)


def test_filter_directions_have_the_length_of_the_filters(regression):
    """The Hessian of a one-output regression is 2XᵀX/n: its mean over directions of length ‖w‖ is ‖w‖² Tr H / d."""
    X = torch.cat([batch.inputs for batch in regression.batches])
    w = regression.space.unflatten(regression.theta)["weight"]
    expected = float(w.square().sum() * 2 * X.square().sum() / len(X) / 3)
    (row,) = filter_curvature(regression, directions=3)  # three orthogonal directions of three dimensions
    assert row.value == pytest.approx(expected, rel=1e-9)
