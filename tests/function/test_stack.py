"""Networks evaluated together give what each gives by itself."""

from functools import partial

import pytest
import torch
from torch import nn

import landscape as ls
from landscape.function.stack import Stack, stacks
from landscape.models import mlp, resnet, transformer
from landscape.scores.panel import Panel

DECIDING = ["adaptive-worst-symmetric", "adaptive-average", "inverse-sigma-mag"]
KINDS = {
    "mlp": partial(mlp, (16, 6, 4)),
    "resnet": partial(resnet, 8, width=2, in_channels=1, classes=4),
    "transformer": partial(transformer, (1, 4, 4), patch=2, classes=4, width=4, heads=2, layers=1),
}


def objectives(kind, count=3, n=40, dtype=torch.float64):
    """Networks with weights and data of their own, a few steps from where they started."""
    found = []
    for k in range(count):
        generator = torch.Generator().manual_seed(k)
        X, y = torch.randn(n, 1, 4, 4, generator=generator), torch.arange(n) % 4
        net = KINDS[kind](seed=k)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.5, momentum=0.5)
        for _ in range(60):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(X), y).backward()
            optimiser.step()
        found.append(ls.Checkpoint(net, loss="cross_entropy", train=(X, y), dtype=dtype).objective())
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_scores_in_a_stack_are_those_one_by_one(kind):
    nets, panel = objectives(kind), Panel(DECIDING, radii={"adaptive-average": (0.1, 0.4)})
    options = {"adaptive-worst-symmetric": {"iterations": 3}, "inverse-sigma-mag": {"samples": 4}}
    together = Panel(panel.scores, radii=panel.radii, options=options).together(nets, [5, 6, 7])
    for net, seed, found in zip(nets, [5, 6, 7], together, strict=True):
        alone = Panel(panel.scores, seed, panel.radii, options=options).rows(net)
        rows = [row for slug in DECIDING for row in found[slug][0]]
        assert [row.value for row in rows] == pytest.approx([row.value for row in alone], rel=1e-9)
        assert [row.standard_error for row in rows[4:]] == pytest.approx(
            [r.standard_error for r in alone[4:]], rel=1e-8
        )
        assert [(r.name, r.radius, r.seed, r.status, r.note, round(r.gradients, 6)) for r in rows] == [
            (r.name, r.radius, r.seed, r.status, r.note, round(r.gradients, 6)) for r in alone
        ]


def test_what_is_not_defined_for_one_network_of_a_stack_is_measured_for_the_others():
    nets = objectives("mlp")
    wrong = (nets[1].outputs().argmax(1) + 1) % 4  # everything is wrong already
    nets[1] = nets[1].on((nets[1].batches[0].inputs, wrong))
    found = Panel(["inverse-sigma-mag"]).together(nets, [0, 1, 2])
    (lacking,) = Panel(["inverse-sigma-mag", "loss"], 1).rows(nets[1])[:1]
    assert (found[1]["inverse-sigma-mag"][0][0].status, found[1]["inverse-sigma-mag"][0][0].note) == (
        lacking.status,
        lacking.note,
    )
    assert found[0]["inverse-sigma-mag"][0][0].value == pytest.approx(
        Panel(["inverse-sigma-mag"], 0).rows(nets[0])[0].value
    )


class Scaled(nn.Module):
    """A network with a number that nothing shows."""

    def __init__(self, factor):
        super().__init__()
        self.linear, self.hidden = nn.Linear(16, 4), [factor]

    def forward(self, x):
        return self.hidden[0] * self.linear(x.flatten(1))


def test_only_networks_of_one_architecture_are_stacked():
    nets = objectives("mlp", 2) + objectives("mlp", 2, n=20) + objectives("mlp", 1, dtype=None)
    assert [list(chosen) for chosen in stacks(nets)] == [[0, 1], [2, 3]]
    X, y = torch.randn(20, 16, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 4
    unlike = [ls.Objective(Scaled(factor), (X, y), "cross_entropy") for factor in (1.0, 30.0)]
    assert list(stacks(unlike)) == []
    batch = [
        ls.Objective(KINDS["resnet"](seed=s), (X.view(20, 1, 4, 4), y), "cross_entropy", norm="batch", batch_size=10)
        for s in (0, 1)
    ]
    assert list(stacks(batch)) == []


def test_the_gradient_of_a_stack_is_that_of_each():
    nets = objectives("transformer", 2)
    stack = Stack(nets)
    theta = stack.theta.clone().requires_grad_()
    with stack.guard():
        stack.batch_value(theta, stack.batches[0]).sum().backward()
    for k, net in enumerate(nets):
        torch.testing.assert_close(theta.grad[k], net.gradient(), rtol=1e-10, atol=1e-12)
