"""Prefix reuse: the traced and cut network gives the plain one's values, and is only used where it pays."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import landscape as ls
from landscape.models import mlp, resnet, small_cnn
from landscape.slices import reusing
from landscape.slices.evaluate import Plain
from landscape.slices.reusing import Reusing, cut


def images(n=6, channels=1, size=8, classes=10):
    generator = torch.Generator().manual_seed(0)
    return (
        torch.randn(n, channels, size, size, generator=generator),
        torch.randint(classes, (n,), generator=generator),
    )


class Tokens(nn.Module):
    """Embedding, attention and a tied output layer."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(11, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.out = nn.Linear(8, 11, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, tokens):
        x = self.embedding(tokens)
        return self.out(self.norm(x + self.attention(x, x, x)[0]).mean(1))


class Gated(nn.Module):
    """Products of two affine maps, a residual and pooling: affine nodes that meet nonlinear ones."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 5), nn.Linear(6, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.c(self.a(x) * self.b(x) + self.a(x) / 2 - F.pad(self.b(x)[:, 1:], (0, 1)))


def vectors(n=9, size=6, classes=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(n, size, generator=generator), torch.randint(classes, (n,), generator=generator)


CASES = {
    "mlp": lambda: (mlp((6, 5, 3)), vectors()),
    "deep linear": lambda: (mlp((6, 5, 3), activation="none"), vectors()),
    "linear": lambda: (nn.Linear(6, 3), vectors()),
    "gated": lambda: (Gated(), vectors()),
    "cnn": lambda: (small_cnn(), images()),
    "resnet": lambda: (resnet(8, width=4), images(channels=3)),
    "norm first": lambda: (nn.Sequential(nn.BatchNorm1d(6), nn.Linear(6, 3), nn.Tanh(), nn.Linear(3, 3)), vectors()),
    "tokens": lambda: (Tokens(), (torch.arange(28).reshape(4, 7) % 11, torch.arange(4))),
    "in-place relu": lambda: (nn.Sequential(nn.Linear(6, 5), nn.ReLU(inplace=True), nn.Linear(5, 3)), vectors()),
}


def both(objective, directions, **options):
    """Evaluate a row of a plane by the cut network and by the plain one: (points, metrics) of each."""
    tables = []
    with objective.guard(), torch.no_grad():
        for kind, chosen in ((Reusing, options), (Plain, {})):
            evaluator = kind(objective, objective.theta, torch.as_tensor(directions.vectors), **chosen)
            evaluator.start_row([-1.0, 0.0, 0.7], [-0.4])
            rows = []
            for i in range(3):
                evaluator.move(i)
                shares = [list(map(float, evaluator.shares(k, b).values())) for k, b in enumerate(objective.batches)]
                rows.append(np.sum(shares, axis=0))
            tables.append(np.array(rows))
    return tables


@pytest.mark.parametrize("threshold", [0, 4])
@pytest.mark.parametrize("vectors_as", ["zero", "keep"])
@pytest.mark.parametrize("case", CASES)
def test_the_cut_network_gives_the_values_of_the_network(case, vectors_as, threshold, monkeypatch):
    monkeypatch.setitem(reusing.FLOPS_A_BYTE, "cpu", threshold)  # 0: take out whatever is affine
    model, data = CASES[case]()
    objective = ls.Objective(model, data, "cross_entropy", dtype=torch.float64, batch_size=4)
    directions = ls.random_directions(objective, 2, vectors=vectors_as)
    found, expected = both(objective, directions)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)


def saved_by(model, data, moving):
    objective = ls.Objective(model, data, "cross_entropy")
    with objective.guard(), torch.no_grad():
        return cut(objective, objective.batches[0], moving)


def test_the_first_layer_and_what_lies_before_the_first_moving_one_are_taken_out():
    model, data = mlp((784, 256, 10)), (torch.rand(8, 784), torch.randint(10, (8,)))
    program = saved_by(model, data, ["linear1.weight", "linear2.weight"])
    assert program.saved == pytest.approx(784 * 256 / (784 * 256 + 2560))
    assert len(program.hoisted) == 1
    deep, pictures = resnet(8, width=4), images(channels=3)
    last = [name for name, _ in deep.named_parameters()][-2:]
    assert saved_by(deep, pictures, last).saved > 0.99
    assert saved_by(deep, pictures, [name for name, _ in deep.named_parameters()]).saved < 0.2
    model, data = CASES["tokens"]()  # lookups are not taken out
    assert saved_by(model, data, [name for name, _ in model.named_parameters()]).hoisted == ()


def test_tracing_is_used_for_many_points_where_it_pays_and_recorded():
    model, data = mlp((784, 16, 10)), (torch.rand(8, 784), torch.randint(10, (8,)))
    objective = ls.Objective(model, data, "cross_entropy")
    d = ls.random_directions(objective, 2)
    assert "computed once" in ls.plane(objective, d, points=8).evaluation
    assert "called at every point" in ls.plane(objective, d, points=7).evaluation
    deep = ls.Objective(resnet(20, width=8), images(n=2, channels=3), "cross_entropy")
    assert "called at every point" in ls.line(deep, ls.random_directions(deep, 1), points=64).evaluation


class Opaque(nn.Module):
    """Reads a value of a tensor in Python, which a trace cannot follow."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(784, 5)

    def forward(self, x):
        out = self.first(x)
        return out * float(out.detach().numpy().mean())


