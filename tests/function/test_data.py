"""Data of every kind: what is rows of examples is cut, anything else is taken as it is, and nothing is guessed."""

from collections import namedtuple
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import pack_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls
from landscape.function.data import Data

GENERATOR = torch.Generator().manual_seed(0)
X, Y = torch.randn(35, 4, generator=GENERATOR, dtype=torch.float64), torch.arange(35) % 3
CUTS = [8, 8, 8, 8, 3]
PAIRS = list(zip(X.split(CUTS), Y.split(CUTS), strict=True))
Pair = namedtuple("Pair", "input labels")


@dataclass
class Record:
    x: torch.Tensor
    y: torch.Tensor


class Moved(SimpleNamespace):
    """The user's own class, with a way of its own to another device."""

    def to(self, device):
        return Moved(x=self.x.to(device), y=self.y.to(device))


def number(tensor):
    return tensor.item()


def linear(features=4):
    torch.manual_seed(0)
    return nn.Linear(features, 3).double()


def hessian(model, loss, batches):
    """Plain double backward of the mean over all examples, no part of the package."""
    parameters = list(model.parameters())
    total = sum(loss(model, batch) * count for batch, count in batches) / sum(count for _, count in batches)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(total, parameters, create_graph=True)])
    rows = [torch.autograd.grad(g, parameters, retain_graph=True) for g in gradient]
    return total.detach(), torch.stack([torch.cat([part.flatten() for part in row]) for row in rows])


class Dataset:
    """As Hugging Face's: not a subclass of torch's."""

    def __len__(self):
        return 35

    def __getitem__(self, i):
        return {"input": X[i], "labels": Y[i]}


ROWS = {
    "pair": (X, Y),
    "arrays": (X.numpy(), Y.numpy()),
    "mapping": {"input": X, "labels": Y},
    "mapping and target": ({"input": X}, Y),
    "data set": TensorDataset(X, Y),
    "data set by its manners": Dataset(),
    "loader": DataLoader(TensorDataset(X, Y), batch_size=8),
    "iterator": zip(X.split(CUTS), Y.split(CUTS), strict=True),
    "list": PAIRS,
    "named tuples": [Pair(x, y) for x, y in PAIRS],
    "mappings": [{"input": x, "labels": y} for x, y in PAIRS],
}


@pytest.mark.parametrize("data", ROWS.values(), ids=ROWS)
def test_rows_of_any_kind_are_one_function_and_may_be_cut(data):
    objective = ls.Objective(linear(), data, "cross_entropy", batch_size=8)
    loss, H = hessian(linear(), lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), [((X, Y), 35)])
    assert objective.n == 35
    assert objective.loss() == pytest.approx(number(loss), rel=1e-12)
    for options in ({}, {"coalesce": False}):
        torch.testing.assert_close(ls.Hessian(objective, **options).dense(), H, rtol=1e-9, atol=1e-10)
    assert objective.subset([3, 20]).rebatch(1).n == 2
    assert objective.batches.fingerprint() == objective.rebatch(5).batches.fingerprint()


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.f = nn.Linear(4, 4).double()

    def forward(self, a, b):
        return self.f(a) - self.f(b).tanh()


A, B, T = (torch.randn(30, 4, generator=GENERATOR, dtype=torch.float64) for _ in range(3))


@pytest.mark.parametrize("data", [((A, B), T), (A, B, T), ({"a": A, "b": B}, T), [((A, B), T)]])
def test_several_inputs(data):
    objective = ls.Objective(Two(), data, "mse_loss", batch_size=7)
    assert objective.n == 30
    assert objective.loss() == pytest.approx(number(F.mse_loss(Two()(A, B), T)), rel=1e-12)
    assert objective.rebatch(4).loss() == pytest.approx(objective.loss(), rel=1e-12)


def on_objects(model, batch):
    return F.cross_entropy(model(batch.x), batch.y)


OBJECTS = {
    "namespaces": lambda x, y: SimpleNamespace(x=x, y=y),
    "dataclass": Record,
    "own class": lambda x, y: Moved(x=x, y=y),
}


