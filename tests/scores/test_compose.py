"""Scores that a user composes of parts, or makes of a function."""

import json

import pytest
import torch

import landscape as ls
from landscape.errors import LandscapeError
from landscape.scores import compose, gauges, levels, perturbations, quantities
from landscape.scores.functionals import largest_mean_rise, largest_rise, mean_rise, second_difference
from landscape.scores.panel import Panel
from landscape.scores.perturbations import ball, box, filters, noise, ones, weights
from landscape.scores.register import REGISTRY, Measurement, options_of, primary, score, select

H = torch.diag(torch.tensor([4.0, 1.0, 0.25]))
AT = torch.tensor([1.0, -2.0, 0.5])


def uniform(slug="shaken", **fields):
    return compose(slug, "mean rise", quantities.loss, noise(weights, "uniform"), mean_rise, radii=(0.1, 0.3), **fields)


def test_a_composed_score_has_its_closed_form(quadratic):
    """Uniform noise ρ|w|z has variance ρ²w²/3: the mean rise is ρ²/6 Σ w²H."""
    for row in uniform()(quadratic(H, at=AT), pairs=4000):
        expected = row.radius**2 / 6 * float((AT.square() * H.diagonal()).sum())
        assert abs(row.value - expected) < 3 * row.standard_error < 0.1 * expected


FOLLOWS = [
    # gauge, quantity, perturbation, functional; needs, unit, cost, invariances
    (gauges.none, quantities.loss, noise(ones), mean_rise, (), "loss", 17 / 3, "T4 T5"),
    (
        gauges.normalised,
        quantities.loss,
        box(weights),
        largest_rise,
        ("three classes",),
        "loss",
        21,
        "T1 T2 T4 T5 T6 T7",
    ),
    (gauges.normalised, quantities.loss, noise(ones), mean_rise, ("classes",), "loss", 17 / 3, "T4 T5 T6"),
    (
        gauges.normalised,
        quantities.divergence,
        noise(weights),
        mean_rise,
        ("classes",),
        "nat",
        17 / 3,
        "T1 T2 T3 T4 T5 T6",
    ),
    (gauges.none, quantities.error, noise(weights), mean_rise, ("errors",), "1", 17 / 3, "T1 T2 T3 T4 T7"),
    (gauges.none, quantities.error, noise(ones), levels.tolerated_noise, ("errors",), "1", 1.0, "T4"),
    (gauges.none, quantities.divergence, filters, second_difference, ("classes",), "nat", 3, "T1"),
]


@pytest.mark.parametrize(("gauge", "quantity", "moved", "functional", "needs", "unit", "cost", "invariant"), FOLLOWS)
def test_what_follows_from_the_parts(gauge, quantity, moved, functional, needs, unit, cost, invariant):
    compose("made-up", "t", quantity, moved, functional, gauge=gauge, radii=(0.1,))
    made = REGISTRY["made-up"]
    assert (made.needs, made.unit, made.invariant) == (needs, unit, invariant)
    assert made.cost == pytest.approx(cost, abs=0.5)
    assert made.reference == 0.1
    assert made.stochastic == ("seed" in options_of(made))
    assert made.sums == (functional is not largest_rise)


def test_derived_invariances_are_those_that_an_audit_measures(classifier):
    uniform("with-gauge", gauge=gauges.normalised)
    uniform("without")
    report = ls.audit(classifier(), ["with-gauge", "without"])
    assert all(row.agrees for row in report.rows)
    kept = {(row.score, row.transformation) for row in report.rows if row.verdict == "invariant"}
    assert {name for score, name in kept if score == "with-gauge"} == {"T1", "T2", "T4", "T5", "T7"}
    assert {name for score, name in kept if score == "without"} == {"T1", "T2", "T4"}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            (quantities.error, box(ones), largest_rise),
            "follows derivatives of the loss, but the quantity is the 0–1 error",
        ),
        (
            (quantities.loss, noise(ones, "uniform"), largest_rise),
            "is over a set, but the perturbation is Noise; choose a box or a ball",
        ),
        ((quantities.loss, perturbations.sphere, mean_rise), "is over noise, but the perturbation is Sphere"),
    ],
)
def test_parts_that_do_not_fit(parts, message):
    with pytest.raises(LandscapeError, match=message):
        compose("odd", "t", *parts)


