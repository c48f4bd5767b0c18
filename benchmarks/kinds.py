"""Kinds of networks, losses, data and files that people ask about in public, each against plain double backward.

Run ``python benchmarks/kinds.py``; the table goes to ``benchmarks/results/kinds.md``. A case is what a thread describes, made
small: a network, data and loss as that person has them, and the same loss of all the data, written plainly. The oracle is the
dense Hessian by two plain backward passes in float64, which does not use the package. Every program is asked for the whole
matrix; a row says the largest error relative to the largest entry, or the one line with which it was refused.
"""

from __future__ import annotations

import argparse
import os
import warnings
from collections import UserDict, namedtuple
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise, product
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple

os.environ.setdefault("LANDSCAPE_PROGRESS", "0")

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint
from torch.utils.data import DataLoader, Dataset, TensorDataset

import landscape as ls

RESULTS = Path(__file__).parent / "results"
PROGRAMS: tuple[str | None, ...] = (None, "kept", "split", "recompute")


class Case(NamedTuple):
    """What a thread describes.

    Attributes:
        model: the network.
        data: the data as the thread has them.
        loss: the loss as the package takes it.
        plain: the same loss of all the data, as a function of the network.
        options: further arguments of the objective.
    """

    model: nn.Module
    data: Any
    loss: Any
    plain: Callable[[Any], Tensor]
    options: Mapping[str, Any] = MappingProxyType({})


KINDS: dict[str, tuple[str, Callable[[], Case]]] = {}


def kind(name: str, source: str) -> Callable[[Callable[[], Case]], Callable[[], Case]]:
    """Register a case under a name, with the thread it is from."""

    def register(make: Callable[[], Case]) -> Callable[[], Case]:
        KINDS[name] = source, make
        return make

    return register


def r(*shape: int) -> Tensor:
    """Return normal numbers."""
    return torch.randn(*shape)


def net(*sizes: int) -> nn.Sequential:
    """Return a small network with tanh between its layers."""
    layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


def rows(n: int = 12, features: int = 4, classes: int = 3) -> tuple[Tensor, Tensor]:
    """Return inputs and labels."""
    return r(n, features), torch.arange(n) % classes


def classify(model: nn.Module, data: tuple[Tensor, Tensor] | None = None, loss: Any = "cross_entropy") -> Case:
    """Return the case of a classifier on rows."""
    X, y = data or rows()
    return Case(model, (X, y), loss, lambda m: F.cross_entropy(m(X), y))


