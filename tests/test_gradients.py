"""Gradients at a theta that is not the network's own: blocks that run again during the backward pass find it too."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import landscape as ls

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
