import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.errors import NotDefinedError
from landscape.scores.functionals import Case, largest_rise
from landscape.scores.more.geodesic import FactorPair, Geodesics, attention_pairs, geodesic_worst
from landscape.scores.perturbations import weights


@pytest.fixture(scope="module")
def attention():
    X = torch.randn(12, 1, 8, 8, generator=torch.Generator().manual_seed(0)).double()
    model = ls.models.transformer(layers=1).double()
    return ls.Objective(model, (X, torch.arange(12) % 10), "cross_entropy")


def pair(h=3, m=7, n=5):
    generator = torch.Generator().manual_seed(0)
    theta = torch.randn(h * (m + n), generator=generator).double()
    where = torch.arange(h * m).reshape(h, m), h * m + torch.arange(h * n).reshape(h, n)
    return theta, FactorPair.at(theta, *where)


def product_at(theta, where):
    return theta[where[0]].T @ theta[where[1]]


def test_horizontal_directions_are_orthogonal_to_changes_of_basis():
    _, factors = pair()
    generator = torch.Generator().manual_seed(1)
    x = factors.horizontal(torch.randn(36, generator=generator).double())
    (G, H), (a, b) = factors.factors, factors.roots
    for _ in range(5):
        basis = torch.randn(3, 3, generator=generator).double()
        vertical = [G @ basis @ torch.linalg.inv(a), -H @ basis.T @ torch.linalg.inv(b)]
        inner = sum(float((x[where].T * part).sum()) for where, part in zip(factors.where, vertical, strict=True))
        assert inner == pytest.approx(0.0, abs=1e-10)
    assert torch.allclose(factors.horizontal(x), x, atol=1e-12)


def test_second_order_term_solves_the_geodesic_equation():
    """Half the length twice over, from the middle: the ends agree to third order in the length."""
    theta, factors = pair(h=1, m=1, n=1)
    x = torch.tensor([0.02, 0.01]).double()
    ends = torch.cat([end for _, end in factors.walk(x)])
    # one by one factors are the diagonal net: the geodesic is w exp(x), with the sign of w
    assert torch.allclose(ends, theta * torch.exp(x * theta.sign()), atol=1e-5)
    first_order = theta + theta.abs() * x
    assert (ends - theta * torch.exp(x * theta.sign())).abs().max() < 0.05 * (first_order - ends).abs().max()


def test_change_of_basis_does_not_move_the_score(attention):
    """Nor the adaptive worst case, unless its gauge is left out."""
    moved = ls.transforms.gl_attention(attention.model, attention.batches[0].inputs, seed=1)
    both = attention, attention.at(moved.model.state_dict())
    before, after = ([row.value for row in geodesic_worst(o, radii=[0.5, 2.0], iterations=10)] for o in both)
    assert after == pytest.approx(before, rel=1e-6)
    assert before[1] > before[0] > 0
    for gauge in (True, False):
        worst = [ls.scores.adaptive_worst_l2(o, radii=[1.0], iterations=10, gauge=gauge)[0].value for o in both]
        assert (abs(worst[1] / worst[0] - 1) > 0.01) != gauge
    assert len(attention_pairs(attention)) % 2 == 0  # every head gives two


class Diagonal(nn.Module):
    def __init__(self, d):
        super().__init__()
        self.u = nn.Parameter(torch.linspace(0.5, 2, d).double())
        self.v = nn.Parameter(torch.linspace(1, -1, d).double() + 0.05)

    def forward(self, x):
        return x @ (self.u * self.v).unsqueeze(1)


class Exact(Geodesics):
    """For a network of u ∘ v, with the metric du²/u² + dv²/v², geodesics are exact: u e^b, v e^b with 2‖b‖² ≤ ρ²."""

    def horizontal(self, x):
        where, out = self.objective.space.slices, torch.zeros_like(x)
        out[where["u"]] = out[where["v"]] = (x[where["u"]] + x[where["v"]]) / 2
        return out

    def walk(self, x):
        return self.theta * torch.exp(self.horizontal(x))


def worst_of_diagonal(objective, radius):
    return largest_rise(Case(objective, Exact(objective, weights)), [radius])[0].value


def test_diagonal_networks():
    """No rescaling moves them, and L = uv has the worst case uv (e^{2b} − 1) with 2b² = ρ², i.e. b = ρ/√2."""
    X = torch.randn(20, 6, generator=torch.Generator().manual_seed(0)).double()
    net = Diagonal(6)
    objective = ls.Objective(net, (X, X.sum(1, keepdim=True)), "mse_loss")
    a = torch.exp(torch.linspace(-1, 1, 6)).double()
    there = objective.at({"u": net.u.detach() * a, "v": net.v.detach() / a})
    assert 0 < worst_of_diagonal(objective, 0.3) == pytest.approx(worst_of_diagonal(there, 0.3), rel=1e-9)
    net = Diagonal(1)
    data = (torch.ones(1, 1).double(), torch.zeros(1, 1).double())
    objective = ls.Objective(net, data, lambda output, target: output.sum(), count=lambda output, target: 1.0)
    expected = float(net.u.detach() * net.v.detach()) * (np.exp(2 * 0.3 / np.sqrt(2)) - 1)
    assert worst_of_diagonal(objective, 0.3) == pytest.approx(expected, rel=1e-6)


def test_not_defined(classifier):
    with pytest.raises(NotDefinedError, match="no attention"):
        geodesic_worst(classifier(fit=1))
