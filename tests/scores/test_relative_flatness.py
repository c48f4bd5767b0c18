import pytest
import torch

import landscape as ls
from landscape.errors import NotDefinedError
from landscape.operators import Hessian
from landscape.scores.relative_flatness import feature_scale, relative_flatness
from landscape.transforms.head import gauge_fixed, head_of


def brute_force(objective, name):
    W = objective.space.unflatten(objective.theta)[name]
    H = Hessian(objective).block(name).dense().reshape(*W.shape, *W.shape)
    return float(torch.einsum("sj,tj,st->", W, W, torch.einsum("sktk->st", H)))


def features_of(objective):
    features = []
    handle = objective.model.linear3.register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
    objective.outputs()
    handle.remove()
    return features[0]


def test_closed_form_of_a_softmax_layer_to_twelve_digits(classifier):
    objective = classifier(activation="gelu")
    raw = next(r for r in relative_flatness(objective) if r.name == "relative-flatness-raw")
    assert raw.value == pytest.approx(brute_force(objective, "linear3.weight"), rel=1e-12)


def test_largest_eigenvalue_form_by_brute_force(classifier):
    objective = classifier(activation="gelu")
    scale = feature_scale(features_of(objective))
    W = objective.space.unflatten(objective.theta)["linear3.weight"]
    H = Hessian(objective).block("linear3.weight").dense().reshape(*W.shape, *W.shape)
    expected = sum(
        float((W[s] * scale).square().sum() * torch.linalg.eigvalsh(H[s, :, s, :] / torch.outer(scale, scale))[-1])
        for s in range(len(W))
    )
    found = next(r for r in relative_flatness(objective) if r.name == "relative-flatness-max")
    assert found.value == pytest.approx(expected, rel=1e-10)


def test_normalised_form_by_brute_force(classifier):
    objective = classifier(activation="gelu")
    scale = feature_scale(features_of(objective))
    W = objective.space.unflatten(objective.theta)["linear3.weight"] * scale
    H = Hessian(objective).block("linear3.weight").dense().reshape(*W.shape, *W.shape)
    H = H / torch.outer(scale, scale)[:, None, :]
    expected = float(torch.einsum("sj,tj,st->", W, W, torch.einsum("sktk->st", H)))
    assert relative_flatness(objective)[0].value == pytest.approx(expected, rel=1e-10)


def test_features_are_divided_by_the_deviation_not_the_variance():
    features = torch.tensor([[0.0, 5.0, 0.0], [4.0, 5.0, 0.0]])
    assert feature_scale(features).tolist() == [2.0, 5.0, 0.0]  # varying, constant, dead


def test_dead_features_do_not_break_the_invariance(classifier):
    objective = classifier(sizes=(6, 12, 9, 3))
    before = relative_flatness(objective)[0].value
    moved = ls.transforms.node_scale(objective.model, objective.batches[0].inputs, seed=1)
    after = relative_flatness(objective.at(moved.model.state_dict()))[0].value
    assert after == pytest.approx(before, rel=1e-9)


def test_logits_that_are_scaled_on_their_way_no_score():
    class Doubled(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(3, 3)

        def forward(self, x):
            return 2 * self.linear(x)

    objective = ls.Objective(Doubled(), (torch.eye(3), torch.arange(3)), "cross_entropy")
    with pytest.raises(NotDefinedError, match="not the outputs of 'linear' as they are"):
        relative_flatness(objective)


def test_a_layer_used_twice_is_no_head():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(3, 3)

        def forward(self, x):
            return self.linear(self.linear(x))

    assert head_of(ls.Objective(Twice(), (torch.eye(3), torch.arange(3)), "cross_entropy")) is None


def test_gauge_fix_keeps_the_probabilities_and_removes_the_mean_row(classifier):
    objective = classifier()
    fixed, _ = gauge_fixed(objective)
    assert torch.allclose(fixed.outputs().softmax(1), objective.outputs().softmax(1), atol=1e-13)
    weight = fixed.space.unflatten(fixed.theta)["linear3.weight"]
    assert float(weight.mean(0).abs().max()) < 1e-15


def test_regression_has_no_gauge(regression):
    assert gauge_fixed(regression) == (regression, ())
