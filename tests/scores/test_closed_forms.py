"""Scores of quadratics, of classifiers with one weight per example and of linear networks: what each is in closed form."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

import landscape as ls
from landscape import scores
from landscape.scores import quantities
from landscape.scores.crossings import ball_log_volume, crossings
from landscape.scores.functionals import Case, largest_rise, mean_rise
from landscape.scores.perturbations import Ball, Box, Noise, ones, weights

H = torch.tensor([[4.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 9.0]])
AT = torch.tensor([1.0, -2.0, 0.5])
SMALL = torch.tensor([[4.0, 1.0], [1.0, 2.0]])
HALF = torch.tensor([4.0, 1.0, 0.5])
AWAY = {"H": SMALL, "at": [1.0, -2.0], "minimum": [0.0, 0.0]}
Z90 = norm.ppf(0.9)


def agrees(row, expected, rel=1e-6):
    """A random value within three standard errors, small ones; any other to the last digits."""
    if row.standard_error:
        assert abs(row.value - expected) < 3 * row.standard_error < 0.3 * abs(expected)
    else:
        assert row.value == pytest.approx(expected, rel=rel, abs=1e-15)


def worst(shape, scale, radius, **options):
    return lambda o: largest_rise(Case(o, shape(o, scale)), [radius], **options)[0]


def mean(scale, radius, **options):
    kind = {"noise": options.pop("noise")} if "noise" in options else {}
    return lambda o: mean_rise(Case(o, Noise(o, scale, **kind)), [radius], pairs=4000, **options)[0]


def named(slug, **options):
    return lambda o: scores.REGISTRY[slug].compute(o, **options)[-1]


def rise_of_step(d):
    """How much ½wᵀHw rises from w by a step."""
    w = torch.tensor(AWAY["at"])
    return float(0.5 * (w + d) @ SMALL @ (w + d) - 0.5 * w @ SMALL @ w)


def steepest(length, units):
    w = torch.tensor(AWAY["at"])
    T, gradient = units(w), SMALL @ w
    return rise_of_step(length * T**2 * gradient / (T * gradient).norm())


def largest_of(H, units):
    D = torch.diag(torch.as_tensor(units).abs())
    return float(torch.linalg.eigvalsh(D @ H @ D)[-1])


QUADRATICS = {
    # name: (H, weights and minimum; what is measured; what it is)
    "box at the minimum, whose gradient is zero": (
        {"H": torch.diag(HALF)}, worst(Box, ones, 0.3), 0.5 * 0.3**2 * 5.5,
    ),
    "box of the weights, of which a zero does not move": (
        {"H": torch.diag(torch.tensor([4.0, 1.0, 2.0])), "at": [1.0, -3.0, 0.0]}, worst(Box, weights, 0.1),
        0.5 * 0.1**2 * (4 + 9),
    ),
    "ball": ({"H": torch.diag(HALF)}, worst(Ball, ones, 0.3, iterations=60), 0.5 * 0.3**2 * 4),
    "ellipsoid of the weights": (
        {"H": SMALL, "at": [1.0, -3.0]}, worst(Ball, weights, 0.1, iterations=60),
        0.5 * 0.1**2 * largest_of(SMALL, [1.0, -3.0]),
    ),
    # projecting onto the ellipsoid itself meets 0/0 at a zero weight, and the constraint is silently dropped
    "ellipsoid with a zero weight": (
        {"H": torch.diag(torch.tensor([4.0, 100.0])), "at": [1.0, 0.0], "minimum": [0.5, 0.0]},
        worst(Ball, weights, 0.1), 0.5 * 4 * (0.6**2 - 0.5**2),
    ),
    # ½[L(w + δ) + L(w − δ)] − L(w) = ½ δᵀHδ, whatever the gradient
    "symmetrised box": (
        {"H": torch.diag(torch.tensor([4.0, 1.0, 2.0])), "at": [2.0, -3.0, 0.0], "minimum": [1.0, -3.0, 0.0]},
        named("adaptive-worst-loss", radii=[0.1, 1e-3]), 0.5 * 1e-3**2 * (4 * 4 + 9),
    ),
    "one step": (AWAY, named("sam"), steepest(0.05, torch.ones_like)),
    "one step in units of the weights": (AWAY, named("asam"), steepest(0.5, torch.abs)),
    "no step from a stationary point": ({"H": SMALL}, named("sam"), 0.0),
    "Keskar": (
        {"H": torch.diag(torch.tensor([4.0, 1.0, 2.0])), "at": [1.0, -3.0, 0.0]}, named("keskar", radii=[1e-2]),
        100 * 0.5 * 1e-4 * (4 * 2**2 + 4**2 + 2),
    ),
    "Keskar divides by one plus the loss": (
        {"H": torch.eye(1), "at": [3.0], "minimum": [1.0]}, named("keskar", radii=[1e-2]),
        100 * (0.5 * (2 + 0.04) ** 2 - 2) / 3,
    ),
    # plain L-BFGS-B stops where the gradient is of the order of its tolerance
    "Keskar moves from a converged minimum": (
        {"H": torch.diag(torch.tensor([1e-6, 3e-6])), "at": [1.0, 1.0]}, named("keskar", radii=[1e-3]),
        100 * 0.5 * 4e-6 * 4e-6,
    ),
    "noise in units of the weights": (
        {"H": torch.tensor([[4.0, 1.0, 0.0], [1.0, 2.0, 0.5], [0.0, 0.5, 9.0]]), "at": [1.0, -2.0, 0.0]},
        mean(weights, 0.5, seed=1), 0.5 * 0.5**2 * (4 + 4 * 2),
    ),
    "uniform noise": ({"H": torch.diag(torch.tensor([4.0, 1.0, 0.25]))}, mean(ones, 0.3, noise="uniform"), 0.3**2 / 6 * 5.25),
    "a rise, without the loss": (
        {"H": torch.diag(HALF), "at": [1.0, 1.0, 1.0], "minimum": [0.0, 0.0, 0.0]},
        named("lpf", radii=[0.1], pairs=3000), 0.5 * 0.01 * 5.5,
    ),
    # away from the minimum the linear part of a rise would be a hundred times the quadratic one
    "pairs of opposite signs": (
        {"H": torch.eye(2) * 1e-3, "at": [1.0, 1.0], "minimum": [1000.0, 1000.0]}, mean(ones, 0.01), 0.5 * 1e-4 * 2e-3,
    ),
    # noise has standard deviation γ^-½ in every dimension: ½ log det(I + H/γ)
    "local entropy": (
        {"H": torch.diag(HALF)}, named("local-entropy", radii=[2.0], samples=4000), 0.5 * float(torch.log1p(HALF / 2).sum()),
    ),
    "local entropy of the quadratic model": (
        {"H": torch.diag(HALF)}, named("local-entropy-quadratic", radii=[2.0]), 0.5 * float(torch.log1p(HALF / 2).sum()),
    ),
    "the same by quadrature": (
        {"H": torch.diag(torch.linspace(0.1, 5, 400))}, named("local-entropy-quadratic", radii=[2.0], probes=8),
        0.5 * float(torch.log1p(torch.linspace(0.1, 5, 400) / 2).sum()),
    ),
    "one parameter": ({"H": [[3.0]]}, named("lambda-max"), 3.0),
    "trace in units of the weights": ({"H": H, "at": AT}, named("adaptive-trace"), float((AT**2 * H.diagonal()).sum())),
    "trace with every weight moved": (
        {"H": torch.eye(3), "at": torch.zeros(3)}, named("adaptive-trace", eta=0.1), 0.03,
    ),
    "largest eigenvalue in units of the weights": ({"H": H, "at": AT}, named("adaptive-lambda-max"), largest_of(H, AT)),
    "curvature along the weights": ({"H": H, "at": AT}, named("weight-curvature"), float(AT @ H @ AT)),
    # H = c I: every radius is √(2h/c), and the bound is the volume ω_p (2h)^{p/2} / √det H
    "volume of a ball": (
        {"H": 3 * torch.eye(6)}, named("log-volume"), -(ball_log_volume(6) + 3 * np.log(2 * 0.1 / 3)),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("where", "measure", "expected"), QUADRATICS.values(), ids=QUADRATICS)
def test_quadratics(quadratic, where, measure, expected):
    agrees(measure(quadratic(**where)), expected)


def turned_box(at):
    """|y| ≤ ε(|Aᵀw| + 1) with H = 3 I: the maximum depends on the half-widths alone."""
    generator = torch.Generator().manual_seed(0)
    columns = torch.stack([torch.randn(3, dtype=torch.float64, generator=generator) for _ in range(3)], 1)
    half = 1e-2 * ((torch.linalg.qr(columns).Q.T @ at.double()).abs() + 1)
    return 100 * 1.5 * float(half.square().sum())


def test_a_subspace_of_all_dimensions_is_a_rotation(quadratic):
    at = torch.tensor([1.0, -3.0, 0.5])
    agrees(scores.keskar_subspace(quadratic(3 * torch.eye(3), at=at), radii=[1e-2], seed=0)[0], turned_box(at))


EACH = {
    # name: (weights, right while positive; what is measured; what it is; to which precision)
    "rise of the error": (torch.ones(500), named("adaptive-average-error", radii=[1.0], pairs=20), norm.cdf(-1), None),
    # P(1 + σz < 0) = 0.1 at σ = 1/z₀.₉; noise passed as a variance would give σ = z₀.₉^−½
    "relative noise is a standard deviation": (torch.full((2000,), 3.0), named("inverse-sigma-mag"), Z90**2, None),
    "isotropic noise is a standard deviation": (torch.full((2000,), 3.0), named("inverse-sigma"), (Z90 / 3) ** 2, None),
    "absolute noise adds in quadrature": (
        torch.full((2000,), 0.01), named("inverse-sigma-mag", epsilon=5e-3), 1e-4 / ((0.01 / Z90) ** 2 - 5e-3**2), None,
    ),
    # a box of half-width a turns the decisions of all weights below a; |u| ≤ a(|w| + 1) reaches −w for w ≤ a/(1 − a)
    "box that flips a tenth": (torch.arange(1, 1001) / 1000, named("inverse-alpha"), 0.1**-2, 0.02),
    "box in Keskar's form": (torch.arange(1, 1001) / 1000, named("inverse-alpha-mag"), (0.1 / 1.1) ** -2, 0.02),
}  # fmt: skip


@pytest.mark.parametrize(("at", "measure", "expected", "rel"), EACH.values(), ids=EACH)
def test_one_weight_per_example(each, at, measure, expected, rel):
    agrees(measure(each(at)), expected, rel)


def test_every_radius_sees_the_same_draws(quadratic):
    objective = quadratic(torch.diag(torch.tensor([3.0, 1.0])), at=[1.0, 1.0])
    small, large = mean_rise(Case(objective, Noise(objective, weights)), [0.1, 0.2], pairs=3, seed=0)
    assert large.value == pytest.approx(4 * small.value, rel=1e-12)


def first_radii(objective, directions, height, guess):
    return crossings(Case(objective, None), height, directions, quantities.Meter(), guess=guess)


def test_radius_along_a_direction(quadratic):
    objective, u = quadratic(torch.diag(HALF)), torch.tensor([0.6, 0.8, 0.0]).double()
    (r,) = first_radii(objective, [u], 0.1, guess=1e-3)
    assert r == pytest.approx(np.sqrt(0.2 / float(u @ torch.diag(HALF).double() @ u)), rel=1e-9)


def test_volume_of_an_ellipse(quadratic):
    """E[r^p] over directions in the plane, where it can be estimated, is the volume over that of the unit ball."""
    angles = torch.linspace(0, 2 * torch.pi, 2001, dtype=torch.float64)[:-1]
    units = [torch.stack([angle.cos(), angle.sin()]) for angle in angles]
    crossed = first_radii(quadratic(torch.diag(torch.tensor([4.0, 1.0]))), units, 0.02, guess=2.0**-6)
    volume = np.exp(ball_log_volume(2)) * np.mean(np.square(crossed))
    assert volume == pytest.approx(np.pi * 2 * 0.02 / 2.0, rel=1e-9)  # √det = 2


def test_volume_of_an_ellipsoid_is_bounded_below(quadratic):
    values = torch.tensor([9.0, 1.0, 0.2])
    (volume,) = scores.log_volume(quadratic(torch.diag(values)), directions=400)
    exact = ball_log_volume(3) + 1.5 * np.log(0.2) - 0.5 * float(values.log().sum())
    assert exact - 1.5 < -volume.value < exact + 3 * volume.standard_error


def test_levels_above_two_are_found():
    """A decision that averages a hundred weights stands noise of 7.8 times each; published code stops at 2."""

    class Votes(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.ones(300, 100))

        def forward(self, index):
            score = self.w[index].sum(1, keepdim=True)
            return torch.cat([score, torch.zeros_like(score)], 1)

    data = (torch.arange(300), torch.zeros(300, dtype=torch.long))
    agrees(scores.inverse_sigma_mag(ls.Objective(Votes(), data, "cross_entropy"))[0], (Z90 / 10) ** 2)


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


def test_filter_directions_have_the_length_of_the_filters(regression):
    """The Hessian of a one-output regression is 2XᵀX/n: its mean over directions of length ‖w‖ is ‖w‖² Tr H / d."""
    X = torch.cat([batch.inputs for batch in regression.batches])
    w = regression.space.unflatten(regression.theta)["weight"]
    expected = float(w.square().sum() * 2 * X.square().sum() / len(X) / 3)
    (row,) = scores.filter_curvature(regression, directions=3)  # three orthogonal directions of three dimensions
    assert row.value == pytest.approx(expected, rel=1e-9)


def test_second_difference_of_a_kink():
    """L = |w| has no curvature where the derivative exists, and 2/h at the kink."""
    net = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    data = (torch.ones(1, 1, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.float64))
    objective = ls.Objective(net, data, "l1_loss").at(torch.tensor([1e-3], dtype=torch.float64))
    fine, coarse = scores.curvature_at_scale(objective, radii=[0.5, 2.0], directions=1)
    assert fine.value == pytest.approx(0.0, abs=1e-12)
    assert coarse.value == pytest.approx((2 * 2e-3 - 2e-3) / 4, rel=1e-9)
