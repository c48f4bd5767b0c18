"""The gauge of products of weights: the same whatever basis a head was written in, and closed forms of it."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscape as ls
from landscape import LandscapeError
from landscape.scores.gauges import Gauged, shift_removed
from landscape.transforms import fix_factors, gl_attention
from landscape.transforms.factors import canonical, factors_fixed

DECIDING = ["adaptive-worst-linf", "adaptive-average", "inverse-sigma-mag"]


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def orthogonal(size, seed=0):
    return torch.linalg.qr(drawn(size, size, seed=seed))[0]


def in_basis(left, right, A):
    return torch.linalg.inv(A).T @ left, A @ right


def close(one, other, atol=1e-9):
    return all(torch.allclose(a, b, atol=atol) for a, b in zip(one, other, strict=True))


class LoRA(nn.Module):
    """A frozen layer with an adapter of two factors, the second of which begins at zero."""

    def __init__(self, zero=False):
        super().__init__()
        self.base, self.head = nn.Linear(6, 8).requires_grad_(False), nn.Linear(8, 3)
        self.down, self.up = nn.Linear(6, 2, bias=False), nn.Linear(2, 8, bias=False)
        if zero:
            nn.init.zeros_(self.up.weight)

    def forward(self, x):
        return self.head(F.relu(self.base(x) + 0.5 * self.up(0.5 * self.down(x))))


class Rotary(nn.Module):
    """Queries and keys are rotated by their position, values are not."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(8, 8) for _ in range(4))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        angle = torch.arange(x.shape[1], dtype=x.dtype)[:, None]
        turned = [
            torch.cat([y[..., :4] * angle.cos() - y[..., 4:] * angle.sin(), y[..., :4] * angle.sin()], -1)
            for y in (self.q(x), self.k(x))
        ]
        return self.head(self.o(F.scaled_dot_product_attention(*turned, self.v(x))).relu().mean(1))


def trained(model, X, y, steps=30):
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], 1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(X), y).backward()
        optimizer.step()
    return model.eval()


def objective_of(model, *shape, dtype=torch.float64):
    X, y = drawn(*shape, seed=5).to(dtype), torch.arange(shape[0]) % 3
    return ls.Objective(trained(model.to(dtype), X, y), (X, y), "cross_entropy")


@pytest.mark.parametrize(("h", "n", "m"), [(4, 9, 7), (3, 2, 8), (1, 5, 5), (5, 5, 5)])
def test_the_gauge_forgets_the_basis_and_keeps_the_product(h, n, m):
    left, right = drawn(h, n), drawn(h, m, seed=1)
    fixed = canonical(left, right)
    assert torch.allclose(fixed[0].T @ fixed[1], left.T @ right)
    assert close(fixed, canonical(*fixed))
    for seed in range(3):
        assert close(fixed, canonical(*in_basis(left, right, drawn(h, h, seed=seed + 2))), atol=1e-7)


def test_the_gauge_of_equal_rows_and_columns_is_the_singular_value_decomposition_split_evenly():
    u, v = (torch.tensor([[1.0, 1, 1, 1], [1, -1, 1, -1]]).double() / 2 for _ in range(2))
    left, right = canonical(*in_basis(3 * u, torch.tensor([2.0, 1])[:, None] * v, drawn(2, 2)))
    root = torch.tensor([6.0, 3.0]).double().sqrt()[:, None]  # singular values 6 and 3
    assert close((left, right), (root * u, root * v))


def test_a_rescaling_of_the_neurons_around_a_product_rescales_its_factors_only():
    left, right, a, b = drawn(3, 6), drawn(3, 5, seed=1), drawn(6, seed=2).exp(), drawn(5, seed=3).exp()
    one, other = canonical(left, right), canonical(left * a, right * b)
    for before, after, scale in zip(one, other, (a, b), strict=True):
        ratio = after / (before * scale)  # one number per row: T2 of the rows themselves
        assert torch.allclose(ratio, ratio[:, :1])


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_missing_rank_leaves_zero_rows_and_dead_columns_stay_dead(rank):
    left, right = torch.zeros(2, 3, 5).double()
    left[:rank], right[:rank] = drawn(rank, 5), drawn(rank, 5, seed=1)
    left[:, 2] = 0
    fixed = canonical(*in_basis(left, right, drawn(3, 3, seed=2)))
    assert torch.allclose(fixed[0].T @ fixed[1], left.T @ right)
    assert [int((side.norm(dim=1) > 0).sum()) for side in fixed] == [rank, rank]
    assert not fixed[0][:, 2].any()  # what is dead stays dead


