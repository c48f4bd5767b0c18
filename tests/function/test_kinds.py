"""Data, networks and losses of every kind: each is the function that plain PyTorch computes, cut only where it is rows."""

import pickle
from collections import namedtuple
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_sequence, pad_packed_sequence
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls
from landscape.function.data import Data
from landscape.operators.empirical_fisher import EmpiricalFisherRule

D = torch.float64
PROGRAMS, UNTRACED = ("kept", "split", "recompute"), ("kept", "recompute")
GENERATOR = torch.Generator().manual_seed(0)
draw = partial(torch.randn, generator=GENERATOR, dtype=D)
X, Y = draw(35, 4), torch.arange(35) % 3
CUTS = [8, 8, 8, 8, 3]
PAIRS = list(zip(X.split(CUTS), Y.split(CUTS), strict=True))
A, B, T = draw(30, 4), draw(30, 4), draw(30, 4)
FIELDS = draw(2, 6, 2, 16)
TOKENS = torch.randint(0, 7, (6, 5), generator=GENERATOR)
LABELS = torch.where(TOKENS > 5, -100, (TOKENS + 1) % 7)
PADDED = torch.where(torch.arange(24).reshape(6, 4) % 6 > 3, -100, torch.arange(24).reshape(6, 4) % 5)
Pair = namedtuple("Pair", "input labels")


def flat(tensors):
    """One vector; of complex numbers the real and imaginary parts."""
    return torch.cat([(torch.stack([t.real, t.imag], -1) if t.is_complex() else t).flatten() for t in tensors])


def derivatives(loss, parameters):
    """Gradient and Hessian by plain double backward, no part of the package."""
    gradient = flat(torch.autograd.grad(loss, parameters, create_graph=True, materialize_grads=True))
    rows = [
        flat(torch.autograd.grad(g, parameters, retain_graph=True, materialize_grads=True))
        if g.requires_grad else torch.zeros_like(gradient) for g in gradient
    ]  # fmt: skip
    return gradient.detach(), torch.stack(rows)


def seeded(make, *arguments, **options):
    torch.manual_seed(0)
    return make(*arguments, **options).double()


def linear(features=4, classes=3):
    return seeded(nn.Linear, features, classes)


# --- networks ---------------------------------------------------------------------------------------------------------


class Two(nn.Linear):
    def forward(self, a, b):
        return super().forward(a) - super().forward(b).tanh()


class Graph(nn.Linear):
    """A layer over a graph that is given by its edges (2, E), or by a matrix, sparse or not."""

    def forward(self, x, edges):
        h = super().forward(x)
        if edges.layout is torch.sparse_coo:
            return torch.sparse.mm(edges, h)
        return edges @ h if edges.is_floating_point() else torch.zeros_like(h).index_add(0, edges[1], h[edges[0]])


class Recurrent(nn.Module):
    """The last outputs of sequences, packed or in time-major order."""

    def __init__(self):
        super().__init__()
        self.r, self.h = nn.RNN(4, 5), nn.Linear(5, 3)

    def forward(self, sequences):
        if not isinstance(sequences, PackedSequence):
            return self.h(self.r(sequences)[0][-1])
        padded, lengths = pad_packed_sequence(self.r(sequences)[0])
        return self.h(padded[lengths - 1, torch.arange(len(lengths))])


