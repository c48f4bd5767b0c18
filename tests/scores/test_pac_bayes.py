import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import NotDefinedError
from landscape.scores.noise_tolerance import inverse_sigma
from landscape.scores.pac_bayes import EPSILON, bound, magnitude_bound, pac_bayes


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
