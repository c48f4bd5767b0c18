"""Scores of the predictions: margins, calibration, Jacobians, tangent kernels, critical samples, linearisations."""

import numpy as np
import pytest
import torch
import torch.nn as nn
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


class Logits(nn.Module):
    def __init__(self, scale=1.0):
        super().__init__()
        self.t = nn.Parameter(torch.tensor(scale, dtype=torch.float64))

    def forward(self, x):
        return self.t * x


X = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.0, 5.0], [1.0, 2.0, 0.0], [4.0, 0.0, 1.0]], dtype=torch.float64)
y = torch.tensor([0, 2, 0, 0])


def test_margins_by_hand():
    raw, normalized = margins(ls.Objective(Logits(), (X, y), "cross_entropy"), percentile=0.5)
    assert raw.value == pytest.approx(2.5)  # 2, 5, −1, 3
    centred = X - X.mean(1, keepdim=True)
    expected = torch.tensor([2.0, 5.0, -1.0, 3.0]) / centred.norm(dim=1)
    assert normalized.value == pytest.approx(float(expected.quantile(0.5)))


def test_temperature_moves_only_the_raw_margin():
    once, twice = (margins(ls.Objective(Logits(t), (X, y), "cross_entropy")) for t in (1.0, 2.0))
    assert twice[0].value == pytest.approx(2 * once[0].value)
    assert twice[1].value == pytest.approx(once[1].value)


def test_ignored_targets_do_not_count():
    ignored = torch.tensor([0, 2, -100, 0])
    raw, _ = margins(ls.Objective(Logits(), (X, ignored), "cross_entropy"), percentile=0.0)
    assert raw.value == pytest.approx(2.0)


@pytest.mark.parametrize(("classes", "floor"), [(2, 0.21762), (3, 0.46226), (10, 1.41987), (100, 3.61730)])
def test_floor_of_the_normalised_cross_entropy(classes, floor):
    right = 1e3 * torch.eye(classes, dtype=torch.float64)
    objective = ls.Objective(Logits(), (right, torch.arange(classes)), "cross_entropy")
    assert logit_normalized(objective).loss() == pytest.approx(floor, abs=5e-6)


def test_chance_of_the_normalised_cross_entropy():
    flat = torch.full((4, 10), 3.0, dtype=torch.float64)
    objective = ls.Objective(Logits(), (flat, torch.arange(4)), "cross_entropy")
    assert logit_normalized(objective).loss() == pytest.approx(torch.tensor(10.0).log().item())


def test_normalised_logits_are_centred_and_of_unit_length():
    z = normalize_logits(torch.randn(5, 4, dtype=torch.float64))
    assert torch.allclose(z.mean(1), torch.zeros(5, dtype=torch.float64))
    assert torch.allclose(z.norm(dim=1), torch.ones(5, dtype=torch.float64))


def test_the_loss_of_log_probabilities_is_that_of_logits():
    with_logits = ls.Objective(Logits(), (X, y), "cross_entropy")
    log_probabilities = ls.Objective(Logits(), (X.log_softmax(1), y), "nll_loss")
    assert logit_normalized(log_probabilities).loss() == pytest.approx(logit_normalized(with_logits).loss())


def test_calibration_error_by_hand():
    confidence = torch.tensor([0.95, 0.95, 0.55, 0.55]).double()
    right = torch.tensor([True, True, True, False])
    assert expected_calibration_error(confidence, right) == pytest.approx(0.5 * 0.05 + 0.5 * 0.05)
    assert expected_calibration_error(torch.ones(3), torch.tensor([True, True, True])) == 0.0


def test_confidence_and_logit_norm(classifier):
    objective = classifier()
    logits = objective.outputs()
    _, confidence, length = calibration(objective)
    assert confidence.value == pytest.approx(float(logits.softmax(1).max(1).values.mean()))
    assert length.value == pytest.approx(float((logits - logits.mean(1, keepdim=True)).norm(dim=1).mean()))


def test_input_jacobian_of_a_linear_softmax():
    generator = torch.Generator().manual_seed(0)
    X, W = torch.randn(5, 4, generator=generator).double(), torch.randn(3, 4, generator=generator).double()
    net = nn.Linear(4, 3, bias=False).double()
    with torch.no_grad():
        net.weight.copy_(W)
    objective = ls.Objective(net, (X, torch.arange(5) % 3), "cross_entropy")
    p = (X @ W.T).softmax(1)
    S = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    raw, normalized = input_jacobian(objective)
    assert raw.value == pytest.approx(float((S @ W).flatten(1).norm(dim=1).mean()), rel=1e-12)
    double = input_jacobian(objective.at(2 * objective.theta))
    assert double[1].value == pytest.approx(normalized.value, rel=1e-12)
    assert double[0].value != pytest.approx(raw.value, rel=1e-3)


def test_integer_inputs_have_no_jacobian():
    net = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3))
    objective = ls.Objective(net, (torch.ones(4, 2, dtype=torch.long), torch.arange(4) % 3), "cross_entropy")
    with pytest.raises(NotDefinedError, match="floating-point"):
        input_jacobian(objective)


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


def test_kernel_movement_is_zero_at_the_start_and_positive_after():
    made = checkpoint()
    objective = made.objective()
    still = ntk_movement(objective.at(made.init), checkpoint=made)
    assert [row.value for row in still] == pytest.approx([0.0, 0.0], abs=1e-12)
    assert all(row.value > 0.01 for row in ntk_movement(objective, checkpoint=made))


