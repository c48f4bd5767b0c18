import copy

import pytest
import torch

import landscape as ls
from landscape.errors import NotDefinedError, NumericalError
from landscape.operators import Hessian
from landscape.scores.curvature import extreme_eigenvalues, trace_and_norm
from landscape.scores.kinks import piecewise_functions
from landscape.scores.slice_curvature import curvature_at_scale
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
    slugs = ["lambda-max", "adaptive-worst-linf", "adaptive-average", "inverse-sigma-mag"]
    before, after = ls.sharpness(objective, slugs), ls.sharpness(copy, slugs)
    assert after["lambda-max"].value > 10 * before["lambda-max"].value
    for a, b in zip(before.rows, after.rows, strict=True):
        if a.name != "lambda-max":
            assert b.value == pytest.approx(a.value, rel=1e-6)
