"""Cross-entropy over many classes: PyTorch's numbers and derivatives, with fewer copies of the logits."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import landscape as ls
from landscape.function import large_classes, losses

WEIGHT = torch.rand(50, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.1
LOSSES = {
    "mean": "cross_entropy",
    "weights": nn.CrossEntropyLoss(weight=WEIGHT, ignore_index=7),
    "sum": nn.CrossEntropyLoss(reduction="sum"),
}


def language():
    """Return a small language model, its tokens, and targets of which some do not count."""
    tokens, targets = torch.randint(0, 50, (2, 12, 6), generator=torch.Generator().manual_seed(0))
    targets[0, :2] = -100
    torch.manual_seed(1)
    return nn.Sequential(nn.Embedding(50, 5), nn.Tanh(), nn.Linear(5, 50)).double(), (tokens, targets)


@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
@pytest.mark.parametrize("operator", [ls.Hessian, ls.GaussNewton, ls.Fisher, ls.EmpiricalFisher])
def test_products_are_those_of_pytorch(loss, operator, monkeypatch):
    model, data = language()
    if loss is LOSSES["weights"]:
        data[1].clamp_(min=7)
        if operator is ls.Fisher:
            pytest.skip("no likelihood with class weights")

    def found():
        L = ls.Objective(model, data, loss, batch_size=5)
        V = torch.randn(L.size, 2, dtype=L.dtype, generator=torch.Generator().manual_seed(1))
        return [
            torch.tensor(L.loss()),
            L.gradient(),
            *(operator(L, program=p) @ V for p in ("kept", "recompute", "split")),
        ]

    expected = found()
    for module in (large_classes, losses):
        monkeypatch.setattr(module, "LARGE", 1)
    monkeypatch.setattr(large_classes, "ROWS_BYTES", 7 * 50 * 8)  # seven rows at a time
    for one, other in zip(found(), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)


class Copies(TorchDispatchMode):
    """Holds results as large as the logits, so that each piece of memory is counted once."""

    def __init__(self, size):
        super().__init__()
        self.size, self.held = size, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.held += [x for x in tree_leaves(result) if isinstance(x, torch.Tensor) and x.numel() == self.size]
        return result

    @property
    def count(self):
        return len({tensor.untyped_storage().data_ptr() for tensor in self.held})


def copies(loss):
    """Return how often memory for all logits is taken by a second derivative of a loss of them."""
    logits = torch.randn(400, 100, requires_grad=True)
    u = torch.ones_like(logits)
    with Copies(logits.numel()) as counted:
        (gradient,) = torch.autograd.grad(loss(logits, torch.arange(400) % 100), logits, create_graph=True)
        torch.autograd.grad(gradient, logits, u)
    return counted.count


def test_fewer_copies_of_the_logits_than_pytorch_makes(monkeypatch):
    monkeypatch.setattr(large_classes, "ROWS_BYTES", 10 * 100 * 4)
    ours = copies(lambda f, y: large_classes.cross_entropy(f, y, None, -100, mean=True))
    assert (ours, copies(nn.functional.cross_entropy)) == (4, 12)
