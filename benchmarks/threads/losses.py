"""Losses: with derivatives by inputs, of one's own, masked, coupled within a batch, computed by the network."""

from __future__ import annotations

from functools import partial
from itertools import product
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landscape as ls
from threads import Case, Layer, classify, kind, net, r, rows


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
def soft_dice() -> Case:
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
    case = soft_dice()
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
    return classify(model, (X, y), lambda m: m(X).logits)


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
