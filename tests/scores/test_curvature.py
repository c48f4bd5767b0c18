import pytest
import torch

import landscape as ls
from landscape.errors import NotDefinedError
from landscape.scores.curvature import extreme_eigenvalues, trace_and_norm
from landscape.scores.kinks import piecewise_functions
from landscape.scores.slice_curvature import curvature_at_scale


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
    assert "lies within" in rows[0].note


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
