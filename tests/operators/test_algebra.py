"""Sums, scalings and blocks against dense matrices; vectors of every kind; checks that find a bad matrix."""

import numpy as np
import pytest
import torch
from scipy.sparse.linalg import eigsh
from torch import nn

import landscape as ls
from landscape.errors import LandscapeError, NotDefinedError, NumericalError

KINDS = [ls.Hessian, ls.GaussNewton, ls.Fisher, ls.EmpiricalFisher, ls.GradientCovariance]


def problem(dropout=0.0, **options):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.Dropout(dropout), nn.Linear(5, 3))
    data = torch.randn(12, 4), torch.randint(0, 3, (12,))
    return ls.Objective(model, data, "cross_entropy", dtype=torch.float64, **options)


@pytest.fixture
def pair():
    objective = problem()
    H, G = ls.Hessian(objective), ls.GaussNewton(objective)
    return H, G, H.dense(), G.dense()


def close(op, matrix):
    torch.testing.assert_close(op.dense(), matrix, rtol=1e-10, atol=1e-12)


def test_sums_differences_and_multiples(pair):
    H, G, h, g = pair
    close(H + G, h + g)
    close(H - G, h - g)
    close(2.5 * H - G * 2, 2.5 * h - 2 * g)
    close(-H, -h)
    assert not (H - G).positive_semidefinite
    assert (2 * G).positive_semidefinite
    assert (H - G).name == "Hessian − 1·Gauss–Newton matrix"


def test_scaled_multiplies_on_both_sides(pair):
    H, _, h, _ = pair
    d = torch.linspace(-1, 2, H.size, dtype=torch.float64)
    close(ls.scaled(H, d), d[:, None] * h * d)
    with pytest.raises(LandscapeError, match="scaling has shape"):
        ls.scaled(H, d[1:])
    with pytest.raises(LandscapeError, match="NaN"):
        ls.scaled(H, d / 0)


def test_blocks_of_sums_and_of_names(pair):
    H, G, h, g = pair
    inside = H.objective.space.mask(["0.weight", "3.bias"])
    close((H - G).block(["0.weight", "3.bias"]), (h - g)[inside][:, inside])
    with pytest.raises(LandscapeError, match="matches no parameter"):
        H.block("nothing.*")


def test_the_block_diagonal_holds_every_layers_own_block(pair):
    H, _, h, _ = pair
    for by, groups in (("layer", ["0.*", "3.*"]), ("parameter", ["0.weight", "0.bias", "3.weight", "3.bias"])):
        expected = torch.zeros_like(h)
        for group in groups:
            inside = H.objective.space.mask(group)
            expected += torch.where(inside[:, None] & inside, h, 0)
        close(H.block_diagonal(by), expected)
    parts = H.block_diagonal().by_block(torch.arange(H.size))
    assert {name: len(part) for name, part in parts.items()} == {"0": 25, "3": 18}


def test_operators_of_different_functions_do_not_add(pair):
    with pytest.raises(LandscapeError, match="equal size"):
        pair[0] + ls.Hessian(problem(parameters="0.*"))
    with pytest.raises(TypeError):
        pair[0] + 1


def test_dense_refuses_what_would_not_fit(pair, monkeypatch):
    monkeypatch.setattr("landscape.operators.base.DENSE_LIMIT", 10)
    with pytest.raises(LandscapeError, match="dense\\(\\) forms at most 10"):
        pair[0].dense()


def test_finite_differences_come_close(pair):
    H, _, h, _ = pair
    F = ls.operators.FiniteDifferenceHessian(H.objective)
    torch.testing.assert_close(F.dense(), h, rtol=1e-6, atol=1e-8)
    v = 1e6 * torch.ones(H.size, dtype=torch.float64)  # the step does not grow with the vector
    torch.testing.assert_close(F @ v, h @ v, rtol=1e-6, atol=1e-2)
    assert not (F @ torch.zeros_like(v)).any()


def test_the_sampled_fisher_matrix_has_the_exact_one_as_its_mean_however_the_data_is_cut():
    objective = problem()
    exact = ls.Fisher(objective).dense()
    errors = {}
    for samples in (20, 2000):
        one = ls.Fisher(objective, samples=samples, seed=1)
        errors[samples] = float((one.dense() - exact).norm() / exact.norm())
        cut = ls.Fisher(objective.rebatch(5), samples=samples, seed=1, coalesce=False)
        close(cut, one.dense())
    assert errors[2000] < 0.05
    assert errors[2000] < errors[20] / 3
    assert not torch.equal(ls.Fisher(objective, samples=20, seed=2).dense(), ls.Fisher(objective, samples=20).dense())


@pytest.mark.parametrize("loss", ["mse_loss", "binary_cross_entropy_with_logits"])
def test_sampled_fisher_matrices_of_elementwise_losses(loss):
    torch.manual_seed(0)
    target = torch.randint(0, 2, (12, 3)).double()
    objective = ls.Objective(nn.Linear(4, 3), (torch.randn(12, 4), target), loss, dtype=torch.float64)
    exact = ls.Fisher(objective).dense()
    sampled = ls.Fisher(objective, samples=4000).dense()
    assert float((sampled - exact).norm() / exact.norm()) < 0.05


def test_fisher_of_log_probabilities_is_that_of_logits():
    objective = problem()
    model = nn.Sequential(objective.model, nn.LogSoftmax(1))
    data = [batch.raw for batch in objective.batches]
    other = ls.Objective(model, data, "nll_loss", dtype=torch.float64)
    close(ls.Fisher(other), ls.Fisher(objective).dense())


