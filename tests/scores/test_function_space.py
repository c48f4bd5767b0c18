import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.errors import NotDefinedError
from landscape.scores.calibration import calibration, expected_calibration_error
from landscape.scores.distance import distance_from_init
from landscape.scores.input_jacobian import input_jacobian
from landscape.scores.tangent_kernel import ntk_alignment, ntk_movement, tangent_kernel


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