@pytest.mark.parametrize("make", OBJECTS.values(), ids=OBJECTS)
def test_batches_of_objects_are_taken_as_they_are(make):
    batches = [make(x, y) for x, y in PAIRS]
    loss = ls.BatchLoss(on_objects, count=lambda batch: len(batch.y))
    objective = ls.Objective(linear(), batches, loss)
    value, H = hessian(linear(), on_objects, [(batch, len(batch.y)) for batch in batches])
    assert objective.n == 35
    assert objective.loss() == pytest.approx(number(value), rel=1e-12)
    for options in ({}, {"coalesce": False}, {"program": "recompute"}, {"program": "kept"}):
        torch.testing.assert_close(ls.Hessian(objective, **options).dense(), H, rtol=1e-9, atol=1e-10)
    assert objective.batches[0].raw is batches[0]
    other = ls.Objective(linear(), [make(x + 1, y) for x, y in PAIRS], loss)
    assert other.provenance()["data_sha256"] != objective.provenance()["data_sha256"]
    with pytest.raises(ls.LandscapeError, match=r"pass count= .*batches='fixed'"):
        ls.Objective(linear(), batches, ls.BatchLoss(on_objects))
    for refused in (lambda: objective.subset([1]), lambda: objective.rebatch(4), objective.per_example):
        with pytest.raises(ls.LandscapeError, match="needs single examples, but the batches are taken as they are"):
            refused()
    with pytest.raises(ls.LandscapeError, match="needs single examples"):
        ls.EmpiricalFisher(objective)
    with pytest.raises(ls.LandscapeError, match=r"holds a .* cannot be traced"):
        ls.Hessian(objective, program="split").plan  # noqa: B018


class GCN(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Linear(5, 3).double()

    def forward(self, x, e):
        h = self.a(x)
        return torch.zeros_like(h).index_add(0, e[1], h[e[0]])


class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.a = nn.Linear(5, 3).double()

    def forward(self, x, adjacency):
        return adjacency @ self.a(x)


def graph(nodes, dense):
    generator = torch.Generator().manual_seed(nodes)
    x = torch.randn(nodes, 5, generator=generator, dtype=torch.float64)
    e = torch.randint(0, nodes, (2, 3 * nodes), generator=generator)
    adjacency = torch.zeros(nodes, nodes, dtype=torch.float64)
    adjacency[e[1], e[0]] = 1
    return (x, adjacency if dense else e), torch.arange(nodes) % 3


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("nodes", [34, 100])
def test_one_graph_is_one_batch(nodes, dense):
    model, data = Dense() if dense else GCN(), graph(nodes, dense)
    value, H = hessian(model, lambda m, batch: F.cross_entropy(m(*batch[0]), batch[1]), [(data, nodes)])
    objective = ls.Objective(model, [data], "cross_entropy")
    assert objective.n == nodes
    assert objective.loss() == pytest.approx(number(value), rel=1e-12)
    for program in ("kept", "split", "recompute"):
        torch.testing.assert_close(ls.Hessian(objective, program=program).dense(), H, rtol=1e-9, atol=1e-10)
    assert ls.top_eigenpairs(ls.Hessian(objective), k=1).converged
    assert ls.line(objective, ls.random_directions(objective, n=1), points=3).values["train/loss"][1] == pytest.approx(
        number(value), rel=1e-12
    )
    with pytest.raises(ls.LandscapeError, match="taken as they are"):
        objective.subset([0, 1])


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.r, self.h = nn.RNN(4, 5).double(), nn.Linear(5, 3).double()

    def forward(self, *packed):
        sequences = packed[0] if isinstance(packed[0], torch.nn.utils.rnn.PackedSequence) else packed
        padded, lengths = pad_packed_sequence(self.r(sequences)[0])
        return self.h(padded[lengths - 1, torch.arange(len(lengths))])


def test_packed_and_time_major_sequences():
    sequences = [X[:7], X[7:12], X[12:15]]
    packed, target = pack_sequence(sequences), Y[:3]
    loss = ls.BatchLoss(lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]))
    objective = ls.Objective(Recurrent(), [(packed, target)], loss, dtype=torch.float64)
    assert objective.n == 3
    assert objective.loss() == pytest.approx(number(F.cross_entropy(Recurrent()(packed), target)), rel=1e-12)
    assert torch.isfinite(ls.Hessian(objective) @ objective.theta).all()
    time_major = torch.randn(6, 3, 4, generator=GENERATOR, dtype=torch.float64)

    class Last(Recurrent):
        def forward(self, x):
            return self.h(self.r(x)[0][-1])

    objective = ls.Objective(Last(), [(time_major, target)], "cross_entropy")
    assert objective.n == 3
    assert objective.loss() == pytest.approx(number(F.cross_entropy(Last()(time_major), target)), rel=1e-12)


