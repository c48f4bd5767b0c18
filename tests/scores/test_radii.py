"""Radii at which something has changed, and volumes from them."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import chi2

import landscape as ls
from landscape.errors import LandscapeError, NotDefinedError
from landscape.scores import basin, kl_radius, log_volume, quantities
from landscape.scores.crossings import ball_log_volume, crossing_radii, crossings, log_radius
from landscape.scores.functionals import Case
from landscape.scores.more.local_volume import local_volume, log_radial_integral, preconditioner


@pytest.mark.parametrize(
    ("height", "root"),
    [
        (lambda r: np.expm1(30 * r), np.log1p(0.1) / 30),
        (lambda r: 1 - np.exp(-50 * r**2), np.sqrt(-np.log(0.9) / 50)),
        (lambda r: np.maximum(0, 5 * (r - 0.3)), 0.32),
        (lambda r: np.where(r < 0.3, 0.3 * r, np.nan), np.inf),
    ],
    ids=["steep", "saturating", "flat at first", "not a number beyond"],
)
def test_radius_of_surfaces_of_other_shapes(height, root):
    def heights(displacements):
        return height(np.array([float(d[0]) for d in displacements]))

    (r,) = crossing_radii([torch.ones(1).double()], heights, 0.1, guess=1e-3)
    assert r == pytest.approx(root, rel=1e-9)


def test_a_direction_that_never_crosses_is_censored_not_dropped(quadratic):
    case = Case(quadratic(torch.diag(torch.tensor([1.0, 0.0]))), None)
    radii = crossings(case, 0.1, list(torch.eye(2).double()), quantities.Meter(), guess=1e-3)
    assert np.isinf(radii).tolist() == [False, True]
    log, _, note = log_radius(np.array([1.0, 2.0, 4.0, np.inf]))
    assert log == pytest.approx(np.log(np.sqrt(8)))  # the median of four, the censored one counted as large
    assert "1 of 4" in note
    with pytest.raises(NotDefinedError, match="2 of 3"):
        log_radius(np.array([1.0, np.inf, np.inf]))
    (row,) = log_volume(quadratic(torch.zeros(2, 2)))
    assert row.status == "not defined"
    assert "not bounded" in row.note


def test_basin_of_a_network(classifier):
    rows = {row.name: row for row in basin(classifier(), directions=8)}
    assert rows["basin-radius"].value > 0
    assert np.isfinite(rows["log-volume"].value)
    assert "bound" in rows["log-volume"].note


def test_kl_radius_is_quadratic_at_small_levels_and_needs_no_labels(classifier):
    objective = classifier(activation="gelu")
    relabelled = objective.on((objective.batches[0].inputs, 0 * objective.targets))
    rows, other = (kl_radius(o, radii=(1e-4, 1e-6), directions=5) for o in (objective, relabelled))
    assert rows[1].value / rows[0].value == pytest.approx(100, rel=0.1)
    assert [row.value for row in other] == pytest.approx([row.value for row in rows], rel=1e-12)


@pytest.mark.parametrize(("r", "b"), [(0.3, 0.0), (0.3, -1.0), (5.0, 0.7), (50.0, -2.0)])
def test_radial_integral_against_quadrature(r, b):
    D, s = 6, 0.8
    exact, _ = quad(lambda x: x ** (D - 1) * np.exp(-(x**2) / (2 * s**2) - x * b / s**2), 0, r, limit=200)
    assert log_radial_integral(r, b, D, s) == pytest.approx(np.log(exact), abs=1e-6)


def test_a_ball_about_the_origin_has_the_mass_of_chi_squared():
    """At w = 0 a ball of radius r has the prior mass P(χ²_D < r²/s²), whatever the direction."""
    D, s, r = 1000, 0.5, 12.0
    log_mass = ball_log_volume(D) + np.log(D) - D / 2 * np.log(2 * np.pi * s**2) + log_radial_integral(r, 0.0, D, s)
    assert log_mass == pytest.approx(chi2(D).logcdf(r**2 / s**2), rel=1e-8)


def test_preconditioning_finds_more_volume(classifier):
    P = preconditioner(classifier(), "curvature", epsilon=0.01, probes=500, seed=0)
    assert float(P.log().sum()) == pytest.approx(0.0, abs=1e-9)  # of determinant one
    assert float(P.max() / P.min()) > 5
    objective = classifier(sizes=(6, 24, 16, 3), activation="gelu")
    plain, better = (
        local_volume(objective, precondition=p, directions=20, probes=1000)[0].value for p in ("none", "curvature")
    )
    assert better < plain - 10
    with pytest.raises(LandscapeError, match="expected 'none' or 'curvature'"):
        local_volume(objective, precondition="adam")


def test_a_volume_dominated_by_one_direction_has_a_large_error(classifier):
    (row,) = local_volume(classifier(), radii=(1e-2,), directions=20)
    assert "lower bound" in row.note
    assert 0.3 < row.standard_error <= 1.0  # of a mean that one of twenty samples makes: nearly its whole size


@pytest.mark.slow
def test_digits_network_of_the_literature():
    """64-64-10 GELU, 4,810 parameters, 1,024 images, L2 5e-4: about −9.8 thousand nats, −6.6 thousand preconditioned."""
    split = ls.datasets.digits(seed=0, train=1024, standardize=False)
    X, y = split.train
    model = ls.models.mlp((64, 64, 10), activation="gelu", seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        penalty = sum(p.square().sum() for p in model.parameters())
        (torch.nn.functional.cross_entropy(model(X), y) + 0.5 * 5e-4 * penalty).backward()
        optimizer.step()
    model.zero_grad()
    objective = ls.Objective(model, (X, y), "cross_entropy")
    assert objective.size == 4810
    prior = (5e-4 * 1024) ** -0.5
    plain = local_volume(objective, precondition="none", prior=prior, directions=30)[0].value
    better = local_volume(objective, prior=prior, directions=30, probes=300)[0].value
    assert plain == pytest.approx(9790, rel=0.05)
    assert better == pytest.approx(6580, rel=0.15)
    assert plain - better > 3000