def test_scaling_a_linear_model_does_not_turn_its_kernel():
    net = nn.Linear(3, 2).double()
    init = {name: 0.1 * tensor for name, tensor in net.state_dict().items()}
    made = ls.Checkpoint(net, loss="cross_entropy", train=(torch.eye(3).double(), torch.tensor([0, 1, 0])), init=init)
    movement, distance = ntk_movement(made.objective(), checkpoint=made)
    assert movement.value == pytest.approx(0.0, abs=1e-12)
    assert distance.value == pytest.approx(0.0, abs=1e-12)


def test_alignment_is_higher_for_the_labels_that_were_learned(classifier):
    objective = classifier(n=60, fit=200)
    X, y = objective.batches[0].inputs, objective.targets
    shuffled = y[torch.randperm(len(y), generator=torch.Generator().manual_seed(0))]
    random = ls.Objective(objective.model, (X, shuffled), "cross_entropy")
    assert ntk_alignment(objective)[0].value > 2 * ntk_alignment(random)[0].value


def test_one_class_has_no_alignment(classifier):
    objective = classifier(fit=1)
    same = ls.Objective(
        objective.model, (objective.batches[0].inputs, torch.zeros(60, dtype=torch.long)), "cross_entropy"
    )
    with pytest.raises(NotDefinedError, match="same label"):
        ntk_alignment(same)


def test_unknown_initial_weights():
    made = checkpoint(with_init=False)
    for compute in (distance_from_init, ntk_movement):
        with pytest.raises(NotDefinedError, match="initial weights are not known"):
            compute(made.objective(), checkpoint=made)
        with pytest.raises(NotDefinedError, match="initial weights are not known"):
            compute(made.objective())


def test_relative_movement_is_finite_for_floats():
    assert np.isfinite(distance_from_init(checkpoint().objective(), checkpoint=checkpoint())[1].value)


def linear(X, W, **options):
    net = nn.Linear(X.shape[1], len(W), bias=False).double()
    with torch.no_grad():
        net.weight.copy_(W)
    return ls.Objective(net, (X, torch.zeros(len(X), dtype=torch.long)), "cross_entropy", **options)


def test_two_classes_of_a_linear_network_in_closed_form():
    """The decision changes in the box exactly when |margin| < r ‖w₁ − w₀‖₁."""
    generator = torch.Generator().manual_seed(0)
    X, W = torch.randn(200, 3, generator=generator).double(), torch.randn(2, 3, generator=generator).double()
    difference = W[1] - W[0]
    for row in critical_sample_ratio(linear(X, W), radii=[0.1, 0.3, 1.0]):
        half = row.radius * X.std(correction=0)
        expected = ((X @ difference).abs() < half * difference.abs().sum()).double().mean()
        assert row.value == float(expected)


def test_grows_with_the_box_and_needs_no_labels(classifier):
    objective = classifier()
    small, large = critical_sample_ratio(objective, radii=[0.05, 0.5])
    assert 0 < small.value < large.value <= 1
    other = objective.on((objective.batches[0].inputs, (objective.targets + 1) % 3))
    assert critical_sample_ratio(other, radii=[0.05])[0].value == small.value


def test_finds_at_least_what_many_random_points_find(classifier):
    objective = classifier()
    X, decision = objective.batches[0].inputs, objective.outputs().argmax(1)
    generator, found = torch.Generator().manual_seed(0), torch.zeros(objective.n, dtype=torch.bool)
    for _ in range(300):
        noise = 0.3 * X.std(correction=0) * (2 * torch.rand(X.shape, generator=generator).double() - 1)
        found |= objective.on((X + noise, objective.targets)).outputs().argmax(1) != decision
    assert critical_sample_ratio(objective, radii=[0.3])[0].value >= float(found.double().mean()) > 0


def test_the_unit_of_the_inputs_does_not_matter_and_an_empty_or_full_ratio_says_so():
    generator = torch.Generator().manual_seed(0)
    X, W = torch.randn(200, 3, generator=generator).double(), torch.randn(2, 3, generator=generator).double()
    rows = critical_sample_ratio(linear(X, W), radii=[1e-6, 0.1, 30.0])
    other = critical_sample_ratio(linear(255 * X, W / 255), radii=[1e-6, 0.1, 30.0])
    assert [row.value for row in rows] == [row.value for row in other]
    assert ["larger radii" in rows[0].note, rows[1].note, "saturated" in rows[2].note] == [True, "", True]
    with pytest.raises(NotDefinedError, match="are the same"):
        critical_sample_ratio(linear(torch.ones(5, 3).double(), W))


def test_no_reparametrisation_moves_it(classifier):
    report = ls.audit(classifier(), ["critical-sample-ratio"])
    assert report.survived("critical-sample-ratio") == ("T1", "T2", "T4", "T5", "T7")


def test_not_defined(classifier):
    net = nn.Sequential(nn.Embedding(5, 4), nn.Flatten(), nn.Linear(8, 3))
    tokens = ls.Objective(net, (torch.ones(4, 2, dtype=torch.long), torch.arange(4) % 3), "cross_entropy")
    with pytest.raises(NotDefinedError, match="floating-point"):
        critical_sample_ratio(tokens)
    dense = ls.Objective(
        nn.Conv1d(1, 3, 1), (torch.eye(4)[:, None], torch.zeros(4, 4, dtype=torch.long)), "cross_entropy"
    )
    with pytest.raises(NotDefinedError, match=r"expected \(N, C\)"):
        critical_sample_ratio(dense)
    with pytest.raises(LandscapeError, match="at least 1"):
        critical_sample_ratio(classifier(fit=1), iterations=0)


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
