"""Curvature: the Hessian, in units of the weights, along directions, at a scale, and its whole spectrum."""

import copy

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import NotDefinedError, NumericalError
from landscape.operators import GaussNewton, Hessian
from landscape.scores import (
    adaptive_lambda_max,
    adaptive_trace,
    curvature_at_scale,
    filter_curvature,
    slice_shape,
    spikiness,
    weight_curvature,
    worst_to_average,
)
from landscape.scores.curvature import extreme_eigenvalues, trace_and_norm
from landscape.scores.more.slice_shape import first_crossing
from landscape.scores.more.spectral_summaries import renyi_of, renyi_sharpness, soft_rank, soft_rank_of
from landscape.scores.network import piecewise_functions
from landscape.spectra import top_eigenpairs


def dense(objective):
    return torch.autograd.functional.hessian(
        lambda theta: sum(objective.batch_loss(theta, batch) for batch in objective.batches), objective.theta
    )


def test_extreme_eigenvalues_against_the_dense_hessian(classifier):
    objective = classifier(activation="gelu")
    values = torch.linalg.eigvalsh(dense(objective))
    largest, smallest = extreme_eigenvalues(objective, tol=1e-8, max_matvecs=2000)
    assert largest.value == pytest.approx(float(values[-1]), rel=1e-6)
    assert smallest.value == pytest.approx(float(values[0]), rel=1e-6)
    assert largest.status == "ok"


def test_an_unconverged_end_is_marked(classifier):
    rows = extreme_eigenvalues(classifier(activation="gelu"), tol=1e-12, max_matvecs=8)
    assert {row.status for row in rows} == {"not converged"}
    assert rows[0].note.startswith("λmax is at least this, and an eigenvalue lies within")
    assert rows[1].note.startswith("λmin is at most this")


def test_a_tiny_loss_is_measured_in_float64(classifier):
    """At a cross-entropy of 2e-8 float32 products are rounding, and not symmetric."""
    double = classifier(sizes=(6, 30, 30, 3), fit=400)
    sure = ls.transforms.temperature(double.model, double.batches[0].inputs, t=1.5).model
    objective = ls.Objective(copy.deepcopy(sure).float(), double.batches[0].raw, "cross_entropy")
    exact = ls.Objective(sure, double.batches[0].raw, "cross_entropy")
    with pytest.raises(NumericalError, match="not symmetric"):
        top_eigenpairs(Hessian(objective), 2, which="BE", max_matvecs=40)
    for slug in ("lambda-max", "adaptive-lambda-max"):
        values = [ls.scores.REGISTRY[slug].compute(o)[0].value for o in (objective, exact)]
        assert values[0] == pytest.approx(values[1], rel=1e-2)


def test_trace_and_norm_within_their_errors(classifier):
    objective = classifier(activation="gelu")
    H = dense(objective)
    total, norm = trace_and_norm(objective, matvecs=60)
    assert abs(total.value - float(H.trace())) < 3 * total.standard_error
    assert abs(norm.value - float(H.norm())) < 3 * norm.standard_error


def test_one_parameter(quadratic):
    rows = extreme_eigenvalues(quadratic([[3.0]]))
    assert [row.value for row in rows] == pytest.approx([3.0, 3.0])


def test_kinks_are_named_only_where_there_are_any(classifier):
    assert "relu" in extreme_eigenvalues(classifier())[0].note
    assert extreme_eigenvalues(classifier(activation="gelu"))[0].note == ""
    assert piecewise_functions(classifier(activation="tanh")) == ()


def test_second_difference_of_a_smooth_network_is_the_hessian(classifier):
    objective = classifier(activation="gelu")
    directions = torch.tensor(ls.random_directions(objective, n=4, seed=0).vectors).double()
    expected = float(torch.einsum("kp,pq,kq->k", directions, dense(objective), directions).mean())
    (row,) = curvature_at_scale(objective, radii=[1e-3])
    assert row.value == pytest.approx(expected, rel=1e-4)


def test_second_difference_of_a_kink_is_not():
    """L = |w| has no curvature where the derivative exists, and 2/h at the kink."""

    net = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    with torch.no_grad():
        net.weight.fill_(1e-3)
    data = (torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64))
    objective = ls.Objective(net, data, "l1_loss")
    fine, coarse = curvature_at_scale(objective, radii=[0.5, 2.0], directions=1)
    assert fine.value == pytest.approx(0.0, abs=1e-12)
    assert coarse.value == pytest.approx((2 * 2e-3 - 2e-3) / 4, rel=1e-9)


def test_nothing_to_move_is_not_defined(quadratic):
    with pytest.raises(NotDefinedError, match="directions are zero"):
        curvature_at_scale(quadratic(torch.eye(2)))


