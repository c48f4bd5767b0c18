"""The Chebyshev problem by its formulas; steps of every rule against torch.optim; settings that make no sense."""

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import LandscapeError
from landscape.studies.descents import Descending, Descent, chebyshev_data, chebyshev_network, half_squared_error

RULES = {
    "sgd": (Descent(lr=0.1, steps=5), lambda p: torch.optim.SGD(p, 0.1)),
    "heavy ball": (
        Descent(rule="heavy ball", lr=0.1, momentum=0.9, steps=5),
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9),
    ),
    "nesterov": (
        Descent(rule="nesterov", lr=0.1, momentum=0.9, steps=5),
        lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
    ),
    "adam": (
        Descent(rule="adam", lr=0.01, momentum=0.9, beta2=0.99, steps=5),
        lambda p: torch.optim.Adam(p, 0.01, betas=(0.9, 0.99)),
    ),
}


def objective():
    return ls.Objective(chebyshev_network(), chebyshev_data(3), half_squared_error)


@pytest.mark.parametrize("rule", RULES)
def test_steps_are_those_of_torch(rule):
    descent, optimiser_of = RULES[rule]
    descending = Descending(objective(), descent)
    losses = list(descending.walk())
    model, (X, y) = chebyshev_network(), chebyshev_data(3)
    optimiser = optimiser_of(list(model.parameters()))
    expected = []
    for _ in range(5):
        optimiser.zero_grad()
        loss = half_squared_error(model(X), y)
        loss.backward()
        expected.append(loss.item())
        optimiser.step()
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    torch.testing.assert_close(descending.theta, weights, atol=1e-5, rtol=1e-4)
    assert losses == pytest.approx(expected, rel=1e-5)
    assert descending.steps == 5


def test_preconditioner_is_the_corrected_second_moment_of_adam_alone():
    start = objective()
    descending = Descending(start, Descent(rule="adam", lr=0.01, momentum=0.9, steps=1))
    assert descending.preconditioner is None
    list(descending.walk())
    torch.testing.assert_close(descending.preconditioner, start.gradient().double().abs() + 1e-8, atol=1e-9, rtol=1e-4)
    plain = Descending(objective(), Descent(lr=0.01, steps=1))
    list(plain.walk())
    assert plain.preconditioner is None


def test_an_epoch_of_minibatches_shows_every_example_once():
    descending = Descending(objective(), Descent(lr=1e-9, batch_size=6, steps=4), seed=3)
    losses = list(descending.walk())
    sizes = torch.tensor([6.0, 6.0, 6.0, 2.0])
    assert float((torch.tensor(losses) * sizes).sum() / 20) == pytest.approx(objective().loss(), rel=1e-5)
    other = list(Descending(objective(), Descent(lr=1e-9, batch_size=6, steps=4), seed=4).walk())
    assert other != losses


def test_the_objective_and_its_network_stay_as_they_were():
    start = objective()
    before = start.theta.clone()
    list(Descending(start, Descent(lr=0.1, steps=3)).walk())
    assert torch.equal(start.theta, before)
    assert all(p.grad is None for p in start.model.parameters())


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": 0.0},
        {"lr": 0.1, "rule": "adagrad"},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.1, "beta2": 1.0},
        {"lr": 0.1, "batch_size": 0},
        {"lr": 0.1, "steps": 0},
    ],
)
def test_wrong_settings(wrong):
    with pytest.raises(LandscapeError):
        Descent(**wrong)


@pytest.mark.parametrize("degree", [0, 1, 3, 5])
def test_targets_are_the_cosine_of_a_multiple_angle(degree):
    X, y = chebyshev_data(degree)
    expected = np.cos(degree * np.arccos(np.clip(X.double().numpy(), -1, 1)))
    np.testing.assert_allclose(y.numpy(), expected, atol=1e-6)
    assert (float(X[0]), float(X[-1]), len(X)) == (-1.0, 1.0, 20)


def test_network_has_no_bias_at_its_output_and_its_seed_alone_decides_it():
    before = torch.get_rng_state()
    first, again, other = (chebyshev_network(seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first[0].weight, again[0].weight)
    assert not torch.equal(first[0].weight, other[0].weight)
    assert not first[0].bias.any()
    assert first[2].bias is None


def test_first_layer_has_the_deviation_of_its_gain():
    wide = chebyshev_network(10_000)
    assert float(wide[0].weight.detach().std()) == pytest.approx(1.9 * (2 / 10_001) ** 0.5, rel=0.05)


def test_loss_sums_outputs_and_averages_examples():
    assert float(half_squared_error(torch.tensor([[2.0, 0.0], [0.0, 4.0]]), torch.zeros(2, 2))) == 5.0


@pytest.mark.parametrize("wrong", [{"degree": -1}, {"degree": 2, "points": 1}])
def test_wrong_problems(wrong):
    with pytest.raises(LandscapeError, match="expected a degree"):
        chebyshev_data(**wrong)
