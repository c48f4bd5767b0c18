"""Activations recorded with their derivatives give the same products, and leave alone what they must."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import landscape as ls
from landscape.operators.saved_derivatives import SavedDerivatives

SMOOTH = {
    "gelu": F.gelu,
    "gelu, tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "tanh": torch.tanh,
    "method": lambda x: x.tanh(),
    "functional": F.tanh,
    "modules": nn.Sequential(nn.GELU(), nn.SiLU(), nn.Mish(), nn.Tanh()),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_two_derivatives_are_those_of_pytorch(name):
    x = torch.linspace(-3, 3, 31, dtype=torch.float64, requires_grad=True)
    weight = torch.linspace(1, 2, 31, dtype=torch.float64)

    def derivatives():
        value = SMOOTH[name](2 * x) * x
        (first,) = torch.autograd.grad(value, x, weight, create_graph=True)
        return value, first, torch.autograd.grad(first, x, weight.flip(0))[0]

    plain = derivatives()
    with SavedDerivatives():
        kept = derivatives()
    for a, b in zip(kept, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-14)


def test_a_smooth_loss_of_ones_own_works_inside_functional_transforms():
    torch.manual_seed(0)
    data = torch.randn(20, 4), torch.randn(20, 3)
    own = lambda output, target: torch.tanh(output - target).square().mean()  # noqa: E731
    objective = ls.Objective(nn.Linear(4, 3), data, own, dtype=torch.float64)
    v = torch.randn(objective.size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    G, H = (kind(objective, program="kept") @ v for kind in (ls.GaussNewton, ls.Hessian))
    torch.testing.assert_close(G, H, rtol=1e-11, atol=1e-13)  # equal, since the network is linear


def test_the_derivatives_are_computed_when_recording_and_not_in_a_product():
    x = torch.randn(5, requires_grad=True)
    with SavedDerivatives():
        y = F.gelu(x)
        (first,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    assert "Activation" in y.grad_fn.name()
    with torch.profiler.profile() as profile:
        torch.autograd.grad(first.sum(), x)
    operations = {event.key for event in profile.key_averages()}
    assert "aten::mul" in operations
    assert not {"aten::exp", "aten::erf", "aten::gelu_backward"} & operations


def test_an_activation_in_place_is_left_as_it_is():
    x = torch.randn(5, requires_grad=True)
    with SavedDerivatives():
        y = x * 1
        assert F.silu(y, inplace=True) is y
        assert F.gelu(torch.zeros(3)).grad_fn is None
        out = torch.empty(5)
        assert torch.tanh(torch.zeros(5), out=out) is out
