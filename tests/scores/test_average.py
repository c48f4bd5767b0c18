"""Averages over noise, noise that is tolerated, and the bounds that rest on it: of networks, and how sure they are."""

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import LandscapeError, NotDefinedError
from landscape.scores import (
    adaptive_average,
    inverse_sigma,
    inverse_sigma_mag,
    local_entropy,
    local_entropy_quadratic,
    lpf,
    quantities,
)
from landscape.scores.levels import find_level
from landscape.scores.more.pac_bayes import EPSILON, bound, magnitude_bound, pac_bayes


def test_standard_errors_are_calibrated(classifier, quadratic, each, miscalibration):
    network, bowl = classifier(), quadratic(torch.diag(torch.tensor([4.0, 1.0, 0.5])))
    decisions = each(torch.linspace(0.5, 2, 40))
    assert abs(miscalibration([adaptive_average(network, radii=[0.3], seed=s)[0] for s in range(60)])) < 3
    assert abs(miscalibration([local_entropy(bowl, radii=[5.0], seed=s)[0] for s in range(100)])) < 3
    assert abs(miscalibration([inverse_sigma(decisions, seed=s)[0] for s in range(60)])) < 3


def test_many_examples_weigh_more(classifier):
    objective = classifier(n=30)
    single, all_of_them = (local_entropy(objective, radii=[1e4], per_example=p)[0].value for p in (False, True))
    assert all_of_them > 10 * single > 0


def test_float32_sums_do_not_drown_small_rises(classifier):
    """Rises of 1e-6 of the loss agree between batch sizes, as they would not if batches were averaged in float32."""
    rows = []
    for size in (7, 60):
        made = classifier(batch_size=size)
        small = ls.Objective(made.model, [batch.raw for batch in made.batches], "cross_entropy", dtype=torch.float32)
        rows.append(lpf(small, radii=[1e-3], pairs=3)[0].value)
    assert rows[0] == pytest.approx(rows[1], rel=1e-3)


def test_uniform_noise_of_a_classifier_has_a_third_of_the_effect(classifier):
    objective = classifier(activation="gelu")
    normal, uniform = (
        adaptive_average(objective, radii=[0.02], pairs=200, noise=kind)[0] for kind in ("normal", "uniform")
    )
    error = np.hypot(uniform.standard_error, normal.standard_error / 3)
    assert abs(uniform.value - normal.value / 3) < 3 * error < 0.3 * uniform.value


def test_the_same_draws_are_taken_again(classifier):
    objective = classifier()
    assert inverse_sigma_mag(objective)[0].value == inverse_sigma_mag(objective)[0].value


def test_one_logit_classifier_is_scored():
    X = torch.linspace(-1, 1, 40).unsqueeze(1)
    objective = ls.Objective(torch.nn.Linear(1, 1), (X, (X > 0).float()), "binary_cross_entropy_with_logits")
    assert inverse_sigma_mag(objective.at(torch.tensor([2.0, 0.1])))[0].value > 0


def test_noise_level_of_a_rise_of_the_loss(quadratic):
    """The search for σ, given the loss instead of the 0–1 error."""
    objective = quadratic(torch.diag(torch.tensor([4.0, 1.0, 0.25])))
    noise = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)).double()
    values = quantities.loss.begin(objective, quantities.Meter())[1]
    level, error = find_level(lambda level: values(level * noise), 0.0, guess=0.1, rise=0.05)
    assert abs(level - np.sqrt(2 * 0.05 / 5.25)) < 3 * error < 0.06 * level


def test_bounds_by_hand():
    m, sigma = 1000, 0.05
    assert bound(9.0, sigma, m) == pytest.approx(np.sqrt((9 / (4 * sigma**2) + np.log(m / sigma) + 10) / m))
    w, w0 = torch.tensor([1.0, -2.0]).double(), torch.tensor([0.5, 0.0]).double()
    mean = (0.25 + 4) / 2
    terms = [np.log((EPSILON**2 + 1.04 * mean) / (EPSILON**2 + 0.04 * d**2)) for d in (0.5, 2.0)]
    expected = np.sqrt((0.25 * sum(terms) + np.log(100 / 0.2) + 10) / 100)
    assert magnitude_bound(w, w0, w0, 0.2, 100) == pytest.approx(expected)


@pytest.mark.parametrize("chosen", [None, "*.weight"])
def test_norms_and_noise_of_a_bound_cover_the_same_parameters(classifier, chosen):
    """Selecting the weights leaves the biases out of both; with all parameters they are in both."""
    whole = classifier()
    data, init = whole.batches[0].raw, {name: 0.5 * tensor for name, tensor in whole.model.state_dict().items()}
    made = ls.Checkpoint(whole.model, loss="cross_entropy", train=data, init=init)
    objective = ls.Objective(whole.model, data, "cross_entropy", parameters=chosen)
    rows = {row.name: row.value for row in pac_bayes(objective, checkpoint=made)}
    sigma = inverse_sigma(objective)[0].value ** -0.5
    assert rows["pac-bayes-orig"] == pytest.approx(bound(float(objective.theta.square().sum()), sigma, objective.n))
    assert rows["pac-bayes-init"] < rows["pac-bayes-orig"]
    assert rows["pac-bayes-mag-init"] < rows["pac-bayes-mag-orig"]


REFUSED = {
    # eight of ten decisions are wrong and noise makes more of them right: no level raises the error
    "do not move": lambda each, **_: inverse_sigma(
        each(torch.tensor([1e-9] * 20 + [-1e-9] * 80), classes=2), samples=4
    ),
    "cannot rise": lambda each, **_: inverse_sigma_mag(each(torch.full((10,), -1.0))),
    "initial weights": lambda classifier, **_: pac_bayes(classifier(fit=1)),
    "larger γ": lambda quadratic, **_: local_entropy_quadratic(quadratic(-3 * torch.eye(2)), radii=[2.0]),
    "noise='cauchy'": lambda classifier, **_: adaptive_average(classifier(fit=1), noise="cauchy"),
}


@pytest.mark.parametrize(("message", "call"), REFUSED.items())
def test_what_is_not_defined(each, classifier, quadratic, message, call):
    with pytest.raises(LandscapeError, match=message) as refused:
        call(each=each, classifier=classifier, quadratic=quadratic)
    assert isinstance(refused.value, NotDefinedError) == ("noise" not in message)
