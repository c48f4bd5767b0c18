import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import chi2

import landscape as ls
from landscape.errors import LandscapeError, NotDefinedError
from landscape.scores.local_volume import local_volume, log_radial_integral, preconditioner
from landscape.scores.radius import ball_log_volume


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


def test_preconditioner_has_determinant_one(classifier):
    P = preconditioner(classifier(), "curvature", epsilon=0.01, probes=500, seed=0)
    assert float(P.log().sum()) == pytest.approx(0.0, abs=1e-9)
    assert float(P.max() / P.min()) > 5


def test_preconditioning_finds_more_volume(classifier):
    objective = classifier(sizes=(6, 24, 16, 3), activation="gelu")
    plain, better = (
        local_volume(objective, precondition=p, directions=20, probes=1000)[0].value for p in ("none", "curvature")
    )
    assert better < plain - 10


def test_wrong_requests(classifier, regression):
    with pytest.raises(LandscapeError, match="expected 'none' or 'curvature'"):
        local_volume(classifier(fit=1), precondition="adam")
    with pytest.raises(NotDefinedError, match="needs logits"):
        local_volume(regression)


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
