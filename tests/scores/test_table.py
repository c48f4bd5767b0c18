"""What transformations do to scores: the pattern of invariance, and the effect of temperature (see `invariance_table`)."""

import pytest
from invariance_table import DENSE, LOGARITHMS, TABLE, TEMPERATURE, average, by_name, load

from landscape.scores import quantities
from landscape.scores.functionals import Case, mean_rise
from landscape.scores.gauges import logit_normalized
from landscape.scores.perturbations import Noise, ones, weights

TOLERANCE = 1e-6


@pytest.fixture(scope="module")
def networks():
    return {which: load(which) for which in ("learning", "interpolating")}


@pytest.mark.parametrize("name", TABLE)
def test_pattern_of_invariance(networks, name):
    """Invariant entries within 1e-6 of 1, every entry said to move by more than 5 %."""
    objective, moved = networks["learning"]
    value, said = TABLE[name]
    before = value(objective)
    after = {t: value(moved[t]) for t in ("T1", "T2", "T4", "T5")}
    ratios = {t: 1 + x - before if name in LOGARITHMS else x / before for t, x in after.items()}
    clear = said.partition("(")[0].split()
    slight = said.partition("(")[2].rstrip(")").split()
    for t, ratio in ratios.items():
        if t in clear:
            assert abs(ratio - 1) > 0.05, ratios
        elif t in slight:
            assert abs(ratio - 1) > 1e-4, ratios
        else:
            assert abs(ratio - 1) < TOLERANCE, ratios


def test_the_gauge_fix_removes_the_softmax_shift(networks):
    """The scores that read |w| move under T5 unless the shift is removed first."""
    objective, moved = networks["learning"]
    for slug in ("adaptive-worst-symmetric", "adaptive-average", "inverse-sigma-mag", "adaptive-trace", "asam"):
        free, fixed = by_name(slug, gauge=False), by_name(slug)
        assert abs(free(moved["T5"]) / free(objective) - 1) > 0.05, slug
        assert abs(fixed(moved["T5"]) / fixed(objective) - 1) < TOLERANCE, slug


@pytest.mark.parametrize("name", TEMPERATURE)
def test_temperature_at_cross_entropy_2e_4(networks, name):
    """Doubled logits keep every decision and lower curvature more than a hundredfold; the primary scores stay."""
    objective, moved = networks["interpolating"]
    assert objective.loss() == pytest.approx(2.4e-4, rel=0.01)
    value, twice, four = TEMPERATURE[name]
    before = value(objective)
    assert twice[0] < value(moved["t=2"]) / before < twice[1]
    assert four[0] < value(moved["t=4"]) / before < four[1]


def test_temperature_before_interpolation_raises_curvature(networks):
    """At cross-entropy 0.14, with errors left, the same temperature moves λmax the other way."""
    objective, moved = networks["learning"]
    assert objective.loss() == pytest.approx(0.136, rel=0.01)
    ratios = [
        by_name("lambda-max", **DENSE)(moved[t]) / by_name("lambda-max", **DENSE)(objective) for t in ("t=2", "t=4")
    ]
    assert 1 < ratios[0] < ratios[1]


def test_error_under_relative_noise_ignores_every_reparametrisation(networks):
    objective, moved = networks["learning"]

    def value(o):
        return mean_rise(Case(o, Noise(o, weights), quantities.error), [0.3], pairs=50)[0].value

    for t in ("T1", "T2", "T4", "t=2", "t=4"):
        assert value(moved[t]) == pytest.approx(value(objective), abs=1e-12)


def test_normalised_logits_alone_do_not_remove_the_scale_of_layers(networks):
    objective, moved = networks["learning"]
    isotropic_at = {t: average(ones)(logit_normalized(o)) for t, o in {"": objective, **moved}.items()}
    assert abs(isotropic_at["T1"] / isotropic_at[""] - 1) > 0.05
    assert abs(isotropic_at["t=2"] / isotropic_at[""] - 1) > 1e-3
