import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.errors import LandscapeError
from landscape.scores.more.learning_coefficient import llc
from landscape.scores.more.spectral_summaries import soft_rank_of

N, GAMMA, STEP = 1000, 1.0, 1e-3
NBETA = N / np.log(N)
VALUES = torch.tensor([5.0, 1.0, 0.1, 0.01, 0.0]).double()


def step_bias_formula(values, step):
    a = NBETA * values + GAMMA
    return float(0.5 * (NBETA * values / (a * (1 - step * a / 4))).sum())


def test_the_formula_of_the_step_bias():
    assert step_bias_formula(VALUES, STEP) == pytest.approx(1.891, abs=1e-3)
    assert step_bias_formula(VALUES, 0.0) == pytest.approx(1.759, abs=1e-3)
    assert 0.5 * soft_rank_of(VALUES.numpy(), GAMMA / NBETA) == pytest.approx(1.759, abs=1e-3)


def copies(count):
    """Independent copies of the quadratic as one network, so that one chain is many."""
    values = VALUES.repeat(count)

    class Points(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(len(values), dtype=torch.float64))

    loss = ls.BatchLoss(lambda model, batch: 0.5 * (values * model.w.square()).sum())
    return ls.Objective(Points(), [(torch.zeros(1, 1),)], loss)


def test_quadratic_with_the_bias_of_the_step():
    (row,) = llc(copies(500), chains=3, burn_in=3000, draws=300, step=STEP, nbeta=NBETA, gamma=GAMMA)
    assert row.value / 500 == pytest.approx(1.891, abs=3 * row.standard_error / 500 + 2e-3)
    assert row.standard_error / 500 < 0.05


def test_a_point_that_is_no_minimum_is_invalid(quadratic):
    (row,) = llc(
        quadratic(torch.eye(3), at=[5.0, 5.0, 5.0], minimum=[0.0, 0.0, 0.0]), nbeta=100.0, gamma=1.0, burn_in=200
    )
    assert row.value < 0
    assert row.status == "invalid"
    assert "lower loss" in row.note


def test_a_step_too_large_is_invalid(quadratic):
    (row,) = llc(quadratic(torch.eye(3)), nbeta=100.0, gamma=1.0, step=0.1, chains=1, draws=400)
    assert row.status == "invalid"


def test_n_beta_is_that_of_the_data_not_of_the_batch(classifier):
    notes = {llc(classifier(n=60, batch_size=b), chains=1, draws=2, burn_in=0)[0].note for b in (10, 60)}
    assert all(f"nβ {60 / np.log(60):.4g}" in note for note in notes)


def test_network_stays_in_evaluation_mode():
    """Dropout active during sampling would raise the loss of every draw."""
    X, y = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)).double(), torch.arange(40) % 3
    plain = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3)).double()
    dropped = nn.Sequential(plain[0], plain[1], nn.Dropout(0.5), plain[2]).train()
    values = [
        llc(ls.Objective(m, (X, y), "cross_entropy"), chains=1, draws=5, burn_in=5)[0].value for m in (plain, dropped)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_minibatches_agree_with_all_data(classifier):
    objective = classifier(n=200, fit=300)
    full = llc(objective, chains=3, draws=80, burn_in=60)[0]
    part = llc(objective, chains=3, draws=80, burn_in=60, subset=50)[0]
    assert part.gradients < 0.5 * full.gradients
    assert abs(full.value - part.value) < 6 * np.hypot(full.standard_error, part.standard_error) + 0.3 * full.value


@pytest.mark.parametrize("wrong", [{"chains": 0}, {"draws": 0}, {"burn_in": -1}])
def test_wrong_counts(quadratic, wrong):
    with pytest.raises(LandscapeError, match="expected at least"):
        llc(quadratic(torch.eye(2)), nbeta=10.0, **wrong)


def test_too_few_examples(quadratic):
    with pytest.raises(LandscapeError, match="pass nbeta="):
        llc(quadratic(torch.eye(2)))


def crossing(powers, copies):
    """Independent copies of a model with one output w₁^k₁ w₂^k₂, whose half squared error is the loss."""

    class Weights(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.zeros(2, copies, dtype=torch.float64))

    def loss(model, batch):
        a, b = model.w
        return 0.5 * (a ** powers[0] * b ** powers[1]).square().sum()

    return ls.Objective(Weights(), [(torch.zeros(1, 1),)], ls.BatchLoss(loss))


def exact_crossing(powers, nbeta, gamma):
    """nβ E[L] under exp(−nβ L − ½γ‖w‖²), by quadrature in the logarithms of the weights."""
    t = np.linspace(-40.0, np.log(8 / gamma**0.5), 3001)
    logs = np.array(powers)
    value = nbeta * 0.5 * np.exp(2 * (logs[0] * t[:, None] + logs[1] * t[None, :]))
    weight = np.exp(t[:, None] + t[None, :] - value - 0.5 * gamma * (np.exp(2 * t)[:, None] + np.exp(2 * t)[None, :]))
    return float((value * weight).sum() / weight.sum())


@pytest.mark.parametrize(("powers", "expected"), [((0, 1), 1 / 2), ((0, 2), 1 / 4), ((1, 2), 1 / 4), ((1, 3), 1 / 6)])
def test_the_coefficient_of_a_normal_crossing_is_its_limit(powers, expected):
    """Watanabe 2009: λ = 1 / (2 max k), reached as nβ grows."""
    assert exact_crossing(powers, 1e14, 10.0) == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    "powers",
    [
        (1, 2),
        *(pytest.param(powers, marks=pytest.mark.slow) for powers in [(0, 1), (1, 1), (0, 2), (2, 2), (1, 3)]),
    ],
)
def test_chains_on_a_normal_crossing_follow_the_quadrature(powers):
    nbeta, gamma, count = 1000.0, 10.0, 2000
    step = 5e-5 if powers == (0, 1) else 5e-4  # on the regular one the step's own bias is ε(nβ + γ)/4, 13 % at 5e-4
    (row,) = llc(crossing(powers, count), chains=3, burn_in=1500, draws=1000, step=step, nbeta=nbeta, gamma=gamma)
    expected = exact_crossing(powers, nbeta, gamma)
    assert row.value / count == pytest.approx(expected, abs=3 * row.standard_error / count + 0.03 * expected)
    assert row.standard_error / count < 0.03 * expected


class Factors(nn.Module):
    def __init__(self, m, h, n):
        super().__init__()
        self.a = nn.Parameter(torch.zeros(h, m, dtype=torch.float64))
        self.b = nn.Parameter(torch.zeros(n, h, dtype=torch.float64))

    def forward(self, x):
        return x @ self.a.T @ self.b.T


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "expected"),
    [((5, 3, 5), 6.5), ((5, 4, 5), 8.0), ((4, 3, 8), 6.0), ((8, 3, 4), 6.0), ((3, 8, 4), 6.0)],
)
def test_reduced_rank_regression_of_rank_zero(shape, expected):
    """Aoyagi and Watanabe 2005: the learning coefficient of B A x, inputs m → h → n, with true rank 0."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(N, shape[0], generator=generator).double()
    y = torch.randn(N, shape[2], generator=generator).double()
    # half the summed squared error is the negative log-likelihood of unit noise
    objective = ls.Objective(Factors(*shape), (X, y), lambda out, t: 0.5 * (out - t).square().sum(1).mean())
    (row,) = llc(objective, chains=4, burn_in=2000, draws=2000, step=6e-4, gamma=1.0)
    assert abs(row.value - expected) < 0.2 * expected