def test_a_network_that_cannot_be_traced_faithfully_is_called_plainly():
    objective = ls.Objective(Opaque(), (torch.rand(8, 784), torch.arange(8) % 5), "cross_entropy", batches="fixed")
    d = ls.random_directions(objective, 1)
    found = ls.line(objective, d, points=64)
    assert "called at every point" in found.evaluation
    expected = objective.loss(objective.theta - torch.as_tensor(d.vectors[0]))
    assert found.loss[0] == pytest.approx(expected, rel=1e-6)
    shapes = [(torch.rand(n, 784), torch.arange(n) % 5) for n in range(2, 8)]  # too many to trace each
    objective = ls.Objective(nn.Linear(784, 5), shapes, "cross_entropy")
    assert "called" in ls.line(objective, ls.random_directions(objective, 1), points=64).evaluation


def test_metrics_and_several_data_sets_go_through_the_cut_network():
    model, data = mlp((784, 16, 10)), (torch.rand(40, 784), torch.randint(10, (40,)))
    objective = ls.Objective(model, data, "cross_entropy", batch_size=16, metrics={"largest": lambda o, t: o.amax(1)})
    test = objective.on((torch.rand(9, 784), torch.randint(10, (9,))))
    d = ls.random_directions(objective, 2)
    surface = ls.plane(objective, d, points=9, also={"test": test})
    assert surface.evaluation.count("computed once") == 2
    theta = objective.theta + torch.as_tensor(d.vectors[0] * surface.x[2] + d.vectors[1] * surface.y[7])
    for name, one in (("train", objective), ("test", test)):
        for metric, value in one.evaluate(theta).items():
            assert surface.value(metric, name)[7, 2] == pytest.approx(value, rel=1e-5)


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("case", ["mlp", "cnn", "gated"])
def test_several_points_together_give_the_same_values(case, resident):
    model, data = CASES[case]()
    objective = ls.Objective(model, data, "cross_entropy", dtype=torch.float64, batch_size=4, resident=resident)
    d = ls.random_directions(objective, 2)
    expected = ls.plane(objective, d, points=(5, 3), span=0.7)  # coordinates that single precision would round
    found = ls.plane(objective, d, points=(5, 3), span=0.7, together=2)
    assert "2 points together" in found.evaluation
    for name, value in expected.values.items():
        np.testing.assert_allclose(found.values[name], value, rtol=1e-12, atol=1e-13)


@pytest.fixture
def uncompiled(monkeypatch):
    """Everything that comes before the compiler, without the minutes it takes."""
    made = []
    monkeypatch.setattr(torch, "compile", lambda module, **options: made.append(options) or module)
    return made


class Convolutions(nn.Module):
    """Convolutions with and without bias, norm and groups, a norm without parameters, a transposed one, a shared output."""

    def __init__(self):
        super().__init__()
        self.a = nn.Conv2d(3, 6, 3, padding=1)
        self.norm_a = nn.BatchNorm2d(6)
        self.b = nn.Conv2d(6, 6, 3, padding=1, stride=2, groups=2, bias=False)
        self.norm_b = nn.BatchNorm2d(6, affine=False)
        self.c = nn.Conv2d(6, 6, 3, padding=2, dilation=2)
        self.norm_c = nn.BatchNorm2d(6)
        self.up = nn.ConvTranspose2d(6, 4, 2)
        self.out = nn.Linear(4, 10)

    def forward(self, x):
        x = self.norm_a(self.a(x)).relu()
        x = self.norm_b(self.b(x)).relu()
        y = self.c(x)
        return self.out(self.up(x + y.relu() + self.norm_c(y)).mean((2, 3)))