class Convolved(nn.Sequential):
    """Of lists of images."""

    def __init__(self):
        super().__init__(nn.Conv2d(1, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())

    def loss(self, batch):
        return torch.stack([F.cross_entropy(self(x[None]), y[None]) for x, y in zip(*batch, strict=True)]).mean()


class Complex(nn.Module):
    def __init__(self, activation=lambda z: z.abs()):
        super().__init__()
        self.bias = nn.Parameter(draw(1))  # θ goes on at an odd place
        self.weight = nn.Parameter(draw(4, 3, dtype=torch.complex128))
        self.activation = activation

    def forward(self, x):
        return self.activation(x.to(self.weight.dtype) @ self.weight) + self.bias


class Fourier(nn.Module):
    """One layer of a Fourier neural operator."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(draw(2, 3, 4, dtype=torch.complex128) / 3)
        self.out = nn.Conv1d(3, 1, 1).double()

    def forward(self, x):
        modes = torch.einsum("bik,iok->bok", torch.fft.rfft(x)[..., :4], self.weight)
        return self.out(torch.fft.irfft(F.pad(modes, (0, 5)), n=x.shape[-1]).tanh())


class Own(nn.Linear):
    """Returns its loss where it is given labels, as Hugging Face's networks do."""

    def forward(self, x, labels=None):
        logits = super().forward(x)
        return SimpleNamespace(logits=logits, loss=None if labels is None else F.cross_entropy(logits, labels))


class Steps(nn.Linear):
    """As a Lightning module."""

    def training_step(self, batch, batch_idx):
        return {"loss": F.cross_entropy(self(batch[0]), batch[1])}


class Spread(nn.Module):
    """A mean and a standard deviation."""

    def __init__(self):
        super().__init__()
        self.mean, self.spread = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return F.softplus(self.mean(x)), F.softplus(self.spread(x)) + 0.1


class Named(nn.Linear):
    def forward(self, x):
        return {"hidden": x, "logits": super().forward(x)}


class Scaled(nn.Linear):
    def forward(self, x, scale):
        return {"hidden": x, "logits": super().forward(x * scale)}


class TiedAndUnused(nn.Module):
    def __init__(self):
        super().__init__()
        self.encode, self.decode, self.unused = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(2, 2)
        self.decode.weight = self.encode.weight

    def forward(self, x):
        return self.decode(torch.tanh(self.encode(x)))[:, :3]


class OfMappings(nn.Linear):
    def forward(self, batch):
        return super().forward(batch["atoms"])


class Tagger(nn.Sequential):
    def __init__(self, classes=5):
        super().__init__(nn.Embedding(7, 3), nn.Linear(3, classes))


class TiedPadding(nn.Sequential):
    """The vector of the padding token is a row of the head as well, so that it is no constant."""

    def __init__(self):
        super().__init__(nn.Embedding(7, 3, padding_idx=0), nn.Linear(3, 7, bias=False))
        self[1].weight = self[0].weight


class Records:
    """A data set as Hugging Face's: not a subclass of torch's."""

    def __len__(self):
        return 35

    def __getitem__(self, i):
        return {"input": X[i], "labels": Y[i]}


@dataclass
class Record:
    x: torch.Tensor
    y: torch.Tensor


class Moved(SimpleNamespace):
    """The user's own class, with a way of its own to another device."""

    def to(self, device):
        return Moved(x=self.x.to(device), y=self.y.to(device))


class Opaque:
    """Holds what nobody else can see."""

    __slots__ = ("x",)

    def __init__(self, x):
        self.x = x


# --- losses -----------------------------------------------------------------------------------------------------------


def on_objects(model, batch):
    return F.cross_entropy(model(torch.as_tensor(batch.x)), torch.as_tensor(batch.y).long())


def unseen(model, batch):
    return model(batch.x).square().mean()


def ridge(model, batch):
    return F.cross_entropy(model(batch[0]), batch[1]) + 0.1 * model.weight.square().sum()


def contrastive(model, batch):
    similarity = F.normalize(model(batch[0]), dim=1) @ F.normalize(model(batch[1]), dim=1).T / 0.1
    return F.cross_entropy(similarity, torch.arange(len(similarity)))


def on_two(model):
    return F.mse_loss(model(A, B), T)


def by_token(output, target):
    return F.cross_entropy(output.flatten(0, -2), target.flatten())


def likelihood(output, target):
    return F.gaussian_nll_loss(output[0], target, output[1])


def of_named(output, target):
    return F.cross_entropy(output["logits"], target) + output["hidden"].square().mean()


def graph(nodes, kind):
    generator = torch.Generator().manual_seed(nodes)
    edges = torch.randint(0, nodes, (2, 3 * nodes), generator=generator)
    matrix = torch.zeros(nodes, nodes, dtype=D)
    matrix[edges[1], edges[0]] = 1
    how = {"edges": edges, "matrix": matrix, "sparse": matrix.to_sparse()}[kind]
    return (torch.randn(nodes, 4, generator=generator, dtype=D), how), torch.arange(nodes) % 3


# --- every kind is the function of plain PyTorch ----------------------------------------------------------------------


@dataclass
class Kind:
    """A network, data and a loss; and the same as a loss of the network in plain PyTorch."""

    make: Any
    data: Any
    loss: Any
    expected: Any
    n: int = 35
    rows: bool = True
    options: dict[str, Any] = field(default_factory=lambda: {"batch_size": 8})
    programs: tuple[str, ...] = PROGRAMS


def classes(x, y):
    return lambda model: F.cross_entropy(model(x), y)


def whole(make, data, loss, expected, n, *, programs=PROGRAMS, **options):
    """Batches that are taken as they are."""
    return Kind(make, data, loss, expected, n, False, options, programs)


def objects(make):
    batches = [make(x, y) for x, y in PAIRS]
    return whole(
        linear,
        batches,
        ls.BatchLoss(on_objects, count=lambda batch: len(batch.y)),
        classes(X, Y),
        35,
        programs=UNTRACED,
    )


def graphs(nodes, kind):
    (x, edges), y = graph(nodes, kind)
    programs = PROGRAMS if kind != "sparse" else ()  # whose products have no second derivatives here
    return whole(
        partial(seeded, Graph, 4, 3),
        [((x, edges), y)],
        "cross_entropy",
        lambda m: F.cross_entropy(m(x, edges), y),
        nodes,
        programs=programs,
    )


def params(tree):
    weight, bias = draw(4, 3), draw(3)
    leaves = tree(weight, bias)

    def affine(p, x):
        w, b = p["0"] if "0" in p else (p["0.weight"], p["0.bias"])
        return (x @ w + b).tanh()

    return Kind(lambda: ls.Functional(affine, leaves), (X, Y), "cross_entropy", classes(X, Y))


IMAGES = [draw(1, size, size) for size in (5, 7, 6)]
LISTS = [(IMAGES, [torch.tensor(k) for k in range(3)]), (IMAGES[:2], [torch.tensor(2), torch.tensor(0)])]
COUPLED = [(X[:16], X[16:32]), (X[:3], X[3:6])]
PACKED = pack_sequence([X[:7], X[7:12], X[12:15]])
TIME_MAJOR = draw(6, 3, 4)
OPAQUE, UNSEEN = [Opaque(x) for x, _ in PAIRS], ls.BatchLoss(unseen, count=lambda batch: len(batch.x))

KINDS = {
    **{f"rows, {name}": Kind(linear, data, "cross_entropy", classes(X, Y)) for name, data in {
        "pair": (X, Y),
        "arrays": (X.numpy(), Y.numpy()),
        "labels in a list": (X, Y.tolist()),
        "mapping": {"input": X, "labels": Y},
        "mapping and target": ({"input": X}, Y),
        "data set": TensorDataset(X, Y),
        "data set by its manners": Records(),
        "loader": DataLoader(TensorDataset(X, Y), batch_size=8),
        "iterator": zip(X.split(CUTS), Y.split(CUTS), strict=True),
        "list": PAIRS,
        "named tuples": [Pair(x, y) for x, y in PAIRS],
        "mappings": [{"input": x, "labels": y} for x, y in PAIRS],
        "mappings of arrays": [{"input": x.numpy(), "labels": y.numpy().astype("uint8")} for x, y in PAIRS],
    }.items()},
    **{f"two inputs, {name}": Kind(partial(seeded, Two, 4, 4), data, "mse_loss", on_two, 30) for name, data in {
        "pair": ((A, B), T), "three": (A, B, T), "names": ({"a": A, "b": B}, T), "a batch": [((A, B), T)],
    }.items()},
    "namespaces": objects(lambda x, y: SimpleNamespace(x=x, y=y)),
    "dataclass": objects(Record),
    "own class": objects(lambda x, y: Moved(x=x, y=y)),
    "arrays in objects": objects(lambda x, y: SimpleNamespace(x=x.numpy(), y=y.numpy().astype(np.int32))),
    **{f"graph of {nodes}, {kind}": graphs(nodes, kind) for nodes in (34, 100) for kind in ("edges", "matrix", "sparse")},
    "packed sequences": whole(
        partial(seeded, Recurrent), [(PACKED, Y[:3])], "cross_entropy", classes(PACKED, Y[:3]), 3, programs=UNTRACED
    ),
    "time-major sequences": whole(
        partial(seeded, Recurrent), [(TIME_MAJOR, Y[:3])], "cross_entropy", classes(TIME_MAJOR, Y[:3]), 3, programs=UNTRACED
    ),
    "images in lists": whole(
        partial(seeded, Convolved), LISTS, ls.BatchLoss(Convolved.loss, count=lambda batch: len(batch[0])),
        lambda m: (3 * m.loss(LISTS[0]) + 2 * m.loss(LISTS[1])) / 5, 5, programs=UNTRACED,
    ),
    "a coupled loss": whole(
        linear, COUPLED, ls.BatchLoss(contrastive), lambda m: sum(contrastive(m, b) for b in COUPLED) / 2, 19, batches="fixed"
    ),
    "counted by the user": whole(linear, OPAQUE, UNSEEN, lambda m: m(X).square().mean(), 35, examples=CUTS, programs=UNTRACED),
    "counted by a function": whole(
        linear, OPAQUE, UNSEEN, lambda m: m(X).square().mean(), 35, examples=lambda batch: len(batch.x), programs=UNTRACED
    ),
    "complex weights": Kind(Complex, (X, Y), "cross_entropy", classes(X, Y)),
    # a holomorphic activation, whose gradient is conjugate to its derivative
    "complex tanh": Kind(partial(Complex, lambda z: z.tanh().real), (X, Y), "cross_entropy", classes(X, Y)),
    "Fourier layer": Kind(  # a gradient of irfft works in place, which is not traced
        Fourier, (FIELDS[0], FIELDS[1][:, :1]), "mse_loss", lambda m: F.mse_loss(m(FIELDS[0]), FIELDS[1][:, :1]), 6,
        programs=UNTRACED,
    ),
    "function of named tensors": params(lambda w, b: {"0.weight": w, "0.bias": b}),
    "function of nested tensors": params(lambda w, b: {"0": [w, b]}),
    "own loss, names": Kind(partial(seeded, Own, 4, 3), {"x": X, "labels": Y}, "model", lambda m: m(X, Y).loss),
    "own loss, pair": Kind(partial(seeded, Own, 4, 3), (X, Y), "model", lambda m: m(X, Y).loss),
    "own loss, step": Kind(partial(seeded, Steps, 4, 3), (X, Y), "model", classes(X, Y)),
    "logits by name": Kind(partial(seeded, Named, 4, 3), (X, Y), "cross_entropy", lambda m: F.cross_entropy(m(X)["logits"], Y)),
    "several outputs by name": Kind(partial(seeded, Named, 4, 3), (X, Y), of_named, lambda m: of_named(m(X), Y)),
    "several outputs": Kind(
        partial(seeded, Spread), (A, T.exp()), likelihood, lambda m: likelihood(m(A), T.exp()), 30, programs=UNTRACED
    ),
    "the first of several": Kind(
        partial(seeded, Spread), (A, T), lambda o, t: F.mse_loss(o, t), lambda m: F.mse_loss(m(A)[0], T), 30
    ),
    "a mapping as the input": Kind(
        partial(seeded, OfMappings, 4, 3), {"atoms": X, "labels": Y}, "cross_entropy", classes({"atoms": X}, Y)
    ),
    "classes on the last axis": Kind(
        partial(seeded, Tagger), (TOKENS[:, :4], PADDED), "cross_entropy", lambda m: by_token(m(TOKENS[:, :4]), PADDED), 6,
        options={"batch_size": 4},
    ),
    "tied padding": Kind(
        partial(seeded, TiedPadding), (TOKENS[:, 0], LABELS[:, 1]), "cross_entropy",
        lambda m: F.cross_entropy(m[0].weight[TOKENS[:, 0]] @ m[0].weight.T, LABELS[:, 1]), 6, options={"batch_size": 4},
    ),
    "tied and unused": Kind(partial(seeded, TiedAndUnused), (X, Y), "cross_entropy", classes(X, Y)),
    "a penalty on the weights": Kind(linear, PAIRS, ls.BatchLoss(ridge), lambda m: ridge(m, (X, Y))),
    "a factor for all examples": Kind(
        partial(seeded, Scaled, 4, 3), [{"x": x, "scale": torch.tensor(2.0), "labels": y} for x, y in PAIRS], "cross_entropy",
        lambda m: F.cross_entropy(m(X, 2)["logits"], Y),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", KINDS)
def test_every_kind_is_the_function_that_pytorch_computes(case):
    kind = KINDS[case]
    model = kind.make()
    objective = ls.Objective(model, kind.data, kind.loss, **kind.options)
    expected = kind.expected(model)
    gradient, H = derivatives(expected, list(model.parameters()))
    value = expected.item()
    assert (objective.n, objective.theta.dtype) == (kind.n, D)
    assert objective.loss() == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(objective.gradient(), gradient, rtol=1e-10, atol=1e-12)
    for options in [{"program": program} for program in kind.programs] + [{"coalesce": False}] * bool(kind.programs):
        torch.testing.assert_close(ls.Hessian(objective, **options).dense(), H, rtol=1e-9, atol=1e-10)
    middle = ls.line(objective, ls.random_directions(objective, n=1), points=3).values["train/loss"][1]
    assert middle == pytest.approx(value, rel=1e-12)
    if kind.rows:
        assert objective.rebatch(4).loss() == pytest.approx(value, rel=1e-12)
        assert objective.subset([3, 5]).rebatch(1).n == 2
        once = objective.batches.fingerprint() == objective.rebatch(5).batches.fingerprint()
        assert once != ("factor" in case)  # which every batch holds again
    else:
        assert type(objective.batches[0].raw) is type(kind.data[0])
        of_examples = (
            [objective.per_example, lambda: ls.EmpiricalFisher(objective)] if not objective.has_criterion else []
        )
        for refused in (lambda: objective.subset([1]), lambda: objective.rebatch(2), *of_examples):
            with pytest.raises(
                ls.NotDefinedError, match="needs single examples, but the batches are taken as they are"
            ):
                refused()


@pytest.mark.parametrize("options", [{}, {"count": lambda batch: len(batch[0])}, {"reduction": "sum"}])
def test_a_loss_that_couples_its_batch_is_refused_with_a_remedy_that_works(options):
    with pytest.raises(ls.LandscapeError, match=r"couples the examples of a batch, batches='fixed'"):
        ls.Objective(linear(), COUPLED, ls.BatchLoss(contrastive, **options))
    objective = ls.Objective(linear(), COUPLED, ls.BatchLoss(contrastive), batches="fixed")
    assert objective.provenance()["batches"] == "fixed"
    assert objective.on(COUPLED[:1]).loss() == pytest.approx(contrastive(linear(), COUPLED[0]).item(), rel=1e-12)
    swapped = ls.Objective(linear(), [(X[:19], X[16:35])], ls.BatchLoss(contrastive), batches="fixed")
    assert swapped.provenance()["data_sha256"] != objective.provenance()["data_sha256"]


def test_statistics_of_the_batch_are_refused_or_fixed():
    model = seeded(nn.Sequential, nn.Linear(4, 6), nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 3))
    for size in (35, 16, 9):
        with pytest.raises(ls.LandscapeError, match=r"depend on what else is in its batch .*batches='fixed'"):
            ls.Objective(model, (X, Y), "cross_entropy", batch_size=size)
    objective = ls.Objective(model, PAIRS, "cross_entropy", batches="fixed")
    expected = sum(F.cross_entropy(model(x), y) for x, y in PAIRS) / len(PAIRS)
    assert objective.loss() == pytest.approx(expected.item(), rel=1e-12)
    assert ls.sharpness(objective, ["gradient-norm"]).rows[0].status == "ok"
    with pytest.raises(ls.NotDefinedError, match="needs single examples"):
        ls.sharpness(objective, ["adaptive-worst-linf"])


def of(data, loss="cross_entropy", model=linear, **options):
    return lambda: ls.Objective(model(), data, loss, **options)


def moving(output, target):
    return F.cross_entropy(output, target, reduction="sum") / (output[:, 0] > 0).sum()


def ignoring(first):
    """Labels that are ignored from an example on: as many as not, or more."""
    labels = Y.repeat(6)
    labels[first:] = -100
    return of((X.repeat(6, 1), labels), lambda o, t: F.cross_entropy(o, t), batch_size=100)


class Masking(nn.Linear):
    """A network whose own loss leaves labels out."""

    def __init__(self, ignored=0):
        super().__init__(4, 3)
        self.ignored = ignored

    def forward(self, x, labels):
        return {"loss": F.cross_entropy(super().forward(x), labels, ignore_index=self.ignored)}


def masked(ignored):
    labels = Y.clone()
    labels[20:26] = ignored  # of the second batch: of −100 the first cannot show it
    return of(
        [{"x": X[:7], "labels": labels[:7]}, {"x": X[7:], "labels": labels[7:]}],
        "model",
        lambda: Masking(ignored).double(),
    )


REFUSED = {
    "nothing to count": (of([Opaque(X)], ls.BatchLoss(unseen)), r"\(Opaque\) cannot be told"),
    "unequal tensors": (
        of([SimpleNamespace(x=X, e=X[:5])], ls.BatchLoss(unseen)),
        r"SimpleNamespace with tensors \(35, 4\), \(5, 4\)\) cannot be told; pass examples=",
    ),
    "objects without a divisor": (
        of([Record(x, y) for x, y in PAIRS], ls.BatchLoss(on_objects)), r"pass count= .*batches='fixed'",
    ),
    "examples that disagree": (of(PAIRS, examples=5), r"examples= says 5 for a batch of 8 rows"),
    "too few numbers": (of(PAIRS, examples=[8, 8]), r"examples= has 2 numbers for 5 batches"),
    "no whole number": (of(PAIRS, examples=lambda batch: 0), "examples= gives 0 for a batch"),
    "another word": (of(PAIRS, batches="free"), "expected 'fixed'"),
    "a graph as whole tensors": (
        of(graph(34, "edges"), model=lambda: Graph(4, 3)),
        r"34 inputs but 2 targets; .* a list of batches, which are taken as they are: \[data\]",
    ),
    "text": (of("data.csv"), "the data is str"),
    "train and test": (of(((X, Y), (X, Y))), "pair of data sets"),
    "batches of two structures": (
        of([(X, Y), {"x": X, "labels": Y}]), "batch 1 is a tuple, batch 2 a dict of x, labels; expected batches of one structure",
    ),
    "a function for a network": (of((X, Y), model=lambda: lambda p, x: x), r"of a function f\(params, x\), pass ls\.Functional"),
    "no loss of its own": (of([(X,)], "model"), "the network returned no loss for a whole batch"),
    "a network that takes no labels": (of((X, Y), "model"), r"Linear\.forward does not take 2 inputs"),
    "an own loss that leaves labels out": (masked(0), "not a mean over what is counted"),
    "an own loss that leaves labels out later": (masked(-100), "not a mean over what is counted"),
    "a divisor that moves with theta": (
        of((X, Y), moving, count=lambda output, target: float((output[:, 0] > 0).sum())),
        r"count= is \d+ for the outputs .* batches='fixed'",
    ),
    "a divisor of one of several outputs": (
        of((A, T.exp()), likelihood, partial(seeded, Spread), count=lambda output, target: len(target)),
        r"count= is given one tensor of it; pass ls.BatchLoss",
    ),
    "many labels that are ignored later": (ignoring(110), "it is not a mean over what is counted"),
    "half of the labels ignored": (ignoring(150), "its parts give nothing to count: it is not a mean over what is counted"),
    "as many tokens as classes": (
        of((TOKENS, LABELS.clamp_max(4)), model=partial(seeded, Tagger)), "on axis 1 or on the last; pass the loss as a function",
    ),
    "a device without float64": (of((X, Y), device="mps"), r"float64, which 'mps' does not have; pass device='cpu'"),
    **{f"params, {said}": (partial(ls.Functional, lambda p, x: x, params), said) for said, params in {
        "torch.int64 as w": {"w": torch.ones(4, dtype=int)},
        "NoneType as w": {"w": None},
        "'forward' cannot name": {"forward": torch.ones(4)},
        "two tensors have this name": {"a.b": torch.ones(4), "a": {"b": torch.ones(4)}},
    }.items()},
    "params before the function": (lambda: ls.Functional({"w": X}, lambda p, x: x), "expected a function f"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_in_one_line(case):
    call, message = REFUSED[case]
    with pytest.raises(ls.LandscapeError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_what_a_refusal_proposes_is_exact():
    assert of((TOKENS, LABELS.clamp_max(4)), by_token, partial(seeded, Tagger), batches="fixed")().loss() > 0
    data, count = {"x": X, "labels": Y}, lambda batch: (batch["labels"] != 0).sum()
    model = Masking().double()
    assert ls.Objective(model, data, "model", count=count).loss() == pytest.approx(model(X, Y)["loss"].item())
    with pytest.warns(UserWarning, match="leaves out 3 of 35 examples"):
        assert of(DataLoader(TensorDataset(X, Y), batch_size=4, drop_last=True))().n == 32


def test_a_batch_is_held_once():
    for dtype in (torch.float64, torch.float32):
        data = of((X, Y), dtype=dtype, batch_size=16)().batches
        assert isinstance(data, Data)
        for batch in data:
            assert batch.raw[0] is batch.inputs
            assert batch.raw[1] is batch.target
    assert of((X, Y))().batches[0].inputs.untyped_storage().data_ptr() == X.untyped_storage().data_ptr()
    arrays = X.numpy().copy()
    objective = of((arrays, Y))()
    arrays[:] = 0  # no memory is shared
    assert objective.loss() == of((X, Y))().loss()


def test_objects_cannot_be_traced_and_their_data_are_told_apart():
    kind = objects(Record)
    objective = ls.Objective(linear(), kind.data, kind.loss)
    with pytest.raises(ls.LandscapeError, match=r"holds a .* cannot be traced"):
        ls.Hessian(objective, program="split").plan  # noqa: B018
    other = ls.Objective(linear(), [Record(x + 1, y) for x, y in PAIRS], kind.loss)
    assert other.provenance()["data_sha256"] != objective.provenance()["data_sha256"]


def test_what_is_wrong_with_a_batch_names_it():
    objective = of([(X[:10], Y[:10]), (X[10:] * float("nan"), Y[10:])])()
    named = r"on batch 2 of 2, 25 examples of the data: \(25, 4\) float64, \(25,\) int64"
    for call in (objective.loss, objective.gradient, lambda: ls.top_eigenpairs(ls.Hessian(objective), k=1)):
        with pytest.raises(ls.NumericalError, match=named):
            call()
    with pytest.raises(RuntimeError) as caught:
        of([(X[:10], Y[:10]), (X[10:, :2], Y[10:])])().loss()
    assert "called with batch 2 of 2, 25 examples of the data: (25, 2)" in caught.value.__notes__[0]
    with pytest.raises(TypeError, match="unexpected keyword argument 'pixels'"):
        of({"pixels": X, "labels": Y}, model=lambda: nn.Bilinear(2, 2, 3))()
    with pytest.raises(TypeError) as caught:
        of({"pixels": X, "labels": Y})()
    assert "the network takes none of the names pixels" in caught.value.__notes__[0]


def test_complex_weights_in_float32_slices_scores_and_files():
    model = Complex()
    objective = ls.Objective(model, (X, Y), "cross_entropy", dtype=torch.float32)
    expected = F.cross_entropy(model(X), Y).item()
    assert objective.theta.dtype == torch.float32
    assert objective.loss() == pytest.approx(expected, rel=1e-6)
    panel = ls.sharpness(objective, ["lambda-max", "adaptive-average", "weight-norm"])
    assert {row.status for row in panel.rows} == {"ok"}
    audit = ls.audit(objective, ["loss"], transformations=["T7"])  # in float64, imaginary parts and all
    assert audit.rows[0].before == pytest.approx(expected, rel=1e-6)
    moved = ls.Checkpoint(Complex(), model.state_dict(), loss="cross_entropy", train=(X, Y)).objective()
    assert moved.loss() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("case", ["complex tanh", "classes on the last axis"])
def test_the_other_matrices_are_those_of_pytorch(case):
    kind = KINDS[case]
    model = kind.make()
    objective = ls.Objective(model, kind.data, kind.loss, **kind.options)
    x, y = kind.data
    outputs = model(x).movedim(-1, 1) if x.dtype == torch.int64 else model(x)
    parameters = list(model.parameters())

    def rows(values):
        return torch.stack([flat(torch.autograd.grad(v, parameters, retain_graph=True)) for v in values.flatten()])

    logits, target = outputs.movedim(1, -1).flatten(0, -2), y.flatten()
    counted = target >= 0
    J, p = rows(logits[counted]).view(int(counted.sum()), -1, objective.size), logits[counted].softmax(1).detach()
    middle = torch.diag_embed(p) - p[:, :, None] * p[:, None]
    found = [kind(objective).dense() for kind in (ls.GaussNewton, ls.Fisher)]
    for matrix in found:
        torch.testing.assert_close(
            matrix, torch.einsum("nci,ncd,ndj->ij", J, middle, J) / counted.sum(), rtol=1e-9, atol=1e-12
        )
    terms = F.cross_entropy(logits[counted], target[counted], reduction="none")
    G = rows(terms)
    single = ls.EmpiricalFisher(objective, example="target").dense()
    torch.testing.assert_close(single, G.T @ G / counted.sum(), rtol=1e-9, atol=1e-12)
    accuracy = (logits.argmax(1) == target)[counted].double().mean().item()
    assert objective.evaluate()["accuracy"] == pytest.approx(accuracy)


def test_what_goes_with_a_criterion_of_several_outputs():
    model, data = seeded(Spread), (A, T.exp())
    objective = ls.Objective(model, data, likelihood)
    again = pickle.loads(pickle.dumps(objective))
    assert (again.loss(), again.loss_name) == (objective.loss(), "BatchLoss(likelihood)")
    assert objective.with_loss(likelihood).per_example().mean() == pytest.approx(objective.loss())
    assert ls.Objective(model, data, likelihood, mode="train").loss() == objective.loss()
    torch.testing.assert_close(objective.outputs(), model(A)[0].detach())
    with pytest.raises(ls.NotDefinedError, match="not a function of outputs and targets"):
        ls.GaussNewton(objective)


@pytest.mark.parametrize("options", [{}, {"weight": torch.tensor([1.0, 2.0, 3.0])}, {"ignore_index": 1}], ids=str)
def test_the_matrices_of_log_probabilities_are_those_of_logits(options):
    a = seeded(nn.Sequential, nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))
    b = nn.Sequential(*a, nn.LogSoftmax(1))
    pair = ls.Objective(a, (X, Y), nn.CrossEntropyLoss(**options)), ls.Objective(b, (X, Y), nn.NLLLoss(**options))
    for kind in (ls.GaussNewton, ls.Fisher):
        for program in PROGRAMS:
            torch.testing.assert_close(*(kind(o, program=program).dense() for o in pair), rtol=1e-10, atol=1e-12)
    with pytest.raises(ls.NotDefinedError, match="end the network in log_softmax, or use cross_entropy"):
        ls.GaussNewton(ls.Objective(a, (X, Y), "nll_loss"))


def test_outputs_that_are_nan_are_never_right():
    class Broken(nn.Linear):
        def forward(self, x):
            return super().forward(x) * float("nan")

    for outputs, loss, target in ((3, "cross_entropy", 0 * Y), (1, "binary_cross_entropy_with_logits", 0 * X[:, :1])):
        assert ls.Objective(Broken(4, outputs).double(), (X, target), loss).evaluate()["accuracy"] == 0.0


def test_one_tensor_is_params_enough_and_may_be_called_f():
    for params, weight in ((torch.eye(4), lambda p: p), ({"f": torch.eye(4)}, lambda p: p["f"])):
        model = ls.Functional(lambda p, x, weight=weight: x @ weight(p), params)
        assert torch.equal(model(X.float()), X.float())
    assert list(ls.Functional(len, {"0.weight": X, "0.bias": Y.double()}).state_dict()) == ["0.weight", "0.bias"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_sinc_has_its_second_derivative_at_zero(program):
    zero = nn.Linear(4, 2).double()
    nn.init.zeros_(zero.weight)
    nn.init.zeros_(zero.bias)
    target = torch.ones(35, 2, dtype=D) / 2
    objective = ls.Objective(zero, (X, target), lambda o, y: (torch.sinc(o) - y).mean())
    _, H = derivatives((1 - (torch.pi * zero(X)).square() / 6).mean(), list(zero.parameters()))
    torch.testing.assert_close(ls.Hessian(objective, program=program).dense(), H, rtol=1e-9, atol=1e-12)


class Equilibrium(nn.Module):
    """z = tanh(A x + B z), solved under no_grad; one step carries the gradient, which is then not that of the loss."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 3), nn.Linear(3, 3, bias=False)

    def forward(self, x):
        with torch.no_grad():
            z = torch.zeros(len(x), 3, dtype=x.dtype)
            for _ in range(100):
                z = torch.tanh(self.a(x) + self.b(z) / 3)
        return torch.tanh(self.a(x) + self.b(z) / 3)


@pytest.mark.parametrize("program", ["auto", "kept", "recompute"])
def test_a_gradient_that_is_not_that_of_the_loss_is_refused(program):
    objective = of((X, Y), model=partial(seeded, Equilibrium))()
    with pytest.raises(ls.NumericalError, match=r"products with the Hessian are not .*no_grad"):
        ls.Hessian(objective, program=program) @ objective.theta


# --- single targets as examples ---------------------------------------------------------------------------------------

CLASS_WEIGHTS = torch.linspace(0.5, 2, 7, dtype=D)
ELEMENTS = draw(6, 5, 7)
SINGLE = {
    "tokens": (LABELS, nn.CrossEntropyLoss()),
    "weighted tokens": (LABELS, nn.CrossEntropyLoss(weight=CLASS_WEIGHTS)),
    "tokens summed": (LABELS, nn.CrossEntropyLoss(reduction="sum")),
    "elements": (ELEMENTS, nn.MSELoss()),
    "elements summed": (ELEMENTS, nn.MSELoss(reduction="sum")),
}


@pytest.mark.parametrize("case", SINGLE)
def test_single_targets_as_examples_of_the_empirical_fisher_matrix(case):
    targets, loss = SINGLE[case]
    model = Tagger(7).double()
    objective = ls.Objective(model, (TOKENS, targets), loss, batch_size=4)
    outputs, target = model(TOKENS).flatten(0, 1), targets.flatten(0, 1)
    if case.startswith("elements"):
        terms, weights = (outputs - target).square().flatten(), torch.ones(6 * 5 * 7, dtype=D)
    else:
        terms = F.cross_entropy(outputs, target, reduction="none")
        weights = (target >= 0).double() * (CLASS_WEIGHTS[target.clamp_min(0)] if case == "weighted tokens" else 1)
    weights = weights if case.endswith("summed") else weights / weights.sum()
    J = torch.stack([flat(torch.autograd.grad(t, list(model.parameters()), retain_graph=True)) for t in terms])
    expected, mean = J.T @ (weights[:, None] * J), J.T @ weights
    found = ls.EmpiricalFisher(objective, example="target")
    torch.testing.assert_close(found.dense(), expected, rtol=1e-8, atol=1e-12)
    assert found.provenance["example"] == "target"
    covariance = ls.GradientCovariance(objective, example="target").dense()
    torch.testing.assert_close(covariance, expected - torch.outer(mean, mean) / weights.sum(), rtol=1e-8, atol=1e-12)
    # each process of a sharded network multiplies batches with their shares
    for example in ("row", "target"):
        rule, batch = EmpiricalFisherRule(objective, example), objective.batches[0]
        with objective.guard(second=True):
            whole, quarter = (rule.values(objective.theta, rule.dress(batch.rescaled(s), ())) for s in (1.0, 0.25))
        torch.testing.assert_close(quarter, whole / 2)


def test_what_counts_as_an_example_is_one_of_two_words():
    objective, targets = of((X, Y))(), draw(35, 3).softmax(1)
    rows = ls.EmpiricalFisher(objective).dense()
    torch.testing.assert_close(ls.EmpiricalFisher(objective, example="target").dense(), rows)
    with pytest.raises(ls.LandscapeError, match="expected 'row' or 'target'"):
        ls.EmpiricalFisher(objective, example="token")
    with pytest.raises(ls.NotDefinedError, match="single targets are known of PyTorch's own losses"):
        ls.EmpiricalFisher(objective.with_loss(lambda o, y: F.cross_entropy(o, y)), example="target")
    model = linear()  # probabilities as targets of a sum have weight one
    terms = F.cross_entropy(model(X), targets, reduction="none")
    J = torch.stack([flat(torch.autograd.grad(t, list(model.parameters()), retain_graph=True)) for t in terms])
    summed = ls.Objective(model, (X, targets), nn.CrossEntropyLoss(reduction="sum"))
    torch.testing.assert_close(ls.EmpiricalFisher(summed).dense(), J.T @ J)