class Layer(nn.Module):
    """A linear layer and whatever the case does with it."""

    def __init__(self, f: Callable[..., Any], *sizes: int, **parts: nn.Module):
        super().__init__()
        self.f, self.a, self.b = f, nn.Linear(sizes[0], sizes[1]), nn.Linear(sizes[1], sizes[-1])
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Call it."""
        return self.f(self, *inputs, **named)


# --- data -------------------------------------------------------------------------------------------------------------


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


# --- losses -----------------------------------------------------------------------------------------------------------


@kind("a PINN without targets", "amirgholami/PyHessian#15, edits for PINN/custom loss functions")
def _() -> Case:
    x = torch.linspace(0, 1, 9)[:, None]

    def residual(m: Any, batch: Any) -> Tensor:
        at = batch[0].clone().requires_grad_()
        u = m(at)
        (du,) = torch.autograd.grad(u.sum(), at, create_graph=True)
        (ddu,) = torch.autograd.grad(du.sum(), at, create_graph=True)
        return (ddu + u).square().mean() + m(torch.zeros(1, 1)).square().mean()

    return Case(net(1, 5, 1), [(x,)], ls.BatchLoss(residual), lambda m: residual(m, (x,)))


@kind("a gradient penalty (WGAN-GP)", "pytorch/pytorch#2534, Gradient of gradient explodes when training WGAN-GP")
def _() -> Case:
    X = r(10, 4)

    def penalty(m: Any, batch: Any) -> Tensor:
        at = batch[0].clone().requires_grad_()
        (g,) = torch.autograd.grad(m(at).sum(), at, create_graph=True)
        return m(batch[0]).mean() + 10 * (g.norm(dim=1) - 1).square().mean()

    return Case(net(4, 5, 1), (X, X), ls.BatchLoss(penalty), lambda m: penalty(m, (X,)))


@kind(
    "a loss on the dot product of a gradient and a vector",
    "pytorch/pytorch#47870, Problem with nested gradient calculation",
)
def _() -> Case:
    x, dx, y = r(6, 2), r(6, 2), r(6)

    def along(m: Any, batch: Any) -> Tensor:
        q = batch[0].clone().requires_grad_()
        out = m(q)
        (g,) = torch.autograd.grad(out, q, torch.ones_like(out), create_graph=True, retain_graph=True)
        return (((g * batch[1]).sum(1) - batch[2]) ** 2).mean()

    return Case(net(2, 6, 1), [(x, dx, y)], ls.BatchLoss(along), lambda m: along(m, (x, dx, y)))


@kind("mean and variance from two heads", "aleximmer/Laplace#78, when a regression model predicts mean and variance")
def _() -> Case:
    X, y = r(12, 4), r(12, 1)
    heads = Layer(lambda m, x: (m.b(m.a(x).tanh()), F.softplus(m.v(x)) + 0.1), 4, 5, 1, v=nn.Linear(4, 1))
    criterion = lambda out, t: F.gaussian_nll_loss(out[0], t, out[1])  # noqa: E731
    return Case(heads, (X, y), criterion, lambda m: criterion(m(X), y))


@kind(
    "a loss module of one's own (soft Dice)", "f-dangel/backpack#325, Second Order Extensions for Custom Loss Modules"
)
def _() -> Case:
    X, y = r(4, 1, 6, 6), (r(4, 1, 6, 6) > 0).to(torch.float64)

    class SoftDice(nn.Module):
        def forward(self, output: Tensor, target: Tensor) -> Tensor:
            p = output.sigmoid()
            return 1 - (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)

    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.ConvTranspose2d(2, 1, 1))
    return Case(model, [(X, y)], SoftDice(), lambda m: SoftDice()(m(X), y), {"batches": "fixed"})


@kind(
    "the same Dice loss on data that may be cut",
    "f-dangel/backpack#325, Second Order Extensions for Custom Loss Modules",
)
def _() -> Case:
    case = KINDS["a loss module of one's own (soft Dice)"][1]()
    return case._replace(data=case.data[0], options={})


@kind("reduction='none', weighted afterwards", "davda54/sam#66, requires closure (loss prediction per example)")
def _() -> Case:
    X, y = rows()
    return Case(net(4, 5, 3), (X, y), nn.CrossEntropyLoss(reduction="none"), lambda m: F.cross_entropy(m(X), y))


@kind("weight decay inside the loss", "xxxnell/how-do-vits-work#12, pseudo-code with weight_decay")
def _() -> Case:
    X, y = rows()

    def decayed(m: Any, batch: Any) -> Tensor:
        return F.cross_entropy(m(batch[0]), batch[1]) + 1e-2 * sum(p.square().sum() for p in m.parameters())

    return Case(net(4, 5, 3), (X, y), ls.BatchLoss(decayed), lambda m: decayed(m, (X, y)))


@kind("another loss than that of training", "cc-hpc-itwm/GradVis#2, Different criterions")
def _() -> Case:
    X, y = rows()
    hot = F.one_hot(y, 3).to(torch.float64)
    return Case(net(4, 5, 3), (X, hot), nn.MSELoss(), lambda m: F.mse_loss(m(X), hot))


@kind("token classes on the last axis, padding −100", "aleximmer/Laplace#144, multiple leading dims (n, T, C)")
def _() -> Case:
    tokens, labels = torch.randint(0, 7, (5, 6)), torch.randint(0, 3, (5, 6))
    labels[:, 4:] = -100
    model = nn.Sequential(nn.Embedding(7, 4), nn.Linear(4, 3))
    return Case(
        model, (tokens, labels), "cross_entropy", lambda m: F.cross_entropy(m(tokens).flatten(0, 1), labels.flatten())
    )


@kind(
    "the network computes its loss (model(**batch).loss)",
    "noahgolmant/pytorch-hessian-eigenthings#45, huggingface models",
)
def _() -> Case:
    X, y = rows()

    def forward(m: Any, x: Tensor, labels: Tensor | None = None) -> Any:
        logits = m.b(m.a(x).tanh())
        return {"loss": None if labels is None else F.cross_entropy(logits, labels), "logits": logits}

    batches = [{"x": X[:7], "labels": y[:7]}, {"x": X[7:], "labels": y[7:]}]
    return Case(Layer(forward, 4, 5, 3), batches, "model", lambda m: m(X, y)["loss"])


@kind("the output is a structure with .logits", "noahgolmant/pytorch-hessian-eigenthings#45, optional logits attribute")
def _() -> Case:
    X, y = rows()
    model = Layer(lambda m, x: SimpleNamespace(hidden=x, logits=m.b(m.a(x).tanh())), 4, 5, 3)
    return Case(model, (X, y), "cross_entropy", lambda m: F.cross_entropy(m(X).logits, y))


@kind("binary_cross_entropy summed", "pytorch/pytorch#59477, double backward fails with reduction='sum'")
def _() -> Case:
    X, y = r(9, 4), torch.rand(9, 3)
    model = nn.Sequential(*net(4, 5, 3), nn.Sigmoid())
    loss = partial(F.binary_cross_entropy, reduction="sum")
    return Case(model, (X, y), loss, lambda m: loss(m(X), y))


@kind("CTC", "pytorch/pytorch#70108, Derivative for _ctc_loss_backward")
def _() -> Case:
    X, letters, steps, lengths = r(3, 5, 4), torch.randint(1, 3, (3, 2)), torch.full((3,), 5), torch.full((3,), 2)

    def paths(m: Any) -> Tensor:
        """Sum over all alignments of five steps, written out."""
        scores, total = m(X).log_softmax(-1), []
        for i in range(3):
            fitting = []
            for path in product(range(3), repeat=5):
                merged = [k for k, before in zip(path, (None, *path)) if k != before and k != 0]
                if merged == letters[i].tolist():
                    fitting.append(scores[i, torch.arange(5), torch.tensor(path)].sum())
            total.append(-torch.stack(fitting).logsumexp(0) / 2)
        return torch.stack(total).mean()

    def ctc(m: Any, batch: Any) -> Tensor:
        x, spelled, steps, lengths = batch
        return F.ctc_loss(m(x).log_softmax(-1).transpose(0, 1), spelled, steps, lengths)

    return Case(net(4, 4, 3), [(X, letters, steps, lengths)], ls.BatchLoss(ctc), paths)


@kind(
    "a contrastive loss in batches",
    "no thread: a control of losses that couple a batch",
)
def _() -> Case:
    pairs = [(r(5, 4), r(5, 4)), (r(5, 4), r(5, 4))]

    def contrast(m: Any, batch: Any) -> Tensor:
        a, b = (F.normalize(m(x), dim=1) for x in batch)
        return F.cross_entropy(a @ b.T, torch.arange(5))

    return Case(
        net(4, 5, 3),
        pairs,
        ls.BatchLoss(contrast),
        lambda m: (contrast(m, pairs[0]) + contrast(m, pairs[1])) / 2,
        {"batches": "fixed"},
    )


@kind(
    "MAML: a step of the inner loop inside the loss",
    "pytorch/pytorch#5261, double backward for RNNs (meta-learning, in its comments)",
)
def _() -> Case:
    X, y = r(10, 4), r(10, 1)

    def outer(m: Any, batch: Any) -> Tensor:
        names, weights = zip(*m.named_parameters())
        inner = F.mse_loss(m(batch[0][:5]), batch[1][:5])
        steps = torch.autograd.grad(inner, weights, create_graph=True)
        moved = {n: w - 0.1 * g for n, w, g in zip(names, weights, steps)}
        return F.mse_loss(torch.func.functional_call(m, moved, batch[0][5:]), batch[1][5:])

    return Case(net(4, 4, 1), [(X, y)], ls.BatchLoss(outer), lambda m: outer(m, (X, y)), {"batches": "fixed"})


# --- operations -------------------------------------------------------------------------------------------------------


def last(module: nn.Module) -> Case:
    """Return the case of a recurrent layer read at its last step."""
    X, y = r(6, 5, 4), torch.arange(6) % 3
    model = Layer(lambda m, x: m.b(m.layer(x)[0][:, -1]), 4, 5, 3, layer=module)
    del model.a
    return Case(model, (X, y), "cross_entropy", lambda m: F.cross_entropy(m(X), y))


for recurrent, thread in {
    "RNN": "pytorch/pytorch#25315, No double backwards implemented for several RNN ops",
    "LSTM": "pytorch/pytorch#9229, fused LSTM op doesn't support double backward",
    "GRU": "pytorch/pytorch#5261, support double backward for cudnn RNNs",
}.items():
    kind(recurrent, thread)(lambda name=recurrent: last(getattr(nn, name)(4, 5, batch_first=True)))


@kind(
    "LSTMCell unrolled by hand",
    "pytorch/pytorch#20449, derivative for _thnn_fused_lstm_cell_backward is not implemented",
)
def _() -> Case:
    X, y = r(6, 4, 4), torch.arange(6) % 3

    def unroll(m: Any, x: Tensor) -> Tensor:
        state = None
        for t in range(x.shape[1]):
            state = m.cell(x[:, t], state)
        return m.b(state[0])

    model = Layer(unroll, 4, 5, 3, cell=nn.LSTMCell(4, 5))
    return Case(model, (X, y), "cross_entropy", lambda m: F.cross_entropy(m(X), y))


@kind(
    "scaled_dot_product_attention",
    "pytorch/pytorch#116350, _scaled_dot_product_flash_attention_backward is not implemented",
)
def _() -> Case:
    X, y = r(4, 5, 4), torch.arange(4) % 3

    def attend(m: Any, x: Tensor) -> Tensor:
        h = m.a(x)
        return m.b(F.scaled_dot_product_attention(h, h, h, is_causal=True)).mean(1)

    return Case(Layer(attend, 4, 5, 3), (X, y), "cross_entropy", lambda m: F.cross_entropy(m(X), y))


@kind("a transformer layer with a padding mask", "pytorch/pytorch#128971, forward AD with flash attention")
def _() -> Case:
    X, y, pad = r(4, 5, 4), torch.arange(4) % 3, torch.arange(5).expand(4, 5) >= torch.tensor([[5], [4], [3], [5]])
    layer = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, dropout=0.1)
    model = Layer(lambda m, x, pad: m.b(m.layer(x, src_key_padding_mask=pad)[:, 0]), 4, 4, 3, layer=layer)
    del model.a
    return Case(model, ((X, pad), y), "cross_entropy", lambda m: F.cross_entropy(m.eval()(X, pad), y))


@kind(
    "batch norm in training's statistics", "pytorch/functorch#986, Having BatchNorm2D raises in-place operation error"
)
def _() -> Case:
    X, y = r(8, 1, 5, 5), torch.arange(8) % 3
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3))

    def plain(m: Any) -> Tensor:
        return F.cross_entropy(m.train()(X), y)

    return Case(model, (X, y), "cross_entropy", plain, {"norm": "batch", "batch_size": 8})


@kind("batch norm without running statistics", "pytorch/functorch#986, track_running_stats=False")
def _() -> Case:
    X, y = rows()
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Tanh(), nn.Linear(5, 3))
    return Case(model, [(X, y)], "cross_entropy", lambda m: F.cross_entropy(m(X), y), {"batches": "fixed"})


@kind("batch norm, frozen", "pytorch/pytorch#85533, transforms don't work with BatchNorm")
def _() -> Case:
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))
    X, y = rows()
    return Case(model, (X, y), "cross_entropy", lambda m: F.cross_entropy(m.eval()(X), y))


@kind("convolution, dilated and grouped", "pytorch/pytorch#3064, double backward for Conv2d failing")
def _() -> Case:
    X, y = r(6, 2, 7, 7), torch.arange(6) % 3
    model = nn.Sequential(nn.Conv2d(2, 4, 3, dilation=2, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
    return classify(model, (X, y))


@kind("unfold and fold", "pytorch/pytorch#33452, 2nd derivative for im2col and col2im not implemented")
def _() -> Case:
    X, y = r(5, 1, 6, 6), torch.arange(5) % 3
    f = lambda m, x: m.b(  # noqa: E731
        F.fold(m.a(F.unfold(x, 2, stride=2).transpose(1, 2)).transpose(1, 2), (6, 6), 2, stride=2).flatten(1)
    )
    model = Layer(f, 4, 4, 3)
    model.b = nn.Linear(36, 3)
    return classify(model, (X, y))


@kind("grid_sample", "pytorch/pytorch#34704, derivative for grid_sampler_2d_backward is not implemented")
def _() -> Case:
    X, y = r(4, 1, 5, 5), torch.arange(4) % 3
    f = lambda m, x: m.b(F.grid_sample(x, m.a(x.flatten(1)).tanh().view(-1, 3, 1, 2), align_corners=False).flatten(1))  # noqa: E731
    model = Layer(f, 25, 6, 3)
    model.b = nn.Linear(3, 3)
    X2, y2 = X, y

    def plain(m: Any) -> Tensor:  # bilinear interpolation, written out
        grid = (m.a(X2.flatten(1)).tanh().view(-1, 3, 2) + 1) * 2.5 - 0.5
        low, frac = grid.detach().floor(), grid - grid.detach().floor()
        out = torch.zeros(4, 3)
        for dx in (0, 1):
            for dy in (0, 1):
                col, row = (low[..., 0] + dx).long(), (low[..., 1] + dy).long()
                inside = (col >= 0) & (col < 5) & (row >= 0) & (row < 5)
                pixel = X2[torch.arange(4)[:, None], 0, row.clamp(0, 4), col.clamp(0, 4)] * inside
                out = out + pixel * (frac[..., 0] if dx else 1 - frac[..., 0]) * (
                    frac[..., 1] if dy else 1 - frac[..., 1]
                )
        return F.cross_entropy(m.b(out), y2)

    return Case(model, (X, y), "cross_entropy", plain)


@kind("a product with two zeros", "pytorch/pytorch#106789, Fix prod double backward when there are 2+ zeros")
def _() -> Case:
    X, y = rows(9)
    gate = torch.ones(9, 3)
    gate[::2, :2] = 0
    model = Layer(lambda m, x: m.b((m.a(x)[:, :3] * gate[: len(x)]).prod(1, keepdim=True) + m.a(x)), 4, 5, 3)

    def plain(m: Any) -> Tensor:
        h = m.a(X)[:, :3] * gate
        return F.cross_entropy(m.b(h[:, :1] * h[:, 1:2] * h[:, 2:] + m.a(X)), y)

    return Case(model, [(X, y)], "cross_entropy", plain, {"batches": "fixed"})


@kind("spectral norm", "pytorch/pytorch#12737, SpectralNorm in eval doesn't connect grad to weight_orig")
def _() -> Case:
    X, y = rows()
    model = nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3))
    return Case(model, (X, y), "cross_entropy", lambda m: F.cross_entropy(m.eval()(X), y))


def by_hand(m: Any, X: Tensor, y: Tensor, g: Tensor, v: Tensor) -> Tensor:
    """Return the loss with the weights v g / ‖v‖ written out: the double backward of PyTorch's own operation is wrong."""
    return F.cross_entropy(m[2](F.linear(X, v * (g / v.square().sum(1, keepdim=True).sqrt()), m[0].bias).tanh()), y)


