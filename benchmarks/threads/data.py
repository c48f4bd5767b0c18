"""Data as people have them: dictionaries, named tuples, lists, graphs, data sets of their own."""

from __future__ import annotations

from collections import UserDict, namedtuple
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

import landscape as ls
from threads import Case, Layer, kind, net, r, rows


@kind("batches as UserDict", "f-dangel/curvlinops#86, Make less/no assumption about the data")
def _() -> Case:
    X, y = rows()
    batches = [UserDict(input_ids=X[:8], labels=y[:8]), UserDict(input_ids=X[8:], labels=y[8:])]
    model = Layer(lambda m, input_ids: SimpleNamespace(logits=m.b(m.a(input_ids).tanh())), 4, 5, 3)
    return Case(model, batches, "cross_entropy", lambda m: F.cross_entropy(m(X).logits, y))


@kind("a list of three tensors of different shapes as input", "aleximmer/Laplace#283, Input that is not tensor")
def _() -> Case:
    parts, y = [r(12, 4), r(12, 2, 2), r(12)], r(12, 1)
    model = Layer(lambda m, a, b, c: m.b((m.a(a) + b.flatten(1).sum(1, True) * c[:, None]).tanh()), 4, 5, 1)
    return Case(model, [(tuple(parts), y)], "mse_loss", lambda m: F.mse_loss(m(*parts), y))


@kind("the same, as a list that the network takes whole", "aleximmer/Laplace#283, Input that is not tensor")
def _() -> Case:
    parts, y = [r(12, 4), r(12, 2, 2)], r(12, 1)
    model = Layer(lambda m, x: m.b((m.a(x[0]) + x[1].flatten(1).sum(1, True)).tanh()), 4, 5, 1)
    loss = ls.BatchLoss(lambda m, batch: F.mse_loss(m(batch[0]), batch[1]))
    return Case(model, [(parts, y)], loss, lambda m: F.mse_loss(m(parts), y))


@kind("a loader of (x, t, y) for a PINN of two inputs", "aleximmer/Laplace#35, Custom likelihood and data_loader")
def _() -> Case:
    x, t, y = r(12, 1), r(12, 1), r(12, 1)
    model = Layer(lambda m, x, t: m.b(m.a(torch.cat([x, t], 1)).tanh()), 2, 5, 1)
    loader = DataLoader(TensorDataset(x, t, y), batch_size=5)
    return Case(model, loader, "mse_loss", lambda m: F.mse_loss(m(x, t), y))


@kind(
    "the whole data set, batch after batch of unequal size", "noahgolmant/pytorch-hessian-eigenthings#28, full dataset"
)
def _() -> Case:
    X, y = rows(13)
    return Case(net(4, 5, 3), list(zip(X.split(5), y.split(5))), "cross_entropy", lambda m: F.cross_entropy(m(X), y))


@kind(
    "a data set class of one's own, without a loader",
    "noahgolmant/pytorch-hessian-eigenthings#44, operate without dataloaders",
)
def _() -> Case:
    X, y = rows()

    class Own:
        def __len__(self) -> int:
            return len(X)

        def __getitem__(self, i: int) -> tuple[Tensor, int]:
            return X[i], int(y[i])

    return Case(net(4, 5, 3), Own(), "cross_entropy", lambda m: F.cross_entropy(m(X), y))


@kind(
    "a data set that augments at random", "xxxnell/how-do-vits-work#12, How to plot the Hessian max eigenvalue spectra?"
)
def _() -> Case:
    X, y = rows()
    seen: dict[int, Tensor] = {}

    class Augmented(Dataset[Any]):
        def __len__(self) -> int:
            return len(X)

        def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
            return seen.setdefault(i, X[i] + r(4)), y[i]  # the oracle has what was first read

    return Case(
        net(4, 5, 3),
        Augmented(),
        "cross_entropy",
        lambda m: F.cross_entropy(m(torch.stack([seen[i] for i in range(12)])), y),
    )


@kind("named tuples with a mask", "f-dangel/curvlinops#100, Support arbitrary X in data")
def _() -> Case:
    X, y = rows()
    Masked = namedtuple("Masked", "x mask y")
    keep = torch.arange(12) % 4 != 0
    loss = ls.BatchLoss(lambda m, b: F.cross_entropy(m(b.x)[b.mask], b.y[b.mask]), count=lambda b: float(b.mask.sum()))
    batches = [Masked(X[i : i + 6], keep[i : i + 6], y[i : i + 6]) for i in (0, 6)]
    return Case(net(4, 5, 3), batches, loss, lambda m: F.cross_entropy(m(X)[keep], y[keep]))


@kind("labels in a column (n, 1) of a binary classifier", "aai-institute/pyDVL#441, TorchLogisticRegression")
def _() -> Case:
    X, y = r(12, 4), (r(12, 1) > 0).to(torch.float64)
    model = Layer(lambda m, x: torch.sigmoid(m.b(m.a(x))), 4, 5, 1)
    return Case(model, (X, y), F.binary_cross_entropy, lambda m: F.binary_cross_entropy(m(X), y))


@kind(
    "images that a network maps to images", "aleximmer/Laplace#113, purely convolutional networks for image regression"
)
def _() -> Case:
    X, y = r(6, 1, 6, 6), r(6, 1, 6, 6)
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv2d(2, 1, 3, padding=1))
    return Case(model, DataLoader(TensorDataset(X, y), batch_size=4), "mse_loss", lambda m: F.mse_loss(m(X), y))


@kind("one graph, distances along its edges as weights", "pyg-team/pytorch_geometric#1807, 2nd order gradient issue")
def _() -> Case:
    x, place, edges, y = r(9, 4), r(9, 3), torch.randint(0, 9, (2, 30)), torch.arange(9) % 3

    def spread(m: Any, x: Tensor, place: Tensor, edges: Tensor) -> Tensor:
        weight = (place[edges[0]] - place[edges[1]]).norm(dim=1, keepdim=True)
        return m.b(torch.zeros(9, 5).index_add(0, edges[1], m.a(x)[edges[0]] * weight).tanh())

    model = Layer(spread, 4, 5, 3)
    return Case(model, [((x, place, edges), y)], "cross_entropy", lambda m: F.cross_entropy(m(x, place, edges), y))


@kind("scatter by product over segments", "rusty1s/pytorch_scatter#213, second-order gradients of scatter_mul")
def _() -> Case:
    x, y, index = r(9, 4), r(3, 2), torch.arange(9) % 3
    loss = ls.BatchLoss(lambda m, b: F.mse_loss(m(b[0]), b[1]))
    scatter = lambda m, x: torch.ones(3, 2).index_reduce(0, index, m.b(m.a(x).tanh()), "prod")  # noqa: E731
    return Case(Layer(scatter, 4, 5, 2), [(x, y)], loss, lambda m: F.mse_loss(m(x), y))


@kind("segments reduced by their maximum", "rusty1s/pytorch_scatter#299, Empty second-order derivative (= Hessian)")
def _() -> Case:
    x, y, index = r(9, 4), r(3, 2), (torch.arange(9) % 3)[:, None].expand(9, 2)
    loss = ls.BatchLoss(lambda m, b: F.mse_loss(m(b[0]), b[1]))
    scatter = lambda m, x: torch.zeros(3, 2).scatter_reduce(0, index, m.b(m.a(x).tanh()), "amax", include_self=False)  # noqa: E731
    return Case(Layer(scatter, 4, 5, 2), [(x, y)], loss, lambda m: F.mse_loss(m(x), y))