def test_losses_without_a_likelihood_or_outputs_have_no_fisher_or_gauss_newton_matrix():
    objective = problem()
    with pytest.raises(NotDefinedError, match="not a negative log-likelihood"):
        ls.Fisher(objective.with_loss(lambda o, t: o.square().mean()))
    own = objective.with_loss(ls.BatchLoss(lambda model, batch: nn.functional.cross_entropy(model(batch[0]), batch[1])))
    for kind in (ls.GaussNewton, ls.Fisher):
        with pytest.raises(NotDefinedError, match="not a function of outputs and targets"):
            kind(own)
    with pytest.raises(LandscapeError, match="samples is 0"):
        ls.Fisher(objective, samples=0)
    close(ls.EmpiricalFisher(own), ls.EmpiricalFisher(objective).dense())
    close(ls.GradientCovariance(own), ls.GradientCovariance(objective).dense())


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_criterion_of_ones_own_has_an_empirical_fisher_matrix(reduction):
    objective = problem()

    def own(output, target):
        return nn.functional.cross_entropy(output, target, reduction=reduction)

    own.reduction = reduction
    scale = 1 if reduction == "mean" else 12
    close(ls.EmpiricalFisher(objective.with_loss(own)), scale * ls.EmpiricalFisher(objective).dense())
    close(ls.GradientCovariance(objective.with_loss(own)), scale * ls.GradientCovariance(objective).dense())


# --- what goes in and comes out -----------------------------------------------------------------------------------------


def test_numpy_in_numpy_out_and_torch_in_torch_out():
    H = ls.Hessian(problem())
    v = torch.randn(H.size, dtype=torch.float64)
    product = H @ v
    assert isinstance(product, torch.Tensor)
    torch.testing.assert_close(H @ torch.stack([v, 2 * v], 1), torch.stack([product, 2 * product], 1))
    back = H @ v.numpy()
    assert isinstance(back, np.ndarray)
    np.testing.assert_array_equal(back, product.numpy())
    assert (H @ v.numpy().astype(np.float32)).dtype == np.float32


def test_scipy_finds_the_top_eigenvalue(pair):
    H, _, h, _ = pair
    top = eigsh(H.to_scipy(), k=1, which="LA", v0=np.ones(H.size))[0][0]
    assert top == pytest.approx(float(torch.linalg.eigvalsh(h)[-1]), rel=1e-10)


@pytest.mark.parametrize(
    ("vector", "message"),
    [
        (torch.zeros(3, dtype=torch.float64), "shape"),
        (torch.zeros(43, 2, 2, dtype=torch.float64), "shape"),
        (torch.zeros(43), "float32, expected torch.float64"),
        (np.zeros(43, dtype=int), "floating point"),
        ([0.0] * 43, "not list"),
        (torch.zeros(43, dtype=torch.float64, device="meta"), "on meta, expected cpu"),
    ],
)
def test_wrong_vectors_are_refused(vector, message):
    with pytest.raises(LandscapeError, match=message):
        ls.Hessian(problem()) @ vector


def test_a_loss_without_curvature_has_the_zero_matrix():
    objective = problem().with_loss(ls.BatchLoss(lambda model, batch: model[0].weight.sum() + model[3].bias.sum()))
    assert not (ls.Hessian(objective) @ objective.theta).any()


@pytest.mark.parametrize("kind", [*KINDS, ls.operators.FiniteDifferenceHessian])
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


# --- is it one symmetric matrix? ----------------------------------------------------------------------------------------


def test_sound_operators_pass_their_check():
    for kind in KINDS:
        kind(problem(dropout=0.5)).check()


def test_dropout_is_named():
    with pytest.raises(NumericalError, match=r"dropout is active \(2\)"):
        ls.Hessian(problem(dropout=0.5, mode="train")).check()


def test_random_numbers_in_the_forward_pass_are_found():
    objective = problem().with_loss(
        ls.BatchLoss(lambda model, b: nn.functional.cross_entropy(model(b[0] * (1 + 0 * torch.rand(1))), b[1]))
    )
    noisy = ls.BatchLoss(lambda model, b: nn.functional.cross_entropy(model(b[0] + torch.randn_like(b[0])), b[1]))
    objective._take_loss(noisy, None)  # past the check that would refuse it
    with pytest.raises(NumericalError, match="draws random numbers"):
        ls.Hessian(objective).check()


class Wrong(torch.autograd.Function):
    """A backward that is the derivative of nothing."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.tanh()

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0].roll(1, 1)


def activated(act, width):
    class Net(nn.Sequential):
        def forward(self, x):
            return self[1](act(self[0](x)))

    torch.manual_seed(0)
    data = torch.randn(40, 4), torch.randint(0, 3, (40,))
    return ls.Objective(Net(nn.Linear(4, width), nn.Linear(width, 3)), data, "cross_entropy", dtype=torch.float64)


def test_a_wrong_second_derivative_shows_as_asymmetry():
    objective = activated(Wrong.apply, 5)
    with pytest.raises(NumericalError, match="not symmetric"):
        ls.Hessian(objective, check=False).check()


class Dropped(torch.autograd.Function):
    """The square of a ReLU, whose backward takes what it saved for a constant."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(2 * x.relu())
        return x.relu() ** 2

    @staticmethod
    def backward(ctx, g):
        return g * ctx.saved_tensors[0]


@pytest.mark.parametrize(
    ("act", "dropped"),
    [(Dropped.apply, True), (lambda x: x.relu() ** 2, False), (torch.relu, False), (torch.tanh, False)],
)
def test_a_dropped_term_shows_beside_the_differences_of_gradients(act, dropped):
    H = ls.Hessian(activated(act, 64))
    if dropped:
        with pytest.raises(NumericalError, match=r"off by [\d.]+\): Dropped drops a term of its second derivative"):
            H.check()
    else:
        H.check()
