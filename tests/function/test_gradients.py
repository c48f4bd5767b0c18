"""Gradients at a theta that is not the network's own: blocks that run again during the backward pass find it too."""

from math import isnan

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import landscape as ls
from landscape.function.gradients import example_gradient_norms, gradient_noise_ratio

X, Y = torch.randn(12, 4, generator=torch.Generator().manual_seed(0)).double(), torch.arange(12) % 3


class Network(nn.Module):
    def __init__(self, again):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.last, self.again = nn.Linear(4, 6).double(), nn.Linear(6, 3).double(), again

    def forward(self, x):
        hidden = checkpoint(self.block, x, use_reentrant=False) if self.again else self.block(x)
        return self.last(hidden)

    def block(self, x):
        return self.first(x).tanh()


NUMBERS = {
    "worst case": lambda o: [row.value for row in ls.sharpness(o, ["adaptive-worst-linf", "adaptive-worst-l2"]).rows],
    "one step": lambda o: [row.value for row in ls.sharpness(o, ["sam", "asam", "keskar"]).rows],
    "critical samples": lambda o: [row.value for row in ls.sharpness(o, ["critical-sample-ratio"]).rows],
    "covariance": lambda o: (ls.GradientCovariance(o) @ torch.ones_like(o.theta)).tolist(),
    "curve": lambda o: ls.connect(o, o, o.at(-o.theta), steps=5, points=3).loss.tolist(),
}


@pytest.mark.parametrize("number", NUMBERS.values(), ids=NUMBERS)
def test_checkpointed_blocks_give_the_numbers_of_plain_ones(number):
    away = ls.Objective(Network(False), (X, Y), "cross_entropy").theta * 1.5 + 0.3
    plain, again = (ls.Objective(Network(kind), (X, Y), "cross_entropy").at(away) for kind in (False, True))
    assert number(again) == pytest.approx(number(plain), rel=1e-6)


def test_networks_with_batch_statistics_have_no_gradients_of_single_examples_but_every_other_number():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 3)).double()
    objective = ls.Objective(model, (X, Y), "cross_entropy", batches="fixed")
    with pytest.raises(ls.LandscapeError, match=r"needs single examples, .* batches='fixed' was asked for"):
        gradient_noise_ratio(objective)
    assert isnan(ls.critical_point(objective).noise_ratio)
    panel = ls.sharpness(objective, ["adaptive-average", "adaptive-worst-linf"], audit=True)
    assert {row.status for row in panel.rows} == {"ok"}


@pytest.mark.parametrize("work", [ls.critical_point, ls.random_directions])
def test_a_checkpoint_is_told_how_to_become_an_objective(work):
    checkpoint = ls.Checkpoint(Network(False), loss="cross_entropy", train=(X, Y))
    with pytest.raises(ls.LandscapeError, match=r"checkpoint\.objective\(['\"]train['\"]\)"):
        work(checkpoint)


@pytest.mark.parametrize("kind", ["mapping", "pair", "three"])
def test_gradients_of_single_examples_under_a_loss_of_the_whole_batch(kind):
    torch.manual_seed(0)
    model, x = nn.Linear(4, 3).double(), X + 0.0
    data = {"mapping": {"a": x, "labels": Y}, "pair": (x, Y), "three": (x, 2 * x, Y)}[kind]

    def loss(model, batch):
        first, target = (batch["a"], batch["labels"]) if kind == "mapping" else (batch[0], batch[-1])
        assert (first.ndim, len(batch)) == (2, 3 if kind == "three" else 2)
        return nn.functional.cross_entropy(model(first), target)

    def norm(i):
        return torch.autograd.grad(nn.functional.cross_entropy(model(x[i : i + 1]), Y[i : i + 1]), model.parameters())

    found = example_gradient_norms(ls.Objective(model, data, ls.BatchLoss(loss)))
    right = [torch.cat([g.flatten() for g in norm(i)]).norm() for i in range(12)]
    torch.testing.assert_close(found, torch.stack(right), rtol=1e-12, atol=0)
