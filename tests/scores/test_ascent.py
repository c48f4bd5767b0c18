"""Ascent in a convex set: Auto-PGD and L-BFGS-B."""

import numpy as np
import pytest
import torch

from landscape.scores.ascent import box_maximum, checkpoints, maximize


def test_checkpoints_of_twenty_iterations():
    assert checkpoints(20) == [5, 9, 12, 15, 16, 18, 19, 20]


def climb(evaluate, half, start, step):
    """Ascend by signs in the box |x| ≤ half; return the result and the points visited."""
    seen = []

    def watched(x):
        seen.append(x.clone())
        return evaluate(x)

    return maximize(watched, torch.sign, lambda x: x.clamp(-half, half), torch.as_tensor(start).double(), step), seen


def test_reaches_the_corner_of_a_box():
    H = torch.diag(torch.tensor([3.0, 1.0, 0.2], dtype=torch.float64))
    found, _ = climb(lambda x: (0.5 * x @ H @ x, H @ x), 0.5, [0.01, -0.02, 0.03], 1.0)
    assert float(found.best) == pytest.approx(0.5 * 0.25 * 4.2, rel=1e-6)
    assert found.where.tolist() == pytest.approx([0.5, -0.5, 0.5], rel=1e-6)


def test_returns_the_best_point_met_not_the_last():
    found, seen = climb(lambda x: (-(x - 0.3).abs().sum(), -(x - 0.3).sign()), 1, [0.0], 2.0)
    values = [float(-(x - 0.3).abs().sum()) for x in seen]
    assert float(found.best) == max(values) > values[-1] - 1e-12
    assert float(found.initial) == values[0]
    assert float(-(found.where - 0.3).abs().sum()) == max(values)


def test_an_ascent_that_never_improves_returns_its_start():
    found, _ = climb(lambda x: (-(x - 1).square().sum(), torch.ones_like(x)), 9, torch.ones(3), 1.0)
    assert float(found.initial) == float(found.best) == 0.0
    assert torch.equal(found.where, torch.ones(3).double())


def test_a_halved_step_restarts_the_perturbation_from_the_best_point():
    """Published code resets only the model: the iterate goes on from the old perturbation."""
    # the first step overshoots; nothing after it improves until the step has shrunk
    _, seen = climb(lambda x: (-(x - 0.1).abs().sum(), torch.where(x > 0.1, -1.0, 1.0).double()), 4, [0.0], 4.0)
    best = max(seen[:6], key=lambda x: float(-(x - 0.1).abs().sum()))
    direction = -1.0 if float(best) > 0.1 else 1.0
    expected = 0.75 * (best + 2.0 * direction).clamp(-4, 4) + 0.25 * best
    assert float(seen[6]) == pytest.approx(float(expected), rel=1e-12)  # iteration 5 is the first checkpoint


def test_no_step_leaves_the_set():
    _, seen = climb(lambda x: (x.sum(), torch.ones_like(x)), 1, torch.zeros(3), 2.0)
    assert max(float(x.abs().max()) for x in seen) <= 1.0
    seen = []

    def function(y):
        seen.append(np.abs(y).max())
        return float(y.sum()), np.ones_like(y)

    box_maximum(function, np.full(5, 0.3), iterations=10, seed=0)
    assert max(seen) <= 0.3 + 1e-12


def test_the_best_value_of_l_bfgs_b_is_reported_not_the_last():
    seen = []

    def function(y):  # the first step lands on a spike that the line search cannot keep to: its slope points back
        spike = len(seen) == 1
        seen.append(5.0 if spike else float(-np.square(y).sum()))
        return seen[-1], np.full_like(y, -1e3) if spike else np.array([1.0, -1.0])

    assert box_maximum(function, np.ones(2), iterations=5, seed=0) == max(seen) == 5.0
    assert seen[-1] != 5.0