@kind("weight norm", "facebookresearch/higher#14, Inner loop incompatible with weight_norm")
def _() -> Case:
    model, (X, y) = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3)), rows()
    parts = lambda m: m[0].parametrizations.weight  # noqa: E731
    return Case(model, (X, y), "cross_entropy", lambda m: by_hand(m, X, y, parts(m).original0, parts(m).original1))


@kind("weight norm as it was, by hooks", "facebookresearch/higher#14, Inner loop incompatible with weight_norm")
def _() -> Case:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, (X, y) = nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 3)), rows()
    return Case(model, (X, y), "cross_entropy", lambda m: by_hand(m, X, y, m[0].weight_g, m[0].weight_v))


@kind("checkpointed blocks", "pytorch/pytorch#102223, torch.utils.checkpoint fails with torch.autograd.grad")
def _() -> Case:
    X, y = rows()
    model = Layer(lambda m, x: m.b(checkpoint(lambda h: m.a(h).tanh(), x, use_reentrant=False)), 4, 5, 3)
    return Case(model, (X, y), "cross_entropy", lambda m: F.cross_entropy(m.b(m.a(X).tanh()), y))


@kind("checkpointed blocks, reentrant", "pytorch/pytorch#65537, New utils.checkpoint rollout")
def _() -> Case:
    X, y = rows()
    model = Layer(lambda m, x: m.b(checkpoint(lambda h: m.a(h).tanh(), x, use_reentrant=True)), 4, 5, 3)
    return Case(model, (X, y), "cross_entropy", lambda m: F.cross_entropy(m.b(m.a(X).tanh()), y))


