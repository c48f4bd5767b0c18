"""Scores of the predictions: margins, calibration, Jacobians, tangent kernels, critical samples, linearisations."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscape as ls
from landscape.errors import LandscapeError, NotDefinedError, NumericalError
from landscape.scores.fit import calibration, distance_from_init, expected_calibration_error, margins
from landscape.scores.gauges import logit_normalized
from landscape.scores.more.inputs import critical_sample_ratio, input_jacobian
from landscape.scores.more.kernel_regime import (
    linearisation_error,
    linearised_agreement,
    linearised_outputs,
    ntk_alignment,
    ntk_movement,
    tangent_kernel,
    train_linearised,
)
from landscape.transforms.logits import normalize_logits


def generated(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(*shape, generator=generator).double() for shape in shapes]


class Logits(nn.Module):
    """Inputs times a temperature."""

    def __init__(self):
        super().__init__()
        self.t = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, x):
        return self.t * x


def of_logits(logits, targets, loss="cross_entropy"):
    return ls.Objective(Logits(), (torch.as_tensor(logits).double(), torch.as_tensor(targets)), loss)


def linear(X, W, **options):
    net = nn.Linear(X.shape[1], len(W), bias=False).double()
    objective = ls.Objective(net, (X, torch.zeros(len(X), dtype=torch.long)), "cross_entropy", **options)
    return objective.at(W.flatten())


def tokens():
    net = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3))
    return ls.Objective(net, (torch.ones(4, 2, dtype=torch.long), torch.arange(4) % 3), "cross_entropy")


FOUR = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.0, 5.0], [1.0, 2.0, 0.0], [4.0, 0.0, 1.0]], dtype=torch.float64)
RIGHT = [0, 2, 0, 0]


def test_margins_by_hand():
    by_hand, length = torch.tensor([2.0, 5.0, -1.0, 3.0]).double(), (FOUR - FOUR.mean(1, keepdim=True)).norm(dim=1)
    expected = [float(m.quantile(0.5)) for m in (by_hand, by_hand / length)]
    assert [row.value for row in margins(of_logits(FOUR, RIGHT), percentile=0.5)] == pytest.approx(expected)
    assert margins(of_logits(FOUR, [0, 2, -100, 0]), percentile=0.0)[0].value == pytest.approx(2.0)  # one is ignored
    once, twice = margins(of_logits(FOUR, RIGHT)), margins(of_logits(2 * FOUR, RIGHT))
    assert [b.value / a.value for a, b in zip(once, twice, strict=True)] == pytest.approx([2, 1])


@pytest.mark.parametrize(("classes", "floor"), [(2, 0.21762), (3, 0.46226), (10, 1.41987), (100, 3.61730)])
def test_band_of_the_normalised_cross_entropy(classes, floor):
    labels = torch.arange(classes)
    assert logit_normalized(of_logits(1e3 * torch.eye(classes), labels)).loss() == pytest.approx(floor, abs=5e-6)
    flat = torch.full((classes, classes), 3.0)
    assert logit_normalized(of_logits(flat, labels)).loss() == pytest.approx(float(torch.tensor(classes).log()))


def test_normalised_logits():
    z = normalize_logits(torch.randn(5, 4, dtype=torch.float64))
    assert torch.allclose(z.mean(1), torch.zeros(5, dtype=torch.float64))
    assert torch.allclose(z.norm(dim=1), torch.ones(5, dtype=torch.float64))
    losses = [
        logit_normalized(o).loss() for o in (of_logits(FOUR, RIGHT), of_logits(FOUR.log_softmax(1), RIGHT, "nll_loss"))
    ]
    assert losses[0] == pytest.approx(losses[1])


def test_calibration(classifier):
    confidence, right = torch.tensor([0.95, 0.95, 0.55, 0.55]).double(), torch.tensor([True, True, True, False])
    assert expected_calibration_error(confidence, right) == pytest.approx(0.5 * 0.05 + 0.5 * 0.05)
    assert expected_calibration_error(torch.ones(3), torch.tensor([True, True, True])) == 0.0
    objective = classifier()
    logits = objective.outputs()
    _, confidence, length = calibration(objective)
    assert confidence.value == pytest.approx(float(logits.softmax(1).max(1).values.mean()))
    assert length.value == pytest.approx(float((logits - logits.mean(1, keepdim=True)).norm(dim=1).mean()))
    accuracy = float((logits.argmax(1) == objective.targets).double().mean())
    assert calibration(objective, bins=1)[0].value == pytest.approx(abs(accuracy - confidence.value))


def test_input_jacobian_of_a_linear_softmax():
    X, W = generated((5, 4), (3, 4))
    objective = linear(X, W)
    p = (X @ W.T).softmax(1)
    S = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    raw, normalized = input_jacobian(objective)
    assert raw.value == pytest.approx(float((S @ W).flatten(1).norm(dim=1).mean()), rel=1e-12)
    double = input_jacobian(objective.at(2 * objective.theta))
    assert double[1].value == pytest.approx(normalized.value, rel=1e-12)
    assert double[0].value != pytest.approx(raw.value, rel=1e-3)


def checkpoint(with_init=True):
    model = ls.models.mlp((4, 6, 3), seed=1).double()
    init = {name: tensor.clone() for name, tensor in ls.models.mlp((4, 6, 3), seed=0).double().state_dict().items()}
    X = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)).double()
    return ls.Checkpoint(model, loss="cross_entropy", train=(X, torch.arange(20) % 3), init=init if with_init else None)


def test_distance_from_initialisation():
    made = checkpoint()
    objective = made.objective()
    start = objective.at(made.init).theta
    moved, relative = distance_from_init(objective, checkpoint=made)
    assert moved.value == pytest.approx(float((objective.theta - start).norm()))
    assert relative.value == pytest.approx(moved.value / float(start.norm()))
    assert moved.value == pytest.approx(made.distance_from_init())


def test_tangent_kernel_against_the_jacobian(classifier):
    objective = classifier(n=12)
    J = torch.autograd.functional.jacobian(
        lambda theta: torch.cat([objective.batch_outputs(theta, b) for b in objective.batches]), objective.theta
    )
    expected = torch.einsum("ikp,jkp->ij", J, J) / 3
    assert torch.allclose(tangent_kernel(objective), expected, atol=1e-12)
    assert torch.allclose(tangent_kernel(objective, 5), expected[:5, :5], atol=1e-12)


def test_movement_of_the_kernel():
    made = checkpoint()
    objective = made.objective()
    still = ntk_movement(objective.at(made.init), checkpoint=made)
    assert [row.value for row in still] == pytest.approx([0.0, 0.0], abs=1e-12)
    assert all(row.value > 0.01 for row in ntk_movement(objective, checkpoint=made))
    net = nn.Linear(3, 2).double()  # scaling a linear network does not turn its kernel
    init = {name: 0.1 * tensor for name, tensor in net.state_dict().items()}
    made = ls.Checkpoint(net, loss="cross_entropy", train=(torch.eye(3).double(), torch.tensor([0, 1, 0])), init=init)
    rows = ntk_movement(made.objective(), checkpoint=made)
    assert [row.value for row in rows] == pytest.approx([0.0, 0.0], abs=1e-12)


def test_alignment_is_higher_for_the_labels_that_were_learned(classifier):
    objective = classifier(n=60, fit=200)
    shuffled = objective.targets[torch.randperm(60, generator=torch.Generator().manual_seed(0))]
    random = objective.on((objective.batches[0].inputs, shuffled))
    assert ntk_alignment(objective)[0].value > 2 * ntk_alignment(random)[0].value


def test_critical_samples_of_a_linear_network_in_closed_form():
    """The decision changes in the box exactly when |margin| < r ‖w₁ − w₀‖₁, whatever the unit of the inputs."""
    X, W = generated((200, 3), (2, 3))
    difference, radii = W[1] - W[0], [1e-6, 0.1, 0.3, 1.0, 30.0]
    rows, other = (critical_sample_ratio(linear(scale * X, W / scale), radii=radii) for scale in (1, 255))
    for row in rows:
        half = row.radius * X.std(correction=0)
        assert row.value == float(((X @ difference).abs() < half * difference.abs().sum()).double().mean())
    assert [row.value for row in rows] == [row.value for row in other]
    assert ["larger radii" in rows[0].note, rows[1].note, "saturated" in rows[4].note] == [True, "", True]


def test_critical_samples_of_a_network(classifier):
    """No reparametrisation moves their share, labels do not matter, and many random points find no more."""
    objective = classifier()
    small, large = critical_sample_ratio(objective, radii=[0.05, 0.5])
    assert 0 < small.value < large.value <= 1
    X, decision = objective.batches[0].inputs, objective.outputs().argmax(1)
    assert critical_sample_ratio(objective.on((X, (objective.targets + 1) % 3)), radii=[0.05])[0].value == small.value
    generator, found = torch.Generator().manual_seed(0), torch.zeros(objective.n, dtype=torch.bool)
    for _ in range(300):
        noise = 0.3 * X.std(correction=0) * (2 * torch.rand(X.shape, generator=generator).double() - 1)
        found |= objective.on((X + noise, objective.targets)).outputs().argmax(1) != decision
    assert critical_sample_ratio(objective, radii=[0.3])[0].value >= float(found.double().mean()) > 0
    report = ls.audit(objective, ["critical-sample-ratio"])
    assert report.survived("critical-sample-ratio") == ("T1", "T2", "T4", "T5", "T7")


INPUTS = torch.randn(40, 4, generator=torch.Generator().manual_seed(0)).double()
Y = (INPUTS @ torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).double()).argmax(1)


def trained(net, *, rate=0.1, momentum=0.5, steps=30, **known):
    """Full-batch descent, so that the order of examples does not matter."""
    net = net.double()
    init = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    optimiser = torch.optim.SGD(net.parameters(), lr=rate, momentum=momentum)
    for _ in range(steps):
        optimiser.zero_grad()
        F.cross_entropy(net(INPUTS), Y).backward()
        optimiser.step()
    how = {"init": init, "optimizer": "sgd", "lr": rate, "momentum": momentum, "batch_size": 40, "step": steps} | known
    return ls.Checkpoint(net, loss="cross_entropy", train=(INPUTS, Y), test=(INPUTS[:20], Y[:20]), **how)


def test_a_linear_network_is_its_linearisation():
    made = trained(nn.Linear(4, 3))
    start = made.objective().at(made.init)
    theta = train_linearised(start, lr=0.1, momentum=0.5, batch_size=40, steps=30)
    torch.testing.assert_close(theta, made.objective().theta, rtol=1e-10, atol=1e-12)
    assert linearised_agreement(made.objective("test"), checkpoint=made)[0].value == 1.0
    assert linearisation_error(made.objective(), checkpoint=made)[0].value < 1e-12


def test_minibatches_pass_over_all_examples_with_the_momentum_of_torch():
    """Two half batches with the seed's order, by hand."""
    start = ls.Objective(nn.Linear(4, 3).double(), (INPUTS, Y), "cross_entropy")
    order = torch.randperm(40, generator=torch.Generator().manual_seed(7))
    net = nn.Linear(4, 3).double()
    nn.utils.vector_to_parameters(start.theta, net.parameters())
    optimiser = torch.optim.SGD(net.parameters(), lr=0.2, momentum=0.9)
    for chosen in order.split(20):
        optimiser.zero_grad()
        F.cross_entropy(net(INPUTS[chosen]), Y[chosen]).backward()
        optimiser.step()
    theta = train_linearised(start, lr=0.2, momentum=0.9, batch_size=20, steps=2, seed=7)
    torch.testing.assert_close(theta, nn.utils.parameters_to_vector(net.parameters()).detach(), rtol=1e-10, atol=1e-12)