def test_linear_regression_has_one_hessian_for_every_label_vector():
    """∇²L = 2XᵀX/n whatever the weights and the labels: every Euclidean Hessian score ties."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(50, 8, generator=generator).double()
    true, random = X @ torch.randn(8, 1, generator=generator).double(), torch.randn(50, 1, generator=generator).double()

    def fitted(y):
        net = torch.nn.Linear(8, 1, bias=False).double()
        with torch.no_grad():
            net.weight.copy_(torch.linalg.lstsq(X, y).solution.T)
        return ls.Objective(net, (X, y), "mse_loss")

    slugs = ["lambda-max", "lambda-min", "trace", "frobenius", "soft-rank", "renyi-sharpness"]
    panels = [ls.sharpness(fitted(y), slugs) for y in (true, random)]
    values = torch.linalg.eigvalsh(2 * X.T @ X / 50)
    assert panels[0]["lambda-max"].value == pytest.approx(float(values[-1]), rel=1e-9)
    assert panels[0]["trace"].value == pytest.approx(float(values.sum()), rel=1e-9)
    for slug in slugs:
        assert panels[0][slug].value == pytest.approx(panels[1][slug].value, rel=1e-9)


def test_a_rescaled_copy_is_sharper_only_in_euclidean_scores(classifier):
    """Dinh et al. 2017: λmax moves more than tenfold while no prediction and no primary score does."""
    objective = classifier()
    moved = ls.transforms.layer_scale(objective.model, objective.batches[0].inputs, alpha=10.0)
    copy = objective.at(moved.model.state_dict())
    slugs = ["lambda-max", "adaptive-worst-symmetric", "adaptive-average", "inverse-sigma-mag"]
    before, after = ls.sharpness(objective, slugs), ls.sharpness(copy, slugs)
    assert after["lambda-max"].value > 10 * before["lambda-max"].value
    for a, b in zip(before.rows, after.rows, strict=True):
        if a.name != "lambda-max":
            assert b.value == pytest.approx(a.value, rel=1e-6)


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


def linear(loss="mse_loss"):
    X = torch.eye(2, dtype=torch.float64)
    net = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    torch.nn.init.constant_(net.weight, 0.5)
    return ls.Objective(net, (X, X @ net.weight.detach().T), loss)


def test_a_parabola_is_symmetric_and_monotone():
    objective = linear()  # L = ‖δ‖²/2 and ‖d‖ = ‖w‖
    asymmetry, roughness, width = slice_shape(objective, directions=2, points=401, level=0.01)
    assert asymmetry.value == pytest.approx(0.0, abs=1e-12)
    assert roughness.value == pytest.approx(0.0, abs=1e-12)
    expected = np.sqrt(2 * 0.01) / float(objective.theta.norm())
    assert 1 / width.value == pytest.approx(expected, rel=1e-3)


def test_roughness_counts_what_goes_up_and_down_again():
    def wave(output, target):
        return torch.sin(20 * (output - target)).mean()

    _, roughness, _ = slice_shape(linear(wave), directions=2, points=201)
    assert roughness.value > 1


def test_asymmetry_of_a_cubic():
    def cubic(output, target):
        error = output - target
        return (error.square() + 5 * error**3).mean()

    asymmetry, *_ = slice_shape(linear(cubic), directions=2)
    assert asymmetry.value > 0.1


def test_crossing_is_interpolated():
    assert first_crossing(np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.05, 0.15]), 0.1) == pytest.approx(1.5)
    assert first_crossing(np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.0, 0.05]), 0.1) == 2.0


def test_spikiness_of_a_network(classifier):
    (row,) = spikiness(classifier(), directions=20)
    assert row.value >= 0
    assert 0 < row.standard_error < 1


def test_worst_case_exceeds_the_average_of_the_same_length(classifier):
    (row,) = worst_to_average(classifier())
    assert row.value > 1
    assert row.standard_error > 0


def test_soft_rank_of_known_eigenvalues():
    values = np.array([5.0, 1.0, 0.1, 0.0, -1e-9])
    assert soft_rank_of(values, 0.5) == pytest.approx(5 / 5.5 + 1 / 1.5 + 0.1 / 0.6)


def test_soft_rank_of_a_network(classifier):
    objective = classifier()
    values = torch.linalg.eigvalsh(GaussNewton(objective).dense())
    (row,) = soft_rank(objective, radii=(0.01,))
    assert row.value == pytest.approx(soft_rank_of(values.numpy(), 0.01), rel=1e-9)


def test_soft_rank_by_quadrature(classifier):
    objective = classifier(sizes=(6, 24, 16, 3))
    values = torch.linalg.eigvalsh(GaussNewton(objective).dense())
    (row,) = soft_rank(objective, radii=(0.01,), probes=8, steps=60)
    assert abs(row.value - soft_rank_of(values.numpy(), 0.01)) < 3 * row.standard_error


@pytest.mark.parametrize("order", [0.5, 1.0, 1.5, 2.0])
def test_equal_eigenvalues_have_the_entropy_of_their_number(order):
    assert renyi_of(np.full(37, 2.5), order) == pytest.approx(np.log(37))
    assert renyi_of(np.array([3.0, 0.0, 0.0]), order) == pytest.approx(0.0)


def test_layers_are_taken_by_themselves(classifier):
    objective = classifier()
    H = Hessian(objective)
    expected = [renyi_of(torch.linalg.eigvalsh(H.block(f"linear{i}.weight").dense()).numpy(), 0.5) for i in (1, 2, 3)]
    (row,) = renyi_sharpness(objective)
    assert row.value == pytest.approx(-np.mean(expected), rel=1e-9)


def test_no_matrix_no_entropy(classifier):
    objective = classifier(fit=1)
    biases = ls.Objective(objective.model, objective.batches[0].raw, "cross_entropy", parameters="*bias")
    with pytest.raises(NotDefinedError, match="no weight matrix"):
        renyi_sharpness(biases)


def test_no_curvature_no_entropy():
    with pytest.raises(NotDefinedError, match="zero"):
        renyi_of(np.zeros(3), 0.5)