@kind("a compiled network", "pytorch/pytorch#91469, torch.compile silently incorrect on double backwards")
def _() -> Case:
    model, (X, y) = net(4, 5, 3), rows()
    return Case(
        torch.compile(model, backend="aot_eager"), (X, y), "cross_entropy", lambda m: F.cross_entropy(model(X), y)
    )


@kind("a compiled function inside the network", "pytorch/pytorch#183603, torch.compile fails on second-order gradient")
def _() -> Case:
    X, y = rows()
    squash = torch.compile(lambda h: (h**4).tanh(), backend="aot_eager")
    model = Layer(lambda m, x: m.b(squash(m.a(x))), 4, 5, 3)
    return Case(model, (X, y), "cross_entropy", lambda m: F.cross_entropy(m.b((m.a(X) ** 4).tanh()), y))


class Doubled(torch.autograd.Function):
    """Uses in its backward what the forward pass computed on the way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return x²."""
        ctx.kept = 2 * x
        return x.square()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # type: ignore[override]
        """Return 2x g, x as a number."""
        return ctx.kept * g


@kind("a custom function that keeps intermediate results", "pytorch/pytorch#58509, intermediary results are dangerous")
def _() -> Case:
    X, y = rows()
    model = Layer(lambda m, x: m.b(Doubled.apply(m.a(x))), 4, 5, 3)
    return Case(model, (X, y), "cross_entropy", lambda m: F.cross_entropy(m.b(m.a(X) ** 2), y))