def shuffled_statistics(net):
    generator = torch.Generator().manual_seed(1)
    for name, buffer in net.named_buffers():
        if "running" in name:
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return net


@pytest.mark.parametrize("cache", [1, 20_000, 1 << 30])
@pytest.mark.parametrize("vectors_as", ["zero", "keep"])
@pytest.mark.parametrize("make", [Convolutions, lambda: resnet(8, width=4), small_cnn])
def test_folded_norms_and_parts_of_batches_give_the_values_of_the_network(
    make, vectors_as, cache, uncompiled, monkeypatch
):
    monkeypatch.setattr(reusing, "CACHE_BYTES", cache)
    torch.manual_seed(0)
    net = shuffled_statistics(make())
    channels = next(net.parameters()).shape[1]
    objective = ls.Objective(net, images(n=11, channels=channels), "cross_entropy", batch_size=8)
    directions = ls.random_directions(objective, 2, vectors=vectors_as)
    found, expected = both(objective, directions, compiled=True)
    np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=1e-5)
    assert uncompiled  # the traced network was used
    assert not any(options["options"]["triton.cudagraphs"] for options in uncompiled)  # CUDA graphs are for CUDA


def test_a_norm_behind_a_convolution_is_folded_into_its_weights():
    objective = ls.Objective(Convolutions(), images(channels=3), "cross_entropy")
    with objective.guard(), torch.no_grad():
        program = cut(objective, objective.batches[0], list(objective.names), fused=True)
    operations = [str(node.target) for node in program.rest.module.graph.nodes]
    assert operations.count("mkldnn._convolution_pointwise.default") == 3
    assert operations.count("aten.native_batch_norm.default") == 1  # of the convolution that is used twice
    assert not any("rsqrt" in operation for operation in operations)  # weights are folded once a point
    assert sum("clone" in node.name for node in program.prepared) == 3


def test_a_batch_is_cut_so_that_its_activations_fit_the_cache(uncompiled, monkeypatch):
    widest = 4 * 4 * 8 * 8  # bytes per example after the first convolution
    monkeypatch.setattr(reusing, "CACHE_BYTES", 3 * widest)
    objective = ls.Objective(resnet(8, width=4), images(n=8, channels=3), "cross_entropy")
    with objective.guard(), torch.no_grad():
        made = Reusing(objective, objective.theta, torch.ones(1, objective.size), compiled=True)
        plain = Reusing(objective, objective.theta, torch.ones(1, objective.size))
    assert [len(parts) for parts in made.batches] == [3]
    assert [len(parts) for parts in plain.batches] == [1]
    assert len(uncompiled) == 2  # 3, 3 and 2 examples: two shapes


class Mixing(nn.Linear):
    def forward(self, x):
        return super().forward(x - x.mean(0))


def test_networks_whose_outputs_mix_examples_are_not_cut_into_parts(uncompiled, monkeypatch):
    monkeypatch.setattr(reusing, "CACHE_BYTES", 48)
    objective = ls.Objective(Mixing(6, 3), vectors(), "cross_entropy", batches="fixed")
    d = ls.random_directions(objective, 1)
    found = ls.line(objective, d, points=3, compiled=True)
    np.testing.assert_allclose(found.loss, ls.line(objective, d, points=3).loss, rtol=1e-6)
    assert "traced and compiled" in found.evaluation


def test_a_compiler_that_fails_is_told_in_one_line(monkeypatch):
    def fails(*arguments):
        raise RuntimeError("no C++ compiler\nfound here")

    monkeypatch.setattr(torch, "compile", lambda module, **options: fails)
    objective = ls.Objective(mlp((6, 5, 3)), vectors(), "cross_entropy")
    with pytest.raises(ls.LandscapeError, match=r"could not be compiled \(RuntimeError: no C\+\+ compiler\); pass"):
        ls.line(objective, ls.random_directions(objective, 1), points=3, compiled=True)


@pytest.mark.slow
def test_the_compiled_network_gives_the_values_of_the_network():
    objective = ls.Objective(resnet(8, width=4), images(channels=3), "cross_entropy")
    found, expected = both(objective, ls.random_directions(objective, 2), compiled=True)
    np.testing.assert_allclose(found[:, 0], expected[:, 0], rtol=1e-5)
