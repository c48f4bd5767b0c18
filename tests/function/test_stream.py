"""Loaders that are read again in every pass: the numbers of kept data, and one line for what cannot be repeated."""

import gc
import itertools
import threading

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls
from landscape.function import data as data_module

X, Y = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)), torch.arange(50) % 3


class Loader:
    """Batches made anew in every pass; `change` is called with the number of the pass and of the batch."""

    def __init__(self, change=lambda turn, number, batch: batch):
        self.change, self.turn = change, 0

    def __iter__(self):
        self.turn += 1
        for number, start in enumerate(range(0, 50, 8)):
            batch = self.change(self.turn, number, (X[start : start + 8].clone(), Y[start : start + 8]))
            if batch is not None:
                yield batch


def loss(loader, **options):
    return ls.Objective(ls.models.mlp((4, 6, 3)).double(), loader, "cross_entropy", **options)


def test_streamed_batches_give_the_numbers_of_kept_ones():
    kept, streamed = loss(list(Loader())), loss(Loader(), stream=True)
    v = torch.randn(kept.size, dtype=kept.dtype, generator=torch.Generator().manual_seed(1))
    for measure in (
        lambda L: L.evaluate()["accuracy"],
        lambda L: L.gradient(),
        lambda L: ls.Hessian(L, coalesce=False) @ v,
        lambda L: ls.Fisher(L, samples=2, coalesce=False) @ v,
        lambda L: ls.GaussNewton(L, memory=1) @ v,
        lambda L: L.outputs(),
        lambda L: ls.line(L, v.numpy(), points=3).values["train/loss"],
    ):
        np.testing.assert_allclose(measure(streamed), measure(kept), rtol=1e-12)
    assert streamed.n == 50
    assert streamed.provenance()["data_sha256"] == loss(Loader(), stream=True).provenance()["data_sha256"]
    own = streamed.batches.fingerprint()
    assert streamed.batches.fingerprint(lambda mine: [*mine, "of another process"]) != own
    assert streamed.batches.fingerprint(lambda mine: 2 * mine) == own
    with pytest.raises(ls.errors.NotDefinedError, match="they are read again in every pass, and not kept"):
        streamed.subset(range(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda turn, number, batch: (batch[0] + (turn > 1 and number == 2), batch[1]),
            "gave another batch number 3 than in",
        ),
        (lambda turn, number, batch: batch if turn == 1 or number < 5 else None, "gave 5 batches, 7 in its first pass"),
        (lambda turn, number, batch: batch if turn > 1 or number < 5 else None, "gave another batch number 6 than in"),
    ],
)
def test_a_pass_that_gives_other_batches_is_refused(change, message):
    with pytest.raises(ls.LandscapeError, match=message):
        loss(Loader(change), stream=True).loss()
    gc.collect()  # the traceback holds the pass that failed
    readers = [thread for thread in threading.enumerate() if thread.name == "reads ahead"]
    for thread in readers:
        thread.join(5)
    assert not any(thread.is_alive() for thread in readers)


def test_what_cannot_be_read_again_is_refused(monkeypatch):
    with pytest.raises(
        ls.LandscapeError, match="is a generator, which can be read once; pass an object whose __iter__"
    ):
        loss(iter(Loader()), stream=True)
    with pytest.raises(ls.LandscapeError, match="the loader shuffles; pass shuffle=False"):
        loss(DataLoader(TensorDataset(X, Y), shuffle=True), stream=True)
    monkeypatch.setattr(data_module, "MOST", 20)
    monkeypatch.setattr("landscape.function.stream.MOST", 20)

    class Endless:
        def __iter__(self):
            return itertools.repeat((X[:8], Y[:8]))

    with pytest.raises(ls.LandscapeError, match="gave 20 batches and has no length; bound it with"):
        loss(Endless(), stream=True)
    with pytest.raises(ls.LandscapeError, match="and no end is in sight; pass stream=True to read it"):
        loss(Endless())
    monkeypatch.setattr(data_module, "free_bytes", lambda device: 1000)
    with pytest.raises(ls.LandscapeError, match="gave 5 batches, "):
        loss(Endless())