class Products(torch.autograd.Function):
    """Divides by its input in backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Return the product of each row."""
        out = x.prod(1)
        ctx.save_for_backward(x, out)
        return out

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # type: ignore[override]
        """Return g y / x."""
        x, out = ctx.saved_tensors
        return (g * out)[:, None] / x


@kind(
    "a custom function with a formula for backward",
    "pytorch/pytorch#18619, Fail in repeated evaluation of 2nd derivative",
)
def _() -> Case:
    X, y = r(8, 4), r(8)
    model = Layer(lambda m, x: Products.apply(m.b(m.a(x).tanh())), 4, 5, 3)
    return Case(model, (X, y), "mse_loss", lambda m: F.mse_loss(m.b(m.a(X).tanh()).prod(1), y))


def solved(m: Any, x: Tensor, steps: int = 200) -> Tensor:
    """Return z = tanh(a(x) + z W/4) by iteration."""
    z = torch.zeros(len(x), 5)
    for _ in range(steps):
        z = torch.tanh(m.a(x) + z @ m.w.weight / 4)
    return z


@kind("a deep equilibrium solved under no_grad, with a backward hook", "locuslab/deq#25, Higher order derivatives")
def _() -> Case:
    X, y = rows(8)

    def forward(m: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            z = solved(m, x)
        z = torch.tanh(m.a(x) + z @ m.w.weight / 4)
        if z.requires_grad:
            z0 = z.clone().detach().requires_grad_()
            f0 = torch.tanh(m.a(x) + z0 @ m.w.weight / 4)

            def hook(g: Tensor) -> Tensor:
                v = g
                for _ in range(60):
                    v = torch.autograd.grad(f0, z0, v, retain_graph=True)[0] + g
                return v

            z.register_hook(hook)
        return m.b(z)

    model = Layer(forward, 4, 5, 3, w=nn.Linear(5, 5, bias=False))
    return Case(model, (X, y), "cross_entropy", lambda m: F.cross_entropy(m.b(solved(m, X)), y))


@kind("a deep equilibrium, one step of gradient", "locuslab/deq#11, Two slightly different process for Deq")
def _() -> Case:
    X, y = rows(8)

    def forward(m: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            z = solved(m, x)
        return m.b(torch.tanh(m.a(x) + z @ m.w.weight / 4))

    model = Layer(forward, 4, 5, 3, w=nn.Linear(5, 5, bias=False))
    return Case(model, (X, y), "cross_entropy", lambda m: F.cross_entropy(m.b(solved(m, X)), y))


@kind("a neural ODE, backward through its steps", "rtqichen/torchdiffeq#29, Support higher order autodiff?")
def _() -> Case:
    X, y = rows(8)

    def forward(m: Any, x: Tensor) -> Tensor:
        h = m.a(x)
        for _ in range(5):
            h = h + 0.2 * m.w(h).tanh()
        return m.b(h)

    return classify(Layer(forward, 4, 5, 3, w=nn.Linear(5, 5)), (X, y))


class Adjoint(torch.autograd.Function):
    """A step whose backward recomputes under no_grad, once differentiable."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, weight: Tensor) -> Tensor:
        """Return h + tanh(h W)/5."""
        ctx.save_for_backward(h, weight)
        return h + 0.2 * torch.tanh(h @ weight)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, g: Tensor) -> Any:  # type: ignore[override]
        """Return the vector-Jacobian products."""
        h, weight = ctx.saved_tensors
        inner = 0.2 * g * (1 - torch.tanh(h @ weight) ** 2)
        return g + inner @ weight.T, h.T @ inner


@kind("a neural ODE with its adjoint", "rtqichen/torchdiffeq#29, Support higher order autodiff?")
def _() -> Case:
    X, y = rows(8)
    model = Layer(lambda m, x: m.b(Adjoint.apply(m.a(x), m.w.weight)), 4, 5, 3, w=nn.Linear(5, 5, bias=False))
    step = lambda m: F.cross_entropy(m.b(m.a(X) + 0.2 * torch.tanh(m.a(X) @ m.w.weight)), y)  # noqa: E731
    return Case(model, (X, y), "cross_entropy", step)


@kind(
    "a norm that is zero at this point: a kink, which is flat",
    "pytorch/functorch#1097, Hessian produces wrong results, but works if I add a perturbation",
)
def _() -> Case:
    X, y = r(8, 4), r(8)
    model = Layer(lambda m, x: m.b(m.a(x)).norm(dim=1), 4, 5, 2)
    nn.init.zeros_(model.b.weight)
    nn.init.zeros_(model.b.bias)

    def plain(m: Any) -> Tensor:
        square = m.b(m.a(X)).square().sum(1)
        return F.mse_loss(torch.where(square == 0, 0.0, torch.where(square == 0, 1.0, square).sqrt()), y)

    return Case(model, (X, y), "mse_loss", plain)


@kind("sinc at its removable singularity", "pytorch/pytorch#196703, torch.sinc produces NaN in the second derivative")
def _() -> Case:
    X, y = r(8, 4), r(8, 2)
    model = Layer(lambda m, x: torch.sinc(m.b(m.a(x))), 4, 5, 2)
    nn.init.zeros_(model.b.weight)
    nn.init.zeros_(model.b.bias)
    series = lambda z: 1 - (torch.pi * z) ** 2 / 6 + (torch.pi * z) ** 4 / 120  # noqa: E731
    return Case(model, (X, y), "mse_loss", lambda m: F.mse_loss(series(m.b(m.a(X))), y))


@kind(
    "complex weights of a spectral convolution",
    "neuraloperator/neuraloperator#521, spectral_conv weights are always complex",
)
def _() -> Case:
    X, y = r(6, 2, 8), r(6, 1, 8)

    class Spectral(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.randn(2, 3, 3, dtype=torch.complex128) / 3)
            self.out = nn.Conv1d(3, 1, 1)

        def forward(self, x: Tensor) -> Tensor:
            modes = torch.einsum("bik,iok->bok", torch.fft.rfft(x)[..., :3], self.w)
            return self.out(torch.fft.irfft(F.pad(modes, (0, 2)), n=8).tanh())

    return Case(Spectral(), (X, y), "mse_loss", lambda m: F.mse_loss(m(X), y))


@kind("parameters registered on the module itself, no layers", "f-dangel/backpack#269, Support for Custom models?")
def _() -> Case:
    x0, y = r(10), r(10, 3)

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.X, self.Y = nn.Parameter(r(3)), nn.Parameter(r(3))

        def forward(self, x: Tensor) -> Tensor:
            return (self.X - x[:, None]) ** 3 * self.Y

    return Case(Own(), (x0, y), "mse_loss", lambda m: F.mse_loss(m(x0), y))


@kind("a function of parameters and inputs", "pytorch/pytorch#49171, NN Module functional API")
def _() -> Case:
    X, y = rows()
    model = ls.Functional(lambda p, x: (x @ p["w"] + p["b"]).tanh(), {"w": r(4, 3), "b": r(3)})
    return Case(model, (X, y), "cross_entropy", lambda m: F.cross_entropy(m(X), y))


@kind("a residual network with torch.cat", "f-dangel/backpack#71, Is torch.cat a supported operation?")
def _() -> Case:
    return classify(
        Layer(lambda m, x: m.b(torch.cat([m.a(x).relu(), x], 1)[:, :5]) + m.c(x), 4, 5, 3, c=nn.Linear(4, 3))
    )


@kind(
    "two branches that are added, reshapes between", "f-dangel/backpack#321, Extend backpack to deal with weighted sums"
)
def _() -> Case:
    X, y = rows()
    f = lambda m, x: m.b((m.a(x).reshape(-1, 5, 1) * m.c(x).reshape(-1, 1, 5)).sum(1)) + m.d(x)  # noqa: E731
    return classify(Layer(f, 4, 5, 3, c=nn.Linear(4, 5), d=nn.Linear(4, 3)), (X, y))


@kind(
    "in-place ReLU and a view in the forward pass",
    "f-dangel/backpack#304, Encountered node that may break second-order extensions",
)
def _() -> Case:
    X, y = r(5, 1, 6, 6), torch.arange(5) % 3
    model = Layer(lambda m, x: m.b(F.relu_(m.c(x)).view(x.size(0), -1)), 4, 32, 3, c=nn.Conv2d(1, 2, 3))
    del model.a
    return classify(model, (X, y))


@kind("normalised weights in a linear layer", "f-dangel/backpack#299, NormedLinear")
def _() -> Case:
    f = lambda m, x: F.normalize(m.a(x), dim=1) @ F.normalize(m.b.weight.T, dim=0)  # noqa: E731
    model = Layer(f, 4, 5, 3)
    model.b.bias = None
    return classify(model)


@kind("a tied embedding and head, padding_idx", "gpauloski/kfac-pytorch#25, embedding layers with tied weights")
def _() -> Case:
    tokens = torch.randint(0, 7, (5, 6))
    labels = (tokens + 1) % 7
    model = Layer(lambda m, t: m.b(m.e(t)), 4, 4, 7, e=nn.Embedding(7, 4, padding_idx=0))
    del model.a
    model.b = nn.Linear(4, 7, bias=False)
    model.b.weight = model.e.weight
    # PyTorch leaves the look-up of the padding token out of a gradient; the loss depends on it, and so does the oracle's
    plain = lambda m: F.cross_entropy((m.e.weight[tokens] @ m.b.weight.T).flatten(0, 1), labels.flatten())  # noqa: E731
    return Case(model, (tokens, labels), "cross_entropy", plain)


@kind("some layers only", "amirgholami/PyHessian#10, eigenvalues for each module rather than for the whole model")
def _() -> Case:
    X, y = rows()
    model = net(4, 5, 3)
    model[0].requires_grad_(False)
    return Case(model, (X, y), "cross_entropy", lambda m: F.cross_entropy(m(X), y), {"parameters": "2.*"})


@kind("parameters that the loss does not use", "amirgholami/PyHessian#12, element 0 does not require grad")
def _() -> Case:
    return classify(Layer(lambda m, x: m.b(m.a(x).tanh()), 4, 5, 3, unused=nn.Linear(2, 2)))


@kind(
    "a linear network: no second derivative in places", "noahgolmant/pytorch-hessian-eigenthings#48, closed-form tests"
)
def _() -> Case:
    X, y = r(10, 4), r(10, 1)
    return Case(nn.Linear(4, 1), (X, y), "mse_loss", lambda m: F.mse_loss(m(X), y))


@kind("LoRA on a frozen base", "normal-computing/posteriors#11, Laplace lora")
def _() -> Case:
    X, y = rows()
    model = Layer(
        lambda m, x: m.b(m.a(x).tanh() + m.up(m.down(x))),
        4,
        5,
        3,
        down=nn.Linear(4, 2, False),
        up=nn.Linear(2, 5, False),
    )
    for name, p in model.named_parameters():
        p.requires_grad_("down" in name or "up" in name)
    return Case(model, (X, y), "cross_entropy", lambda m: F.cross_entropy(m(X), y))


@kind("DataParallel", "rtqichen/torchdiffeq#119, with multiple GPUs")
def _() -> Case:
    model, (X, y) = net(4, 5, 3), rows()
    return Case(nn.DataParallel(model), (X, y), "cross_entropy", lambda m: F.cross_entropy(model(X), y))


@kind("dropout left on by its author", "no thread: a control of functions that draw")
def _() -> Case:
    X, y = rows()
    model = Layer(lambda m, x: m.b(F.dropout(m.a(x), 0.5, training=True)), 4, 5, 3)
    return Case(model, (X, y), "cross_entropy", lambda m: F.cross_entropy(m.b(m.a(X)), y))


# --- the table --------------------------------------------------------------------------------------------------------


def hessian(case: Case) -> Tensor:
    """Return the dense Hessian by plain double backward, as θ lies: real and imaginary parts side by side."""
    network = case.model
    parameters = [p for p in network.parameters() if p.requires_grad]

    def flat(tensors: Any) -> Tensor:
        parts = [torch.zeros_like(p) if t is None else t for t, p in zip(tensors, parameters)]
        return torch.cat([(torch.stack([t.real, t.imag], -1) if t.is_complex() else t).flatten() for t in parts])

    value = case.plain(network)
    gradient = flat(torch.autograd.grad(value, parameters, create_graph=True, allow_unused=True))
    found = [
        torch.autograd.grad(g, parameters, retain_graph=True, allow_unused=True)
        if g.requires_grad
        else [None] * len(parameters)
        for g in gradient
    ]
    return torch.stack([flat(row) for row in found])


def tried(make: Callable[[], Case]) -> Iterator[str]:
    """Yield what each program gave: an error relative to the oracle's largest entry, or how it was refused."""
    torch.manual_seed(0)
    case = make()
    case = case._replace(model=case.model.double())
    objective: Any = None
    for program in PROGRAMS:
        try:
            if objective is None:
                objective = ls.Objective(case.model, case.data, case.loss, **case.options)
            found = ls.Hessian(objective, **({} if program is None else {"program": program})).dense()
        except Exception as error:
            own = isinstance(error, ls.LandscapeError)
            yield f"{'refused' if own else 'RAISED ' + type(error).__name__}: {str(error).splitlines()[0]}"
            if objective is None:
                return
            continue
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            H = hessian(case)
        off = float((found - H).abs().max() / H.abs().max().clamp_min(1e-300))
        yield f"{'' if off < 1e-8 else 'WRONG '}{off:.1e}"


def outcome(make: Callable[[], Case]) -> str:
    """Return what came out in one cell: the worst error of all programs, or why the first was refused."""
    try:
        found = list(tried(make))
    except AttributeError as error:  # of an earlier version
        return f"RAISED {type(error).__name__}: {error}"
    values = [text for text in found if text[:1].isdigit() or text.startswith("WRONG")]
    bad = [text for text in found if text.startswith(("WRONG", "RAISED"))]
    if bad:
        return bad[0]
    if not values:
        return found[0]
    if found[0] not in values:
        return found[0]
    without = [str(p) for p, text in zip(PROGRAMS, found) if text not in values]
    return f"{max(map(float, values)):.0e}" + (f" ({', '.join(without)} refused)" if without else "")


def main() -> None:
    """Try every kind and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="")
    parser.add_argument("--before", type=Path, help="outcomes of an earlier version, as --out of its run wrote them")
    parser.add_argument("--out", type=Path, help="write one outcome per line here instead of the table")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_default_dtype(torch.float64)
    earlier = dict(line.split("\t") for line in arguments.before.read_text().splitlines()) if arguments.before else {}
    lines, found = [], {}
    for name, (source, make) in KINDS.items():
        if arguments.only not in name:
            continue
        found[name] = outcome(make)
        print(name, "|", found[name], flush=True)
        before = f" {earlier.get(name, '–')} |" if earlier else ""
        lines.append(f"| {name} | {source} |{before} {found[name]} |")
    if arguments.out:
        arguments.out.write_text("".join(f"{name}\t{text}\n" for name, text in found.items()))
    elif not arguments.only:
        print(len(found), "kinds")
        (RESULTS / "kinds.md").write_text(table(lines, bool(earlier)))


def table(lines: list[str], earlier: bool) -> str:
    """Return the page."""
    head = "# Kinds of networks, losses, data and files from public threads\n\n`python benchmarks/kinds.py`"
    about = (
        "The largest error of the dense Hessian by any program relative to its largest entry, against two plain backward passes "
        "in float64; or the line with which the kind was refused. Before: the version before data were taken as they are; what "
        "it calls an unexpected keyword it did not have."
    )
    columns = ["kind", "thread", *(["before"] if earlier else []), "now"]
    return "\n".join([f"{head}: {about}", "", "|".join(["", *columns, ""]), "|---" * len(columns) + "|", *lines, ""])


if __name__ == "__main__":
    main()
