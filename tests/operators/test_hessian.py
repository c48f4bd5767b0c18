"""Hessian products equal the dense second derivative, for every program and every kind of batch."""

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.errors import LandscapeError


def problem(dtype=torch.float64, sizes=(5, 3, 4), **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.GELU(), nn.Linear(6, 3)).to(dtype)
    X, y = torch.randn(sum(sizes), 4, dtype=dtype), torch.randint(0, 3, (sum(sizes),))
    batches = list(zip(X.split(sizes), y.split(sizes), strict=True))
    return ls.Objective(model, batches, "cross_entropy", **options)


def reference(objective):
    def loss(theta):
        return sum(objective.batch_loss(theta, batch) for batch in objective.batches)

    with objective.guard(second=True):
        return torch.func.hessian(loss)(objective.theta)


@pytest.mark.parametrize("program", ["auto", "kept", "recompute"])
def test_every_program_gives_the_dense_matrix(program):
    objective = problem()
    H = ls.Hessian(objective, program=program)
    torch.testing.assert_close(H.dense(), reference(objective), rtol=1e-10, atol=1e-12)
    if program != "auto":
        assert H.plan.program == program


def test_numpy_in_numpy_out_and_torch_in_torch_out():
    H = ls.Hessian(problem())
    v = torch.randn(H.size, dtype=torch.float64)
    product = H @ v
    assert isinstance(product, torch.Tensor)
    assert product.shape == v.shape
    back = H @ v.numpy()
    assert isinstance(back, np.ndarray)
    np.testing.assert_array_equal(back, product.numpy())
    assert (H @ v.numpy().astype(np.float32)).dtype == np.float32


def test_columns_are_multiplied_one_by_one():
    H = ls.Hessian(problem())
    V = torch.randn(H.size, 3, dtype=torch.float64)
    torch.testing.assert_close(H @ V, torch.stack([H @ v for v in V.T], 1), rtol=1e-12, atol=1e-14)


def test_scipy_finds_the_top_eigenvalue():
    from scipy.sparse.linalg import eigsh

    objective = problem()
    top = eigsh(ls.Hessian(objective).to_scipy(), k=1, which="LA", v0=np.ones(objective.size))[0][0]
    assert top == pytest.approx(float(torch.linalg.eigvalsh(reference(objective))[-1]), rel=1e-10)


def test_a_block_is_the_principal_submatrix():
    objective = problem()
    block = ls.Hessian(objective).block("2.*")
    inside = objective.space.mask("2.*")
    torch.testing.assert_close(block.dense(), reference(objective)[inside][:, inside], rtol=1e-10, atol=1e-12)
    with pytest.raises(LandscapeError, match="matches no parameter"):
        ls.Hessian(objective).block("nothing.*")


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (torch.zeros(3, dtype=torch.float64), "shape"),
        (torch.zeros(51, 2, 2, dtype=torch.float64), "shape"),
        (torch.zeros(51), "float32, expected torch.float64"),
        (np.zeros(51, dtype=int), "floating point"),
        ([0.0] * 51, "not list"),
        (torch.zeros(51, dtype=torch.float64, device="meta"), "on meta, expected cpu"),
    ],
)
def test_wrong_vectors_are_refused(vector, message):
    H = ls.Hessian(problem())
    assert H.size == 51
    with pytest.raises(LandscapeError, match=message):
        H @ vector


def test_nothing_of_the_model_changes():
    objective = problem()
    model = objective.model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    ls.Hessian(objective) @ objective.theta
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())


def test_a_loss_without_curvature_has_the_zero_matrix():
    objective = problem().with_loss(ls.BatchLoss(lambda model, batch: model[0].weight.sum() + model[2].bias.sum()))
    assert not (ls.Hessian(objective) @ objective.theta).any()


@pytest.mark.parametrize(
    "kind",
    [ls.Hessian, ls.GaussNewton, ls.Fisher, ls.EmpiricalFisher, ls.GradientCovariance]
    + [ls.operators.FiniteDifferenceHessian],
)
def test_a_matrix_of_something_else_is_refused(kind):
    with pytest.raises(
        LandscapeError, match=r"got a Linear, expected an Objective: pass ls.Objective\(model, data, loss\)"
    ):
        kind(nn.Linear(2, 2))
    checkpoint = ls.Checkpoint(nn.Linear(2, 2), loss="mse_loss", train=(torch.zeros(3, 2), torch.zeros(3, 2)))
    with pytest.raises(
        LandscapeError, match=r'got a Checkpoint, expected an Objective: pass checkpoint\.objective\("train"\)'
    ):
        kind(checkpoint)