@pytest.mark.parametrize("spread", [0.0, 1e-12, 1e-5])
def test_equal_singular_values_leave_no_choice(spread):
    """Any basis of their space decomposes the product; rotations and rounding must not choose among them."""
    values = torch.diag(1 + spread * torch.arange(4)).double()
    left, right = values @ orthogonal(4), torch.eye(4).double()
    fixed = canonical(left, right)
    for seed in range(5):
        turned = canonical(*in_basis(left, right, orthogonal(4, seed=seed + 1)))
        noisy = canonical(left * (1 + 1e-15 * drawn(4, 4, seed=seed)), right)
        assert close(fixed, turned, atol=1e-8)
        assert close(fixed, noisy, atol=1e-8)


@pytest.mark.parametrize("name", ["transformer", "char", "char-tied", "grouped-queries", "encoder"])
def test_networks_that_differ_by_a_basis_become_the_same(build, name):
    model, inputs = build(name)
    before = copy.deepcopy(model.state_dict())
    fixed = fix_factors(model, inputs)
    moved = fix_factors(gl_attention(model, inputs, alpha=3.0, seed=1).model, inputs)
    assert fixed.change < 1e-12
    assert close(fixed.model.parameters(), moved.model.parameters())
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


@pytest.mark.parametrize(("name", "why"), [("mlp", "no products"), ("mlp-linear", "linear1, linear2: three or more")])
def test_networks_without_a_product_of_its_own_are_refused(build, name, why):
    with pytest.raises(LandscapeError, match=why):
        fix_factors(*build(name))


@pytest.mark.parametrize("name", ["transformer", "grouped-queries", "encoder"])
def test_deciding_scores_survive_every_transformation_of_attention(build, name):
    model, inputs = build(name)
    objective = objective_of(model, 12, *inputs.shape[1:])
    report = ls.audit(objective, DECIDING, radii=[0.05])
    assert {row.verdict for row in report.rows} <= {"invariant", "not applicable"}
    assert all({"T2", "T5", "T6", "T7"} <= set(report.survived(slug)) for slug in DECIDING)
    assert all(row.declared for row in report.rows if row.transformation == "T6")


def test_without_the_gauge_the_basis_moves_them(build):
    objective = objective_of(build("transformer")[0], 12, 1, 8, 8)
    options = {slug: {"gauge": False} for slug in DECIDING[:2]}
    moved = ls.audit(objective, DECIDING[:2], radii=[0.05], options=options, transformations=["T6"])
    assert all(abs(row.ratio - 1) > 0.1 for row in moved.rows)


@pytest.mark.parametrize("zero", [False, True])
def test_adapters_survive_a_change_of_basis(zero):
    objective = objective_of(LoRA(zero), 12, 6)
    moved = gl_attention(objective.model, objective.batches[0].inputs, seed=3)
    assert moved.where == ("down", "up")
    there = objective.at(moved.model.state_dict())
    for slug, radius in (("adaptive-average", 0.2), ("adaptive-worst-linf", 0.02)):
        before, after = (ls.sharpness(o, [slug], radii=[radius])[slug].value for o in (objective, there))
        assert after == pytest.approx(before, rel=1e-9)


def test_factors_of_which_one_is_frozen_change_together():
    model = LoRA()
    model.down.requires_grad_(False)
    objective = objective_of(model, 12, 6)
    fixed, left = factors_fixed(objective)
    assert left == ()
    assert not torch.equal(fixed.fixed["down.weight"], objective.fixed["down.weight"])
    assert torch.allclose(fixed.outputs(), objective.outputs())


def test_single_precision_is_enough(build):
    objective = objective_of(build("transformer")[0], 12, 1, 8, 8, dtype=torch.float32)
    there = objective.at(gl_attention(objective.model, objective.batches[0].inputs, seed=1).model.state_dict())
    before, after = (
        ls.sharpness(o, ["adaptive-average"], radii=[0.2])["adaptive-average"].value for o in (objective, there)
    )
    assert after == pytest.approx(before, rel=1e-2)


def test_what_is_left_in_is_said_beside_the_score():
    network = Gauged(objective_of(Rotary(), 12, 4, 8))
    assert "rotated or normalised" in network.left(shift_removed)
    (row,) = ls.scores.catalogue.adaptive_average(network, radii=[0.1])
    assert "rotated or normalised" in row.note
    assert not torch.equal(network.at(shift_removed).theta, network.objective.theta)  # values and output have a gauge


def test_networks_without_products_are_not_traced(build, monkeypatch):
    monkeypatch.setattr("landscape.graphs.units.factors.search_products", lambda *_: pytest.fail("traced"))
    objective = objective_of(build("mlp")[0], 12, 6)
    assert factors_fixed(objective) == (objective, ())
