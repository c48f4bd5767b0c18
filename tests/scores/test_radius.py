import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import NotDefinedError
from landscape.scores.evaluation import Meter
from landscape.scores.radius import ball_log_volume, basin, crossing_radii, kl_radius, log_radius, loss_heights

H = torch.diag(torch.tensor([4.0, 1.0, 0.5]).double())


def test_radius_along_a_direction_of_a_quadratic(quadratic):
    u = torch.tensor([0.6, 0.8, 0.0]).double()
    (r,) = crossing_radii([u], loss_heights(quadratic(H), Meter()), 0.1, guess=1e-3)
    assert r == pytest.approx(np.sqrt(0.2 / float(u @ H @ u)), rel=1e-9)


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
    objective = quadratic(torch.diag(torch.tensor([1.0, 0.0])))
    radii = crossing_radii(list(torch.eye(2).double()), loss_heights(objective, Meter()), 0.1, guess=1e-3)
    assert np.isinf(radii).tolist() == [False, True]
    log, _, note = log_radius(np.array([1.0, 2.0, 4.0, np.inf]), "x")
    assert log == pytest.approx(np.log(np.sqrt(8)))  # the median of four, the censored one counted as large
    assert "1 of 4" in note


def test_mostly_censored_is_not_defined():
    with pytest.raises(NotDefinedError, match="2 of 3"):
        log_radius(np.array([1.0, np.inf, np.inf]), "kl-radius")


def test_volume_of_a_ball_is_exact(quadratic):
    """H = c I: every radius is √(2h/c), and the bound is the volume ω_p (2h)^{p/2} / √det H."""
    c, p = 3.0, 6
    volume = _volume(quadratic(c * torch.eye(p)))
    expected = ball_log_volume(p) + p / 2 * np.log(2 * 0.1 / c)
    assert volume.value == pytest.approx(-expected, abs=1e-8)


def test_volume_of_an_ellipsoid_is_bounded_below(quadratic):
    values = torch.tensor([9.0, 1.0, 0.2])
    volume = _volume(quadratic(torch.diag(values)), directions=400)
    exact = ball_log_volume(3) + 1.5 * np.log(0.2) - 0.5 * float(values.log().sum())
    assert -volume.value < exact + 3 * volume.standard_error
    assert -volume.value > exact - 1.5


def _volume(objective, directions=20):
    from landscape.scores.evaluation import draws
    from landscape.scores.radius import _volume as measure

    units = [z / z.norm() for z in draws(objective.size, directions, 0)]
    return measure(objective, units, 0.1, guess=1e-2)


def test_an_unbounded_basin_has_no_volume(quadratic):
    """One coordinate leaves the loss alone: with it as the only direction no height is reached."""
    from landscape.scores.radius import _volume as measure

    row = measure(quadratic(torch.zeros(2, 2)), [torch.tensor([1.0, 0.0]).double()], 0.1, guess=1e-2)
    assert row.status == "not defined"
    assert "not bounded" in row.note


def test_panel_of_a_network(classifier):
    rows = {row.name: row for row in basin(classifier(), directions=8)}
    assert rows["basin-radius"].value > 0
    assert np.isfinite(rows["log-volume"].value)
    assert "bound" in rows["log-volume"].note


def test_kl_radius_of_a_linear_softmax_is_quadratic_at_small_levels(classifier):
    objective = classifier(activation="gelu")
    rows = kl_radius(objective, radii=(1e-4, 1e-6), directions=5)
    assert rows[1].value / rows[0].value == pytest.approx(100, rel=0.1)


def test_kl_radius_needs_no_labels(classifier):
    objective = classifier()
    X = objective.batches[0].inputs
    relabelled = ls.Objective(objective.model, (X, torch.zeros(len(X), dtype=torch.long)), "cross_entropy")
    values = [kl_radius(o, directions=4)[0].value for o in (objective, relabelled)]
    assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_kl_radius_does_not_depend_on_the_batches(classifier):
    values = [kl_radius(classifier(batch_size=b), directions=4)[0].value for b in (7, 60)]
    assert values[0] == pytest.approx(values[1], rel=1e-9)
