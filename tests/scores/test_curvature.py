"""Curvature of networks: the Hessian, in units of the weights, along directions, at a scale, and its whole spectrum."""

import copy

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import NotDefinedError, NumericalError
from landscape.operators import GaussNewton, Hessian
from landscape.scores import adaptive_lambda_max, curvature_at_scale, slice_shape, spikiness
from landscape.scores.curvature import extreme_eigenvalues, trace_and_norm
from landscape.scores.more.spectral_summaries import renyi_of, renyi_sharpness, soft_rank, soft_rank_of
from landscape.scores.network import piecewise_functions
from landscape.spectra import top_eigenpairs


def dense(objective):
    return torch.autograd.functional.hessian(
        lambda theta: sum(objective.batch_loss(theta, batch) for batch in objective.batches), objective.theta
    )


def test_against_the_dense_hessian(classifier):
    objective = classifier(activation="gelu")
    H = dense(objective)
    values = torch.linalg.eigvalsh(H)
    largest, smallest = extreme_eigenvalues(objective, tol=1e-8, max_matvecs=2000)
    assert largest.value == pytest.approx(float(values[-1]), rel=1e-6)
    assert smallest.value == pytest.approx(float(values[0]), rel=1e-6)
    assert largest.status == "ok"
    total, norm = trace_and_norm(objective, matvecs=60)
    assert abs(total.value - float(H.trace())) < 3 * total.standard_error
    assert abs(norm.value - float(H.norm())) < 3 * norm.standard_error
    # the second difference of a smooth network is the curvature along the directions
    directions = torch.tensor(ls.random_directions(objective, n=4, seed=0).vectors).double()
    expected = float(torch.einsum("kp,pq,kq->k", directions, H, directions).mean())
    assert curvature_at_scale(objective, radii=[1e-3])[0].value == pytest.approx(expected, rel=1e-4)
    exact = adaptive_lambda_max(objective, max_matvecs=1000)[0].value
    assert adaptive_lambda_max(objective, tol=1e-7)[0].value == pytest.approx(exact, rel=1e-6)


def test_an_unconverged_end_is_marked(classifier):
    rows = extreme_eigenvalues(classifier(activation="gelu"), tol=1e-12, max_matvecs=8)
    assert {row.status for row in rows} == {"not converged"}
    assert rows[0].note.startswith("λmax is at least this, and an eigenvalue lies within")
    assert rows[1].note.startswith("λmin is at most this")
    assert rows[0].value > 0 > rows[1].value


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


def test_kinks_are_named_only_where_there_are_any(classifier):
    assert "relu" in extreme_eigenvalues(classifier())[0].note
    assert extreme_eigenvalues(classifier(activation="gelu"))[0].note == ""
    assert piecewise_functions(classifier(activation="tanh")) == ()


def test_a_rescaled_copy_is_sharper_only_in_euclidean_scores(classifier):
    """Dinh et al. 2017: λmax moves more than tenfold while no prediction and no primary score does."""
    objective = classifier()
    moved = ls.transforms.layer_scale(objective.model, objective.batches[0].inputs, alpha=10.0)
    slugs = ["lambda-max", "adaptive-worst-symmetric", "adaptive-average", "inverse-sigma-mag"]
    before, after = ls.sharpness(objective, slugs), ls.sharpness(objective.at(moved.model.state_dict()), slugs)
    assert after["lambda-max"].value > 10 * before["lambda-max"].value
    for a, b in zip(before.rows, after.rows, strict=True):
        if a.name != "lambda-max":
            assert b.value == pytest.approx(a.value, rel=1e-6)


def shape(loss="mse_loss", **options):
    """The shape of L = loss(δ) about w = (½, ½), along directions of the length of w."""
    X = torch.eye(2, dtype=torch.float64)
    net = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    torch.nn.init.constant_(net.weight, 0.5)
    objective = ls.Objective(net, (X, X @ net.weight.detach().T), loss)
    return [row.value for row in slice_shape(objective, directions=2, **options)]


def test_shapes_of_slices():
    asymmetry, roughness, width = shape(points=401, level=0.01)  # of a parabola, L = ‖δ‖²/2
    assert [asymmetry, roughness] == pytest.approx([0.0, 0.0], abs=1e-12)
    assert 1 / width == pytest.approx(np.sqrt(2 * 0.01) / 0.5**0.5, rel=1e-3)
    assert shape(lambda output, target: torch.sin(20 * (output - target)).mean(), points=201)[1] > 1
    assert shape(lambda output, target: ((output - target).square() + 5 * (output - target) ** 3).mean())[0] > 0.1


def test_spikiness_of_a_network(classifier):
    (row,) = spikiness(classifier(), directions=20)
    assert row.value >= 0
    assert 0 < row.standard_error < 1


def test_soft_rank(classifier):
    known = np.array([5.0, 1.0, 0.1, 0.0, -1e-9])
    assert soft_rank_of(known, 0.5) == pytest.approx(5 / 5.5 + 1 / 1.5 + 0.1 / 0.6)
    for sizes, options in (((6, 8, 7, 3), {}), ((6, 24, 16, 3), {"probes": 8, "steps": 60})):  # exact, by quadrature
        objective = classifier(sizes=sizes)
        expected = soft_rank_of(torch.linalg.eigvalsh(GaussNewton(objective).dense()).numpy(), 0.01)
        (row,) = soft_rank(objective, radii=(0.01,), **options)
        assert abs(row.value - expected) < 3 * row.standard_error + 1e-9 * expected


@pytest.mark.parametrize("order", [0.5, 1.0, 1.5, 2.0])
def test_equal_eigenvalues_have_the_entropy_of_their_number(order):
    assert renyi_of(np.full(37, 2.5), order) == pytest.approx(np.log(37))
    assert renyi_of(np.array([3.0, 0.0, 0.0]), order) == pytest.approx(0.0)


def test_entropies_of_layers_are_taken_by_themselves(classifier):
    objective = classifier()
    H = Hessian(objective)
    expected = [renyi_of(torch.linalg.eigvalsh(H.block(f"linear{i}.weight").dense()).numpy(), 0.5) for i in (1, 2, 3)]
    assert renyi_sharpness(objective)[0].value == pytest.approx(-np.mean(expected), rel=1e-9)


def test_what_is_not_defined(classifier, quadratic):
    objective = classifier(fit=1)
    biases = ls.Objective(objective.model, objective.batches[0].raw, "cross_entropy", parameters="*bias")
    for message, call in {
        "no weight matrix": lambda: renyi_sharpness(biases),
        "every eigenvalue is zero": lambda: renyi_of(np.zeros(3), 0.5),
        "directions are zero": lambda: curvature_at_scale(quadratic(torch.eye(2))),
    }.items():
        with pytest.raises(NotDefinedError, match=message):
            call()
