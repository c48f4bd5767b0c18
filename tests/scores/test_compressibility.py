import pytest
import torch

import landscape as ls
from landscape.errors import NotDefinedError
from landscape.scores.more.compressibility import (
    compressibility,
    intrinsic_dimension,
    largest_that_holds,
    pruned,
    quantized,
)


def test_bits_of_weights_that_need_few(each):
    """Decisions need negative weights: two bits keep those of −1 but round −0.3 to zero, which three bits do not."""
    wrong_at_zero = (torch.arange(200), torch.ones(200, dtype=torch.long))
    assert compressibility(each(-torch.ones(200)).on(wrong_at_zero))[0].value == 2
    mixed = -torch.ones(200)
    mixed[:100] = -0.3
    assert compressibility(each(mixed).on(wrong_at_zero))[0].value == 3
    assert compressibility(each(mixed).on(wrong_at_zero), rise=0.5)[0].value == 2


def test_share_that_can_be_removed():
    """Of ten inputs one decides: at least nine tenths of the weights can go."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(300, 10, generator=generator).double()
    net = torch.nn.Linear(10, 2, bias=False).double()
    with torch.no_grad():
        net.weight.fill_(1e-6)
        net.weight[:, 0] = torch.tensor([1.0, -1.0])
    y = (X[:, 0] < 0).long()
    share = compressibility(ls.Objective(net, (X, y), "cross_entropy"))[1]
    assert 0.9 <= share.value < 1
    assert share.orientation == "lower is sharper"


def test_rounding_and_pruning_by_hand(regression):
    at = regression.at(torch.tensor([0.9, -0.1, 0.45, 0.2]).double())
    assert quantized(at, 3)[:3].tolist() == pytest.approx([0.9, 0.0, 0.6])  # steps of 0.3; 1.5 rounds to even
    assert pruned(at, 0.67).tolist() == pytest.approx([0.9, 0.0, 0.0, 0.2])  # the bias is kept
    assert largest_that_holds(lambda s: s <= 0.3) == pytest.approx(0.3, abs=1e-3)
    assert largest_that_holds(lambda s: False) == 0.0


def test_intrinsic_dimension_of_a_task_with_one():
    """Two classes apart along one coordinate: a few random directions of sixty contain a good classifier."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(200, 30, generator=generator).double()
    X[:, 0] += 6 * (torch.arange(200) % 2) - 3
    y = torch.arange(200) % 2
    net = torch.nn.Linear(30, 2, bias=False).double()
    init = {"weight": torch.zeros(2, 30).double()}
    with torch.no_grad():
        net.weight.zero_()
        net.weight[0, 0], net.weight[1, 0] = -1.0, 1.0
    made = ls.Checkpoint(net, loss="cross_entropy", train=(X, y), init=init)
    (row,) = intrinsic_dimension(made.objective(), checkpoint=made, steps=60)
    assert 2 <= row.value <= 16
    untrained = {"checkpoint": made, "steps": 1, "lr": 0.0, "largest": 4}  # right for one of the two classes
    assert intrinsic_dimension(made.objective(), **untrained, share=0.4)[0].value == 2
    assert intrinsic_dimension(made.objective(), **untrained)[0].note.startswith("4 random directions do not reach 90%")
    with pytest.raises(NotDefinedError, match="initial weights"):
        intrinsic_dimension(made.objective())
