import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import NotDefinedError
from landscape.scores.spikiness import _first_crossing, slice_shape, spikiness, worst_to_average


def linear(loss="mse_loss"):
    X = torch.eye(2, dtype=torch.float64)
    net = torch.nn.Linear(2, 1, bias=False, dtype=torch.float64)
    return ls.Objective(net, (X, X @ net.weight.detach().T), loss)


def test_a_parabola_is_symmetric_and_monotone():
    objective = linear()  # L = ‖δ‖²/2 and ‖d‖ = ‖w‖
    asymmetry, roughness, width = slice_shape(objective, directions=2, points=401, level=0.01)
    assert asymmetry.value == pytest.approx(0.0, abs=1e-12)
    assert roughness.value == pytest.approx(0.0, abs=1e-12)
    expected = np.sqrt(2 * 0.01) / float(objective.theta.norm())
    assert 1 / width.value == pytest.approx(expected, rel=1e-3)


def test_roughness_counts_what_goes_up_and_down_again():
    def wave(output, target):
        return torch.sin(20 * (output - target)).mean()

    _, roughness, _ = slice_shape(linear(wave), directions=2, points=201)
    assert roughness.value > 1


def test_asymmetry_of_a_cubic():
    def cubic(output, target):
        error = output - target
        return (error.square() + 5 * error**3).mean()

    asymmetry, *_ = slice_shape(linear(cubic), directions=2)
    assert asymmetry.value > 0.1


def test_crossing_is_interpolated():
    assert _first_crossing(np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.05, 0.15]), 0.1) == pytest.approx(1.5)
    assert _first_crossing(np.array([0.0, 1.0, 2.0]), np.array([0.0, 0.0, 0.05]), 0.1) == 2.0


def test_spikiness_of_a_network(classifier):
    (row,) = spikiness(classifier(), directions=20)
    assert row.value >= 0
    assert 0 < row.standard_error < 1


def test_worst_case_exceeds_the_average_of_the_same_length(classifier):
    (row,) = worst_to_average(classifier())
    assert row.value > 1
    assert row.standard_error > 0


def test_no_classes_no_spikiness(regression):
    for compute in (spikiness, worst_to_average):
        with pytest.raises(NotDefinedError, match="needs logits"):
            compute(regression)
