import pytest
import torch

import landscape as ls
from landscape.errors import NotDefinedError
from landscape.operators import Hessian
from landscape.scores.relative_flatness import feature_scale, relative_flatness
from landscape.transforms.head import gauge_fixed, head_of


def features_of(objective):
    features = []
    handle = objective.model.linear3.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
    objective.outputs()
    handle.remove()
    return features[0]


def test_closed_forms_by_brute_force(classifier):
    objective = classifier(activation="gelu")
    W = objective.space.unflatten(objective.theta)["linear3.weight"]
    H = Hessian(objective).block("linear3.weight").dense().reshape(*W.shape, *W.shape)
    scale = feature_scale(features_of(objective))
    found = {row.name: row.value for row in relative_flatness(objective)}
    for name, units in {"relative-flatness-raw": torch.ones_like(scale), "relative-flatness": scale}.items():
        V, G = W * units, H / torch.outer(units, units)[:, None, :]
        expected = float(torch.einsum("sj,tj,st->", V, V, torch.einsum("sktk->st", G)))
        assert found[name] == pytest.approx(expected, rel=1e-12 if "raw" in name else 1e-10)
    largest = [torch.linalg.eigvalsh(H[s, :, s, :] / torch.outer(scale, scale))[-1] for s in range(len(W))]
    expected = float((W * scale).square().sum(1) @ torch.stack(largest))
    assert found["relative-flatness-max"] == pytest.approx(expected, rel=1e-10)


def test_features_are_divided_by_the_deviation_not_the_variance():
    features = torch.tensor([[0.0, 5.0, 0.0], [4.0, 5.0, 0.0]])
    assert feature_scale(features).tolist() == [2.0, 5.0, 0.0]  # varying, constant, dead


def test_dead_features_do_not_break_the_invariance(classifier):
    objective = classifier(sizes=(6, 12, 9, 3))
    before = relative_flatness(objective)[0].value
    moved = ls.transforms.node_scale(objective.model, objective.batches[0].inputs, seed=1)
    after = relative_flatness(objective.at(moved.model.state_dict()))[0].value
    assert after == pytest.approx(before, rel=1e-9)


class Reused(torch.nn.Module):
    """A linear layer whose outputs are not the logits as they are."""

    def __init__(self, way):
        super().__init__()
        self.linear, self.way = torch.nn.Linear(3, 3), way

    def forward(self, x):
        return self.way(self.linear, x)


def test_what_has_no_head_of_its_own(regression):
    data = (torch.eye(3), torch.arange(3))
    doubled = ls.Objective(Reused(lambda linear, x: 2 * linear(x)), data, "cross_entropy")
    with pytest.raises(NotDefinedError, match="not the outputs of 'linear' as they are"):
        relative_flatness(doubled)
    assert head_of(ls.Objective(Reused(lambda linear, x: linear(linear(x))), data, "cross_entropy")) is None
    assert gauge_fixed(regression) == (regression, ())


def test_gauge_fix_keeps_the_probabilities_and_removes_the_mean_row(classifier):
    objective = classifier()
    fixed, _ = gauge_fixed(objective)
    assert torch.allclose(fixed.outputs().softmax(1), objective.outputs().softmax(1), atol=1e-13)
    weight = fixed.space.unflatten(fixed.theta)["linear3.weight"]
    assert float(weight.mean(0).abs().max()) < 1e-15
