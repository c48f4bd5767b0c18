import pytest
import torch

import landscape as ls
from landscape.errors import LandscapeError, NotDefinedError
from landscape.scores.stability import batch_sharpness, minibatch_quotients, stability, threshold


def diverges(lr, momentum, rule, curvature, steps=400):
    x, v = 1.0, 0.0
    for _ in range(steps):
        at = x + momentum * v if rule == "nesterov" else x
        share = 1 - momentum if rule == "adam" else 1.0  # with P = 1, Adam is heavy ball on an averaged gradient
        v = momentum * v - lr * share * curvature * at
        x += v
        if abs(x) > 1e6:
            return True
    return abs(x) > 1


@pytest.mark.parametrize(
    ("rule", "momentum", "expected"),
    [("sgd", 0.0, 2.0), ("heavy ball", 0.9, 3.8), ("nesterov", 0.9, 1.357), ("adam", 0.9, 38.0)],
)
def test_thresholds_separate_convergence_from_divergence(rule, momentum, expected):
    limit = threshold(1.0, momentum, rule=rule)
    assert limit == pytest.approx(expected, abs=1e-3)
    assert not diverges(1.0, momentum, rule, 0.99 * limit)
    assert diverges(1.0, momentum, rule, 1.01 * limit)


def checkpoint(**how):
    model = torch.nn.Linear(2, 1, bias=False).double()
    X = torch.diag(torch.tensor([2.0, 1.0])).double()
    return ls.Checkpoint(model, loss="mse_loss", train=(X, torch.ones(2, 1).double()), **how)


def test_largest_eigenvalue_over_the_threshold():
    """λmax = 4; the panel hands the checkpoint on."""
    made, plain = checkpoint(lr=0.1, momentum=0.9), checkpoint(lr=0.1)
    assert stability(made.objective(), checkpoint=made)[0].value == pytest.approx(4 / 38)
    assert ls.sharpness(plain.objective(), "stability", checkpoint=plain)["stability"].value == pytest.approx(4 / 20)


def test_batch_sharpness_of_single_examples():
    """One example x: the Hessian is 2xxᵀ and the gradient along x, so that the quotient is 2‖x‖²."""
    made = checkpoint(lr=0.1, batch_size=1)
    objective = made.objective()
    assert sorted(minibatch_quotients(objective, 1, 0).tolist()) == pytest.approx([2.0, 8.0])
    (row,) = batch_sharpness(objective, checkpoint=made)
    assert row.value == pytest.approx(5.0 / 20)
    assert row.standard_error == pytest.approx(3 * 2**0.5 / 2**0.5 / 20)


@pytest.mark.parametrize(
    ("compute", "how", "message"),
    [
        (stability, {}, "learning rate"),
        (stability, {"lr": 0.1, "optimizer": "Adam"}, "second moments"),
        (batch_sharpness, {"lr": 0.1}, "batch size"),
    ],
)
def test_unknown_training(compute, how, message):
    made = checkpoint(**how)
    with pytest.raises(NotDefinedError, match=message):
        compute(made.objective(), checkpoint=made)
    with pytest.raises(NotDefinedError, match="learning rate"):
        compute(made.objective())


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"lr": 0.1, "momentum": 1.0}, {"lr": 0.1, "rule": "adagrad"}])
def test_wrong_settings(wrong):
    with pytest.raises(LandscapeError):
        threshold(**wrong)
