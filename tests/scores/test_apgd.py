import pytest
import torch

from landscape.scores.apgd import checkpoints, maximize


def test_checkpoints_of_twenty_iterations():
    assert checkpoints(20) == [5, 9, 12, 15, 16, 18, 19, 20]


def quadratic(H):
    def evaluate(x):
        return 0.5 * x @ H @ x, H @ x

    return evaluate


def test_reaches_the_corner_of_a_box():
    H = torch.diag(torch.tensor([3.0, 1.0, 0.2], dtype=torch.float64))
    _, best, x = maximize(
        quadratic(H), torch.sign, lambda x: x.clamp(-0.5, 0.5), torch.tensor([0.01, -0.02, 0.03]).double(), 1.0
    )
    assert float(best) == pytest.approx(0.5 * 0.25 * 4.2, rel=1e-6)
    assert x.tolist() == pytest.approx([0.5, -0.5, 0.5], rel=1e-6)


def test_returns_the_best_point_met_not_the_last():
    seen = []

    def evaluate(x):
        seen.append((float(-(x - 0.3).abs().sum()), x.clone()))
        return -(x - 0.3).abs().sum(), -(x - 0.3).sign()

    initial, best, x = maximize(evaluate, torch.sign, lambda x: x.clamp(-1, 1), torch.zeros(1).double(), 2.0)
    values = [value for value, _ in seen]
    assert float(best) == max(values) > values[-1] - 1e-12
    assert float(initial) == values[0]
    assert float(-(x - 0.3).abs().sum()) == max(values)


def test_a_halved_step_restarts_the_perturbation_from_the_best_point():
    """Published code resets only the model: the iterate goes on from the old perturbation."""
    seen = []

    def evaluate(x):  # the first step overshoots; nothing after it improves until the step has shrunk
        value = -(x - 0.1).abs().sum()
        seen.append(x.clone())
        return value, torch.where(x > 0.1, -1.0, 1.0).double()

    maximize(evaluate, torch.sign, lambda x: x.clamp(-4, 4), torch.zeros(1).double(), 4.0)
    values = [float(-(x - 0.1).abs().sum()) for x in seen]
    after = seen[6]  # iteration 5 is the first checkpoint; this is the point visited next
    best = seen[max(range(6), key=lambda i: values[i])]
    direction = -1.0 if float(best) > 0.1 else 1.0
    expected = 0.75 * (best + 2.0 * direction).clamp(-4, 4) + 0.25 * best
    assert float(after) == pytest.approx(float(expected), rel=1e-12)


def test_no_step_leaves_the_set():
    seen = []

    def evaluate(x):
        seen.append(x.clone())
        return x.sum(), torch.ones_like(x)

    maximize(evaluate, torch.sign, lambda x: x.clamp(-1, 1), torch.zeros(3).double(), 2.0)
    assert max(float(x.abs().max()) for x in seen) <= 1.0
