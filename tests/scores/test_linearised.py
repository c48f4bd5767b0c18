import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscape as ls
from landscape.errors import NotDefinedError, NumericalError
from landscape.scores.linearised import (
    linearisation_error,
    linearised_agreement,
    linearised_outputs,
    train_linearised,
)

X = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)).double()
Y = (X @ torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).double()).argmax(1)


def trained(net, *, rate=0.1, momentum=0.5, steps=30, **known):
    """Full-batch descent, so that the order of examples does not matter."""
    net = net.double()
    init = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimiser = torch.optim.SGD(net.parameters(), lr=rate, momentum=momentum)
    for _ in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(net(X), Y).backward()
        optimiser.step()
    how = {"init": init, "optimizer": "sgd", "lr": rate, "momentum": momentum, "batch_size": 40, "step": steps} | known
    return ls.Checkpoint(net, loss="cross_entropy", train=(X, Y), test=(X[:20], Y[:20]), **how)


def test_a_linear_network_is_its_linearisation():
    made = trained(nn.Linear(4, 3))
    start = made.objective().at(made.init)
    theta = train_linearised(start, lr=0.1, momentum=0.5, batch_size=40, steps=30)
    torch.testing.assert_close(theta, made.objective().theta, rtol=1e-10, atol=1e-12)
    assert linearised_agreement(made.objective("test"), checkpoint=made)[0].value == 1.0
    assert linearisation_error(made.objective(), checkpoint=made)[0].value < 1e-12


def test_minibatches_pass_over_all_examples_with_the_momentum_of_torch():
    """Two half batches with the seed's order, by hand."""
    start = ls.Objective(nn.Linear(4, 3).double(), (X, Y), "cross_entropy")
    order = torch.randperm(40, generator=torch.Generator().manual_seed(7))
    net = nn.Linear(4, 3).double()
    nn.utils.vector_to_parameters(start.theta, net.parameters())
    optimiser = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
    for chosen in order.split(20):
        optimiser.zero_grad()
        F.cross_entropy(net(X[chosen]), Y[chosen]).backward()
        optimiser.step()
    theta = train_linearised(start, lr=0.2, momentum=0.9, batch_size=20, steps=2, seed=7)
    torch.testing.assert_close(theta, nn.utils.parameters_to_vector(net.parameters()).detach(), rtol=1e-10, atol=1e-12)


def test_linearised_outputs_are_the_first_two_terms():
    start = ls.Objective(ls.models.mlp((4, 8, 3), activation="gelu").double(), (X, Y), "cross_entropy")
    step = torch.randn(start.size, generator=torch.Generator().manual_seed(0)).double()
    with start.guard(second=True):
        rests = [
            (
                start.outputs(start.theta + h * step)
                - linearised_outputs(start, start.theta + h * step, start.batches[0])
            )
            for h in (1e-3, 1e-4)
        ]
    assert float(rests[0].norm() / rests[1].norm()) == pytest.approx(100, rel=0.02)


def test_longer_training_leaves_the_linear_regime():
    short, long = (trained(ls.models.mlp((4, 16, 3), activation="gelu"), steps=steps) for steps in (3, 300))
    errors = [linearisation_error(made.objective(), checkpoint=made)[0].value for made in (short, long)]
    assert 0 < errors[0] < 0.1 < errors[1]


def test_a_scaled_output_is_lazy():
    """Chizat et al. 2019: with f → αf and the learning rate over α² training stays near its linearisation."""

    class Scaled(nn.Module):
        def __init__(self, alpha):
            super().__init__()
            self.net, self.alpha = ls.models.mlp((4, 16, 3), activation="gelu", seed=0), alpha

        def forward(self, x):
            return self.alpha * self.net(x)

    errors = []
    for alpha in (1.0, 30.0):
        made = trained(Scaled(alpha), rate=0.5 / alpha**2, momentum=0.0, steps=200)
        errors.append(linearisation_error(made.objective(), checkpoint=made)[0].value)
    assert errors[1] < 0.1 * errors[0]


def test_agreement_of_a_network_is_counted_on_the_objective_given():
    made = trained(ls.models.mlp((4, 16, 3)), steps=100)
    row = linearised_agreement(made.objective("test"), checkpoint=made)[0]
    assert 0.5 < row.value <= 1
    assert (row.value * 20) % 1 == pytest.approx(0, abs=1e-9)
    assert row.gradients == 3 * 100 * 40 / 20
    assert "100 steps" in row.note


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init": None}, "initial weights are not known"),
        ({"lr": None, "step": None}, "does not know its lr, step"),
        ({"optimizer": "adam"}, "trains by SGD, not adam"),
    ],
)
def test_unknown_training(changes, message):
    made = trained(nn.Linear(4, 3), steps=1, **changes)
    with pytest.raises(NotDefinedError, match=message):
        linearised_agreement(made.objective(), checkpoint=made)


def test_divergence_and_no_movement():
    made = trained(ls.models.mlp((4, 16, 3)), steps=1)
    start = made.objective().at(made.init)
    with pytest.raises(NumericalError, match="far from the kernel regime"):
        train_linearised(start, lr=1e308, momentum=0.9, batch_size=40, steps=20)
    with pytest.raises(NotDefinedError, match="those of the initial weights"):
        linearisation_error(start, checkpoint=made)
