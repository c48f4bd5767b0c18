"""Calling the network with other tensors: every place filled once, and nothing left in it."""

import copy

import pytest
import torch
from torch import nn

import landscape as ls
from landscape.function.forward import Bound, places

X, Y = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 4


class Repeated(nn.Module):
    """One layer under three names, as in networks that share weights over depth, and a weight that two layers share."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 4, bias=False)
        self.again = self.first
        self.blocks = nn.ModuleList([self.first, nn.BatchNorm1d(4), nn.Linear(4, 4, bias=False)])
        self.last.weight = self.blocks[2].weight

    def forward(self, x):
        for block in (self.first, self.again, *self.blocks):
            x = block(x).tanh()
        return self.last(x)


def state(model):
    return {
        name: (id(tensor), tensor.detach().clone(), tensor.requires_grad, tensor.grad)
        for name, tensor in [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
    }


def assert_same(before, after):
    assert before.keys() == after.keys()
    for name, (identity, value, requires_grad, grad) in before.items():
        assert after[name][0] == identity, name
        assert torch.equal(after[name][1], value), name
        assert (after[name][2], after[name][3]) == (requires_grad, grad), name


def test_places_list_a_module_once_and_a_shared_tensor_under_its_first_name():
    model = Repeated()
    assert places(model) == {
        "first.weight": "first.weight",
        "first.bias": "first.bias",
        "last.weight": "last.weight",
        "blocks.1.weight": "blocks.1.weight",
        "blocks.1.bias": "blocks.1.bias",
        "blocks.1.running_mean": "blocks.1.running_mean",
        "blocks.1.running_var": "blocks.1.running_var",
        "blocks.1.num_batches_tracked": "blocks.1.num_batches_tracked",
        "blocks.2.weight": "last.weight",
    }
    assert set(dict(model.named_parameters())) <= set(places(model).values())


WORK = {
    "loss elsewhere": lambda o: o.loss(o.theta + 1),
    "gradient elsewhere": lambda o: o.gradient(o.theta + 1),
    "product": lambda o: ls.Hessian(o) @ o.theta,
    "line": lambda o: ls.line(o, ls.random_directions(o, n=1), points=3),
    "score": lambda o: ls.sharpness(o, ["adaptive-worst-linf", "adaptive-average"]),
    "statistics": lambda o: o.recalibrated(),
    "checkpoint": lambda o: ls.Checkpoint(o.model, loss="cross_entropy", train=(X, Y)).objective("train").loss(),
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK)
def test_a_module_with_several_names_is_left_as_it_was(work):
    model = Repeated()
    before = state(model)
    work(ls.Objective(model, (X, Y), "cross_entropy", dtype=torch.float64))
    assert_same(before, state(model))


def test_a_module_with_several_names_is_left_as_it_was_after_an_exception():
    model = Repeated()
    before = state(model)

    def fail(network):
        raise KeyError

    with pytest.raises(KeyError):
        Bound(model).call({name: torch.zeros(()) for name in dict(model.named_parameters())}, fail)
    assert_same(before, state(model))


def test_every_place_holds_the_tensor_that_was_given_for_it():
    model = Repeated()
    given = {name: torch.randn_like(tensor) for name, tensor in model.named_parameters()}
    filled = copy.deepcopy(model).eval()
    filled.load_state_dict(given, strict=False)
    with torch.no_grad():
        filled.blocks[2].weight.copy_(given["last.weight"])
    torch.testing.assert_close(Bound(model.eval()).call(given, lambda network: network(X)), filled(X))


class OwnNorm(nn.Module):
    """Keeps a running mean, but counts no batches."""

    def __init__(self):
        super().__init__()
        self.momentum = 0.1
        self.register_buffer("running_mean", torch.full((4,), 0.5))

    def forward(self, x):
        return x - (x.mean(0) if self.training else self.running_mean)


@pytest.mark.parametrize("norm", [OwnNorm, lambda: nn.BatchNorm1d(4, track_running_stats=False)])
def test_statistics_that_are_not_kept_as_pytorch_keeps_them_are_left(norm):
    torch.manual_seed(0)
    objective = ls.Objective(nn.Sequential(norm(), nn.Linear(4, 4)), (X, Y), "cross_entropy")
    assert objective.recalibrated().loss() == objective.loss()


def test_a_network_that_is_a_norm_layer_has_its_statistics_estimated():
    objective = ls.Objective(nn.BatchNorm1d(4), (X + 3, Y), "cross_entropy").recalibrated()
    torch.testing.assert_close(objective.fixed["running_mean"], X.mean(0) + 3)