def test_images_of_different_sizes_in_lists():
    images = [torch.randn(1, size, size, generator=GENERATOR, dtype=torch.float64) for size in (5, 7, 6)]
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()

    def loss(net, batch):
        return torch.stack([F.cross_entropy(net(image[None]), label[None]) for image, label in zip(*batch)]).mean()

    batches = [(images, [torch.tensor(k) for k in range(3)]), (images[:2], [torch.tensor(2), torch.tensor(0)])]
    objective = ls.Objective(model, batches, ls.BatchLoss(loss, count=lambda batch: len(batch[0])))
    assert objective.n == 5
    expected = (3 * loss(model, batches[0]) + 2 * loss(model, batches[1])) / 5
    assert objective.loss() == pytest.approx(number(expected), rel=1e-12)


def contrastive(model, batch):
    similarity = F.normalize(model(batch[0]), dim=1) @ F.normalize(model(batch[1]), dim=1).T / 0.1
    return F.cross_entropy(similarity, torch.arange(len(similarity)))


@pytest.mark.parametrize("options", [{}, {"count": lambda batch: len(batch[0])}, {"reduction": "sum"}])
def test_a_loss_that_couples_its_batch_is_refused_with_a_remedy_that_works(options):
    batches = [(X[:16], X[16:32]), (X[:3], X[3:6])]
    with pytest.raises(ls.LandscapeError, match=r"couples the examples of a batch, batches='fixed'"):
        ls.Objective(linear(), batches, ls.BatchLoss(contrastive, **options))
    objective = ls.Objective(linear(), batches, ls.BatchLoss(contrastive), batches="fixed")
    value, H = hessian(linear(), contrastive, [(batch, 1) for batch in batches])
    assert objective.loss() == pytest.approx(number(value), rel=1e-12)
    for program in ("kept", "split", "recompute"):
        torch.testing.assert_close(ls.Hessian(objective, program=program).dense(), H, rtol=1e-9, atol=1e-10)
    assert objective.provenance()["batches"] == "fixed"
    assert objective.on(batches[:1]).loss() == pytest.approx(number(contrastive(linear(), batches[0])), rel=1e-12)
    swapped = ls.Objective(linear(), [(X[:19], X[16:35])], ls.BatchLoss(contrastive), batches="fixed")
    assert swapped.provenance()["data_sha256"] != objective.provenance()["data_sha256"]
    for refused in (lambda: objective.subset([1]), lambda: objective.rebatch(4), objective.per_example):
        with pytest.raises(ls.LandscapeError, match="batches='fixed' was asked for"):
            refused()


def test_statistics_of_the_batch_are_refused_or_fixed():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 3)).double()
    for size in (35, 16, 9):
        with pytest.raises(ls.LandscapeError, match=r"depend on what else is in its batch .*batches='fixed'"):
            ls.Objective(model, (X, Y), "cross_entropy", batch_size=size)
    objective = ls.Objective(model, PAIRS, "cross_entropy", batches="fixed")
    expected = sum(F.cross_entropy(model(x), y) for x, y in PAIRS) / len(PAIRS)
    assert objective.loss() == pytest.approx(number(expected), rel=1e-12)
    assert ls.sharpness(objective, ["gradient-norm"]).rows[0].status == "ok"
    with pytest.raises(ls.NotDefinedError, match="needs single examples"):
        ls.sharpness(objective, ["adaptive-worst-linf"])


class Opaque:
    """Holds what nobody else can see."""

    __slots__ = ("x",)

    def __init__(self, x):
        self.x = x


def unseen(model, batch):
    return model(batch.x).square().mean()


