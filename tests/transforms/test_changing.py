"""Temperature, batch-norm folding and logit normalisation."""

import math

import pytest
import torch
from torch import nn

from landscape import LandscapeError, NotDefinedError
from landscape.transforms import (
    LogitNormalized,
    fold_batch_norm,
    normalize_logits,
    normalized_cross_entropy,
    temperature,
)


@pytest.mark.parametrize("name", ["mlp", "cnn", "resnet", "transformer", "char", "mlp-gelu"])
@pytest.mark.parametrize("t", [0.25, 4.0])
def test_temperature_multiplies_every_logit(build, name, t):
    model, inputs = build(name)
    result = temperature(model, inputs, t=t)
    model.eval()
    result.model.eval()
    before, after = model(inputs).detach(), result.model(inputs).detach()
    assert torch.allclose(after, t * before)
    assert torch.equal(after.argmax(1), before.argmax(1))
    expected = (before.softmax(1) - after.softmax(1)).abs().max()
    assert result.change == pytest.approx(float(expected))


@pytest.mark.parametrize(("name", "norms"), [("cnn", 2), ("resnet", 7)])
def test_folding_removes_every_norm_and_changes_nothing(build, name, norms):
    model, inputs = build(name)
    result = fold_batch_norm(model, inputs)
    assert len(result.where) == norms
    assert result.change < 1e-12
    assert not any(isinstance(m, nn.BatchNorm2d) for m in result.model.modules())
    assert sum(isinstance(m, nn.BatchNorm2d) for m in model.modules()) == norms


def test_folding_is_the_published_formula(build):
    model, inputs = build("cnn")
    new, norm, conv = fold_batch_norm(model, inputs).model, model.norm1, model.conv1
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    assert torch.allclose(new.conv1.weight, conv.weight * scale[:, None, None, None])
    assert torch.allclose(new.conv1.bias, norm.bias + scale * (conv.bias - norm.running_mean))


def test_folding_leaves_alone_what_reads_the_layer_twice_or_comes_first():
    class Peek(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.norm, self.head = nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)

        def forward(self, x):
            h = self.layer(x)
            return self.head(self.norm(h) * h)

    x = torch.zeros(3, 6)
    first = nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3))
    for net in (Peek(), first, nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.BatchNorm1d(4), nn.Linear(4, 2))):
        with pytest.raises(LandscapeError, match="nothing to fold"):
            fold_batch_norm(net, x)
    linear = nn.Sequential(nn.Linear(6, 4, bias=False), nn.BatchNorm1d(4, affine=False), nn.Linear(4, 2))
    assert fold_batch_norm(linear, x).where == ("0",)


@pytest.mark.parametrize(("classes", "floor"), [(2, 0.21762), (3, 0.46226), (10, 1.41987), (100, 3.61730)])
def test_floor_of_the_normalised_cross_entropy(classes, floor):
    perfect = 50 * torch.eye(classes, dtype=torch.float64)
    target = torch.arange(classes)
    assert normalized_cross_entropy(perfect, target).item() == pytest.approx(floor, abs=5e-6)
    closed = math.log(1 + (classes - 1) * math.exp(-math.sqrt(classes / (classes - 1))))
    assert normalized_cross_entropy(perfect, target).item() == pytest.approx(closed, rel=1e-12)
    flat = torch.zeros(classes, classes, dtype=torch.float64)
    assert normalized_cross_entropy(flat, target).item() == pytest.approx(math.log(classes))
    assert normalized_cross_entropy(perfect, target, reduction="none").shape == (classes,)


def test_normalised_logits_forget_shift_and_temperature():
    z = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shift = torch.linspace(-3, 3, 12, dtype=torch.float64).reshape(4, 1, 3)
    assert torch.allclose(normalize_logits(7 * z + shift), normalize_logits(z))
    assert torch.allclose(normalize_logits(z).norm(dim=1), torch.ones(4, 3, dtype=torch.float64))
    assert torch.equal(normalize_logits(torch.full((2, 3), 4.0)), torch.zeros(2, 3))
    with pytest.raises(NotDefinedError, match="regression"):
        normalize_logits(torch.zeros(4, 1))
    with pytest.raises(NotDefinedError, match="classes"):
        normalize_logits(torch.zeros(4))


def test_the_wrapper_normalises_and_differentiates_the_network_it_holds(build):
    model, inputs = build("mlp")
    wrapped = LogitNormalized(model)
    assert torch.allclose(wrapped(inputs), normalize_logits(model(inputs)))
    hotter = LogitNormalized(temperature(model, inputs, t=4.0).model)
    assert torch.allclose(hotter(inputs), wrapped(inputs))
    wrapped(inputs)[:, 0].sum().backward()
    assert model.linear1.weight.grad is not None
