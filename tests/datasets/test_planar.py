"""The planar tasks lie where their definitions put them."""

import pytest
import torch

from landscape.datasets import kink, slab, spirals
from landscape.errors import LandscapeError


def test_kink_lies_on_two_bent_lines():
    for X, y in (kink(margin=0.5).train, kink(margin=0.5).test):
        torch.testing.assert_close(X[:, 1] + X[:, 0].abs(), 0.5 * (1 - y).float())
        assert X[:, 0].abs().max() <= 1


def test_slab_is_separated_by_the_line_and_by_the_zigzag():
    X, y = slab(train=2000).train
    assert torch.equal(y, (X[:, 0] < 0).long())
    assert X[:, 0].abs().min() > 0.1
    assert X[:, 1].abs().max() <= 1
    level = ((1 - X[:, 1]) / 0.55).floor().long()  # slabs are 0.35 thick, gaps 0.2
    assert torch.equal(y, 1 - level % 2)


def test_spirals_turn_as_far_as_published_and_mirror_each_other():
    X, y = spirals(train=5000, noise=0.0).train
    radius = 8 * X.norm(dim=1) / 1.5
    assert 10.3 < radius.max() < 10.48  # 600° in radians
    expected = torch.stack([-radius.cos(), radius.sin()], 1) * (1 - 2 * y)[:, None]
    torch.testing.assert_close(X / X.norm(dim=1, keepdim=True), expected, atol=2e-3, rtol=0)


@pytest.mark.parametrize("make", [kink, slab, spirals])
def test_parts_have_streams_of_their_own(make):
    one, more = make(train=20, test=30, spare=5), make(train=25, test=40, spare=0)
    assert [len(y) for _, y in (one.train, one.test, one.spare)] == [20, 30, 5]
    assert more.spare is None
    again = make(train=20, test=40, spare=5)
    assert torch.equal(again.train[0], one.train[0])
    assert torch.equal(again.spare[0], one.spare[0])
    assert not torch.equal(make(seed=1, train=20).train[0], one.train[0])
    assert set(make().test[1].tolist()) == {0, 1}


def test_an_empty_part_is_refused():
    with pytest.raises(LandscapeError, match="train=0"):
        kink(train=0)
