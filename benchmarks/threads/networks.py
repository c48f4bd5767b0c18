"""Networks: of a user's own build; parameters that are complex, shared, frozen or unused."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landscape as ls
from threads import Case, Layer, classify, kind, net, r, rows


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
    return classify(model, (X, y))


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
    return classify(model, (X, y), parameters="2.*")


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
    return classify(model, (X, y))


@kind("DataParallel", "rtqichen/torchdiffeq#119, with multiple GPUs")
def _() -> Case:
    model, (X, y) = net(4, 5, 3), rows()
    return classify(nn.DataParallel(model), (X, y), lambda m: model(X))


@kind("dropout left on by its author", "no thread: a control of functions that draw")
def _() -> Case:
    X, y = rows()
    model = Layer(lambda m, x: m.b(F.dropout(m.a(x), 0.5, training=True)), 4, 5, 3)
    return classify(model, (X, y), lambda m: m.b(m.a(X)))