def test_linearised_outputs_are_the_first_two_terms():
    start = ls.Objective(ls.models.mlp((4, 8, 3), activation="gelu").double(), (INPUTS, Y), "cross_entropy")
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


class Scaled(nn.Module):
    """A network whose output is multiplied: with the learning rate over α² training stays near its linearisation."""

    def __init__(self, alpha):
        super().__init__()
        self.net, self.alpha = ls.models.mlp((4, 16, 3), activation="gelu", seed=0), alpha

    def forward(self, x):
        return self.alpha * self.net(x)


def test_longer_training_leaves_the_linear_regime_and_a_scaled_output_stays():
    """Chizat et al. 2019."""
    short, long = (trained(ls.models.mlp((4, 16, 3), activation="gelu"), steps=steps) for steps in (3, 300))
    plain, lazy = (trained(Scaled(alpha), rate=0.5 / alpha**2, momentum=0.0, steps=200) for alpha in (1.0, 30.0))
    errors = [linearisation_error(o.objective(), checkpoint=o)[0].value for o in (short, long, plain, lazy)]
    assert 0 < errors[0] < 0.1 < errors[1]
    assert errors[3] < 0.1 * errors[2]


def test_agreement_of_a_network_is_counted_on_the_objective_given():
    made = trained(ls.models.mlp((4, 16, 3)), steps=100)
    row = linearised_agreement(made.objective("test"), checkpoint=made)[0]
    assert 0.5 < row.value <= 1
    assert (row.value * 20) % 1 == pytest.approx(0, abs=1e-9)
    assert row.gradients == 3 * 100 * 40 / 20
    assert "100 steps" in row.note