def test_options_come_from_the_parts_and_are_described():
    made = uniform(gauge=gauges.shift_removed)
    assert list(options_of(REGISTRY["shaken"])) == ["radii", "noise", "pairs", "seed", "gauge"]
    assert all(f"\n    {name}: " in made.__doc__ for name in ("objective", "radii", "pairs", "seed", "gauge"))
    with pytest.raises(TypeError, match="unexpected keyword argument 'probes'"):
        made(None, probes=3)


def test_a_score_of_ones_own_is_kept_audited_and_compared(classifier, tmp_path):
    uniform(gauge=gauges.shift_removed)
    panel = ls.sharpness(classifier(), ["shaken", "loss"], save=(tmp_path / "study.h5", "net/scores"), audit=True)
    assert ls.open_study(tmp_path / "study.h5")["net/scores"].rows == panel.rows
    assert panel["shaken"].audited.startswith("T1 =, T2 =, T4 =, T5 =, T7")
    assert json.dumps(panel.to_dict())


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (2.0, [(2.0, None, 5.0)]),
        ((2.0, 0.5), [(2.0, 0.5, 5.0)]),
        (Measurement(2.0, gradients=1.0), [(2.0, None, 1.0)]),
        ([Measurement(2.0), Measurement(3.0, 0.1)], [(2.0, None, 0.0), (3.0, 0.1, 0.0)]),
    ],
)
def test_what_a_decorated_function_may_return(quadratic, found, expected):
    rows = score("own", "t", cost=5.0)(lambda objective: found)(quadratic(H))
    assert [(row.value, row.standard_error, row.gradients) for row in rows] == expected


def test_a_function_of_one_radius_is_called_for_every_radius(quadratic):
    @score("own", "t", radii=(0.1, 0.2), reference=0.2, cost=4)
    def own(objective, *, radius: float, power: int = 1, seed: int = 0):
        return radius**power

    rows = own(quadratic(H), power=2)
    assert [(row.radius, row.reference, row.gradients) for row in rows] == [(0.1, False, 2.0), (0.2, True, 2.0)]
    assert [row.value for row in ls.sharpness(quadratic(H), "own", radii=[0.5]).rows] == [0.5]
    assert REGISTRY["own"].stochastic
    with pytest.raises(LandscapeError, match=r"power=1.5 is float, expected a whole number"):
        own(quadratic(H), power=1.5)


def test_a_cell_that_runs_twice_defines_its_score_anew(quadratic):
    for value in (1.0, 2.0):
        score("own", "t")(lambda objective, value=value: value)
    assert ls.sharpness(quadratic(H), "own")["own"].value == 2.0
    with pytest.raises(LandscapeError, match="a score named 'trace' exists already"):
        score("trace", "t")(lambda objective: 0.0)


def test_an_own_score_comes_last_and_never_decides():
    uniform()
    assert select("all")[-1].slug == "shaken"
    assert primary() == ("adaptive-worst-symmetric", "adaptive-average", "inverse-sigma-mag")


def test_networks_of_a_stack_have_balls_of_their_own():
    """A ball about all networks at once would let one of them take what the others leave."""
    compose("round", "t", quantities.loss, ball(weights), largest_mean_rise, gauge=gauges.normalised, radii=(0.5,))
    X = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)).double()
    data = (X, torch.arange(20) % 3)
    nets = [ls.Objective(ls.models.mlp((4, 5, 3), seed=seed).double(), data, "cross_entropy") for seed in (0, 1)]
    together = Panel("round").together(nets, [0, 1])
    for seed, (net, found) in enumerate(zip(nets, together, strict=True)):
        assert found["round"][0][0].value == pytest.approx(Panel("round", seed).rows(net)[0].value, rel=1e-9)
