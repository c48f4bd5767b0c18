"""Tolerated noise and boxes, and the bounds that rest on them."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

import landscape as ls
from landscape.errors import NotDefinedError
from landscape.scores import inverse_alpha, inverse_alpha_mag, inverse_sigma, inverse_sigma_mag, quantities
from landscape.scores.levels import find_level
from landscape.scores.more.pac_bayes import EPSILON, bound, magnitude_bound, pac_bayes

D = torch.diag(torch.tensor([4.0, 1.0, 0.25])).double()
Z90 = norm.ppf(0.9)


def test_relative_noise_is_a_standard_deviation(each):
    """P(1 + σ z < 0) = 0.1 at σ = 1/z₀.₉; noise passed as a variance would give σ = z₀.₉^−½."""
    (row,) = inverse_sigma_mag(each(torch.full((2000,), 3.0)), samples=16)
    assert abs(row.value - Z90**2) < 3 * row.standard_error
    assert row.standard_error < 0.05 * row.value


def test_isotropic_noise_is_a_standard_deviation(each):
    (row,) = inverse_sigma(each(torch.full((2000,), 3.0)), samples=16)
    assert abs(row.value - (Z90 / 3) ** 2) < 3 * row.standard_error


def test_absolute_noise_adds_in_quadrature(each):
    (row,) = inverse_sigma_mag(each(torch.full((2000,), 0.01)), samples=16, epsilon=5e-3)
    sigma = row.value**-0.5
    expected = np.sqrt((0.01 / Z90) ** 2 - 5e-3**2) / 0.01
    assert abs(sigma - expected) < 3 * 0.5 * row.standard_error * sigma**3


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
    (row,) = inverse_sigma_mag(ls.Objective(Votes(), data, "cross_entropy"))
    assert abs(row.value - (Z90 / 10) ** 2) < 3 * row.standard_error


def test_an_error_that_falls_is_not_a_rise(each):
    """Eight of ten decisions are wrong and noise makes more of them right: no level raises the error."""
    with pytest.raises(NotDefinedError, match="do not move"):
        inverse_sigma(each(torch.tensor([1e-9] * 20 + [-1e-9] * 80), classes=2), samples=4)


def test_no_room_for_the_rise(each):
    with pytest.raises(NotDefinedError, match="cannot rise"):
        inverse_sigma_mag(each(torch.full((10,), -1.0)))


def test_standard_error_is_calibrated(each, miscalibration):
    objective = each(torch.linspace(0.5, 2, 40))
    assert abs(miscalibration([inverse_sigma(objective, seed=s)[0] for s in range(60)])) < 3


def test_scale_of_the_weights_does_not_matter(classifier):
    objective = classifier()
    scaled = objective.at(objective.theta * 2.0 ** torch.arange(1).double())
    assert inverse_sigma_mag(objective)[0].value == inverse_sigma_mag(scaled)[0].value


def test_one_logit_classifier_is_scored():
    X = torch.linspace(-1, 1, 40).unsqueeze(1)
    net = torch.nn.Linear(1, 1)
    with torch.no_grad():
        net.weight.fill_(2.0)
        net.bias.fill_(0.1)
    objective = ls.Objective(net, (X, (X > 0).float()), "binary_cross_entropy_with_logits")
    assert inverse_sigma_mag(objective)[0].value > 0


def test_box_in_which_a_tenth_of_the_decisions_flip(each):
    """Weights 0.01 … 1.00: a box of half-width a turns the decisions of all weights below a."""
    weights = torch.arange(1, 1001) / 1000
    (row,) = inverse_alpha(each(weights))
    assert row.value == pytest.approx(0.1**-2, rel=0.02)
    assert row.standard_error is None or row.standard_error == 0


def test_box_in_keskars_form(each):
    """|u| ≤ a(|w| + 1) reaches −w for w ≤ a/(1 − a): a tenth of the weights at a/(1 − a) = 0.1."""
    weights = torch.arange(1, 1001) / 1000
    (row,) = inverse_alpha_mag(each(weights))
    assert row.value == pytest.approx((0.1 / 1.1) ** -2, rel=0.02)


def test_worst_case_is_sharper_than_the_average(classifier):

    objective = classifier()
    assert inverse_alpha(objective)[0].value > inverse_sigma(objective)[0].value


def test_bound_divides_by_four_variances():
    m, sigma = 1000, 0.05
    expected = np.sqrt((9 / (4 * sigma**2) + np.log(m / sigma) + 10) / m)
    assert bound(9.0, sigma, m) == pytest.approx(expected)


def test_magnitude_bound_by_hand():
    w, w0 = torch.tensor([1.0, -2.0]).double(), torch.tensor([0.5, 0.0]).double()
    mean = (0.25 + 4) / 2
    terms = [np.log((EPSILON**2 + 1.04 * mean) / (EPSILON**2 + 0.04 * d**2)) for d in (0.5, 2.0)]
    expected = np.sqrt((0.25 * sum(terms) + np.log(100 / 0.2) + 10) / 100)
    assert magnitude_bound(w, w0, w0, 0.2, 100) == pytest.approx(expected)


def test_measures_of_a_network(classifier):
    objective = classifier()
    init = {name: 0.5 * tensor for name, tensor in objective.model.state_dict().items()}
    data = objective.batches[0].raw
    made = ls.Checkpoint(objective.model, loss="cross_entropy", train=data, init=init)
    rows = {row.name: row.value for row in pac_bayes(objective, checkpoint=made)}
    sigma = inverse_sigma(objective)[0].value ** -0.5
    assert rows["pac-bayes-orig"] == pytest.approx(bound(float(objective.theta.square().sum()), sigma, objective.n))
    assert rows["pac-bayes-init"] < rows["pac-bayes-orig"]
    assert rows["pac-bayes-mag-init"] < rows["pac-bayes-mag-orig"]


def test_unknown_initial_weights(classifier):
    with pytest.raises(NotDefinedError, match="initial weights"):
        pac_bayes(classifier(fit=1))


def test_noise_level_of_a_rise_of_the_loss(quadratic):
    """The search for σ, given the loss instead of the 0–1 error."""
    objective, generator = quadratic(D), torch.Generator().manual_seed(0)
    noise = torch.randn(4000, 3, generator=generator).double()

    def rises(level):
        return quantities.loss.begin(objective, quantities.Meter())[1](level * noise)

    level, error = find_level(rises, 0.0, guess=0.1, rise=0.05)
    assert abs(level - np.sqrt(2 * 0.05 / float(D.trace()))) < 3 * error
    assert error < 0.02 * level