REFUSED = {
    "nothing to count": (
        lambda: ls.Objective(linear(), [Opaque(X)], ls.BatchLoss(unseen)),
        r"\(Opaque\) cannot be told",
    ),
    "unequal tensors": (
        lambda: ls.Objective(linear(), [SimpleNamespace(x=X, e=X[:5])], ls.BatchLoss(unseen)),
        r"SimpleNamespace with tensors \(35, 4\), \(5, 4\)\) cannot be told; pass examples=",
    ),
    "examples that disagree": (
        lambda: ls.Objective(linear(), PAIRS, "cross_entropy", examples=5),
        r"examples= says 5 for a batch of 8 rows",
    ),
    "too few numbers": (
        lambda: ls.Objective(linear(), PAIRS, "cross_entropy", examples=[8, 8]),
        r"examples= has 2 numbers for 5 batches",
    ),
    "no whole number": (
        lambda: ls.Objective(linear(), PAIRS, "cross_entropy", examples=lambda batch: 0),
        "examples= gives 0 for a batch",
    ),
    "another word": (lambda: ls.Objective(linear(), PAIRS, "cross_entropy", batches="free"), "expected 'fixed'"),
    "a graph as whole tensors": (
        lambda: ls.Objective(GCN(), graph(34, False), "cross_entropy"),
        r"34 inputs but 2 targets; .* a list of batches, which are taken as they are: \[data\]",
    ),
    "text": (lambda: ls.Objective(linear(), "data.csv", "cross_entropy"), "the data is str"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case):
    call, message = REFUSED[case]
    with pytest.raises(ls.LandscapeError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_examples_are_counted_as_the_user_says():
    batches = [Opaque(x) for x, _ in PAIRS]
    for examples in (CUTS, lambda batch: len(batch.x)):
        objective = ls.Objective(linear(), batches, ls.BatchLoss(unseen, count=lambda b: len(b.x)), examples=examples)
        assert objective.n == 35
        assert objective.loss() == pytest.approx(number(linear()(X).square().mean()), rel=1e-12)


def test_a_batch_is_held_once():
    for dtype in (torch.float64, torch.float32):
        data = ls.Objective(linear(), (X, Y), "cross_entropy", dtype=dtype, batch_size=16).batches
        assert isinstance(data, Data)
        for batch in data:
            assert batch.raw[0] is batch.inputs
            assert batch.raw[1] is batch.target
    same = ls.Objective(linear(), (X, Y), "cross_entropy").batches
    assert same[0].inputs.untyped_storage().data_ptr() == X.untyped_storage().data_ptr()


def test_arrays_inside_objects_are_read_as_tensors():
    batches = [SimpleNamespace(x=x.numpy(), y=y.numpy().astype(np.int32)) for x, y in PAIRS]
    objective = ls.Objective(linear(), batches, ls.BatchLoss(on_objects, count=lambda batch: len(batch.y)))
    assert objective.loss() == pytest.approx(number(F.cross_entropy(linear()(X), Y)), rel=1e-12)
    assert isinstance(batches[0].x, np.ndarray)


def test_examples_that_a_loader_leaves_out_are_said():
    loader = DataLoader(TensorDataset(torch.randn(10, 4), torch.arange(10) % 3), batch_size=4, drop_last=True)
    with pytest.warns(UserWarning, match="leaves out 2 of 10 examples"):
        assert ls.Objective(ls.models.mlp((4, 3)), loader, "cross_entropy").n == 8


class OfPacked(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(3, 3)

    def forward(self, packed):
        assert isinstance(packed, nn.utils.rnn.PackedSequence)
        return nn.utils.rnn.pad_packed_sequence(packed._replace(data=self.inner(packed.data)))[0].sum(0)


def test_packed_sequences_are_one_input():
    packed, y = nn.utils.rnn.pack_sequence([torch.randn(n, 3) for n in (5, 4, 2)]), torch.arange(3)
    model = OfPacked()
    objective = ls.Objective(model, [(packed, y)], "cross_entropy")
    assert objective.loss() == pytest.approx(nn.functional.cross_entropy(model(packed), y).item())


class Diffusing(nn.Linear):
    def forward(self, x, adjacency):
        return torch.sparse.mm(adjacency, super().forward(x))


def test_a_sparse_matrix_in_a_batch_is_not_cut():
    x, y, adjacency, model = (
        torch.randn(9, 4),
        torch.arange(9) % 3,
        torch.eye(9).roll(1, 0).to_sparse(),
        Diffusing(4, 3),
    )
    objective = ls.Objective(model, [((x, adjacency), y)], "cross_entropy")
    assert objective.loss() == pytest.approx(nn.functional.cross_entropy(model(x, adjacency), y).item())
    with pytest.raises(ls.NotDefinedError, match="the batches are taken as they are"):
        objective.subset([0, 1])


def test_train_and_test_together_are_not_two_batches():
    rows = torch.randn(6, 3), torch.arange(6) % 2
    with pytest.raises(ls.LandscapeError, match="pair of data sets"):
        ls.Objective(nn.Linear(3, 2), (rows, rows), "cross_entropy")
    assert ls.Objective(nn.Linear(3, 2), [rows, rows], "cross_entropy").size == 8
