"""The table of facts about operations: every name is an operation, and what it says of the elementwise ones is so."""

import pytest
import torch
from torch import fx

from landscape.graphs.ops import OPS, facts

aten = torch.ops.aten
ARGUMENTS = {"threshold": (0.5, 0.1), "pow": (2,), "hardtanh": (-1.0, 1.0), "clamp": (-0.5, 0.5)}
"""Of operations that need more than a tensor."""
NEEDS_MORE = {"dropout", "feature_dropout", "alpha_dropout", "mul", "div", "to", "_to_copy", "rrelu"}
ALONE = sorted(name for name, op in OPS.items() if op.elementwise and name not in NEEDS_MORE)


def call(name, x):
    return getattr(aten, name)(x, *ARGUMENTS.get(name, ()))


@pytest.mark.parametrize("name", sorted(set(OPS) - {"getitem"}))
def test_every_name_is_an_operation_of_pytorch(name):
    assert hasattr(aten, name) or hasattr(torch.ops.mkldnn, name)


@pytest.mark.parametrize("name", ALONE)
def test_elementwise_operations_are_as_linear_homogeneous_and_kinked_as_the_table_says(name):
    op = OPS[name]
    x, y = torch.rand(2, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 6 + 0.01
    if name not in ("log", "sqrt", "rsqrt"):
        x, y = x - 3, y - 3
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    assert torch.equal(call(name, x[order]), call(name, x)[order])
    linear = torch.allclose(call(name, x + y), call(name, x) + call(name, y))
    homogeneous = torch.allclose(call(name, 2 * x), 2 * call(name, x))
    assert (op.linear is not None, op.homogeneous or op.linear is not None) == (linear, homogeneous)
    assert op.moves == torch.equal(call(name, x), x)
    if name in ("log", "sqrt", "rsqrt", "reciprocal", "pow", "exp"):  # too steep somewhere for the look at slopes
        return
    line = torch.linspace(-8, 8, 64001, dtype=torch.float64)
    slopes = call(name, line).diff() / line.diff()
    assert op.kinked == bool((slopes.diff().abs() > 0.1).any())


def test_what_is_linear_in_two_factors_is_affine_while_one_of_them_moves():
    node = fx.Graph().call_function(aten.mm.default, (None, None))
    for moving, affine in (({0}, True), ({1}, True), ({0, 1}, False)):
        assert facts(node).linear(node, moving.__contains__) is affine
    assert facts(fx.Graph().placeholder("mm")).linear is None  # an input is no operation, whatever its name