def refused():
    """What is asked for in vain, and the reason that is given."""
    _, W = generated((200, 3), (2, 3))
    unknown, still = checkpoint(with_init=False), trained(ls.models.mlp((4, 16, 3)), steps=1)
    start = still.objective().at(still.init)
    dense = ls.Objective(
        nn.Conv1d(1, 3, 1), (torch.eye(4)[:, None], torch.zeros(4, 4, dtype=torch.long)), "cross_entropy"
    )
    yield NotDefinedError, "floating-point", lambda: input_jacobian(tokens())
    yield NotDefinedError, "floating-point", lambda: critical_sample_ratio(tokens())
    yield NotDefinedError, r"expected \(N, C\)", lambda: critical_sample_ratio(dense)
    yield NotDefinedError, "are the same", lambda: critical_sample_ratio(linear(torch.ones(5, 3).double(), W))
    yield LandscapeError, "at least 1", lambda: critical_sample_ratio(linear(W, W), iterations=0)
    yield NotDefinedError, "same label", lambda: ntk_alignment(start.on((INPUTS, 0 * Y)))
    for compute in (distance_from_init, ntk_movement):
        for options in ({}, {"checkpoint": unknown}):
            yield (
                NotDefinedError,
                "initial weights are not known",
                lambda c=compute, o=options: c(unknown.objective(), **o),
            )
    for changes, message in (
        ({"init": None}, "initial weights are not known"),
        ({"lr": None, "step": None}, "does not know its lr, step"),
        ({"optimizer": "adam"}, "trains by SGD, not adam"),
    ):
        made = trained(nn.Linear(4, 3), steps=1, **changes)
        yield NotDefinedError, message, lambda made=made: linearised_agreement(made.objective(), checkpoint=made)
    diverging = {"lr": 1e308, "momentum": 0.9, "batch_size": 40, "steps": 20}
    yield NumericalError, "far from the kernel regime", lambda: train_linearised(start, **diverging)
    yield NotDefinedError, "those of the initial weights", lambda: linearisation_error(start, checkpoint=still)


def test_what_is_not_defined():
    for kind, message, call in refused():
        with pytest.raises(kind, match=message):
            call()
