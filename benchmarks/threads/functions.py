"""Functions inside a network: checkpointed, compiled, with a backward of their own, solved, and singular ones."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from threads import Case, Layer, classify, kind, net, r, rows


@kind("checkpointed blocks", "pytorch/pytorch#102223, torch.utils.checkpoint fails with torch.autograd.grad")
def _() -> Case:
    X, y = rows()
    model = Layer(lambda m, x: m.b(checkpoint(lambda h: m.a(h).tanh(), x, use_reentrant=False)), 4, 5, 3)
    return classify(model, (X, y), lambda m: m.b(m.a(X).tanh()))


@kind("checkpointed blocks, reentrant", "pytorch/pytorch#65537, New utils.checkpoint rollout")
def _() -> Case:
    X, y = rows()
    model = Layer(lambda m, x: m.b(checkpoint(lambda h: m.a(h).tanh(), x, use_reentrant=True)), 4, 5, 3)
    return classify(model, (X, y), lambda m: m.b(m.a(X).tanh()))


@kind("a compiled network", "pytorch/pytorch#91469, torch.compile silently incorrect on double backwards")
def _() -> Case:
    model, (X, y) = net(4, 5, 3), rows()
    return classify(torch.compile(model, backend="aot_eager"), (X, y), lambda m: model(X))


@kind("a compiled function inside the network", "pytorch/pytorch#183603, torch.compile fails on second-order gradient")
def _() -> Case:
    X, y = rows()
    squash = torch.compile(lambda h: (h**4).tanh(), backend="aot_eager")
    model = Layer(lambda m, x: m.b(squash(m.a(x))), 4, 5, 3)
    return classify(model, (X, y), lambda m: m.b((m.a(X) ** 4).tanh()))


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
    return classify(model, (X, y), lambda m: m.b(m.a(X) ** 2))


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
    return classify(model, (X, y), lambda m: m.b(solved(m, X)))


@kind("a deep equilibrium, one step of gradient", "locuslab/deq#11, Two slightly different process for Deq")
def _() -> Case:
    X, y = rows(8)

    def forward(m: Any, x: Tensor) -> Tensor:
        with torch.no_grad():
            z = solved(m, x)
        return m.b(torch.tanh(m.a(x) + z @ m.w.weight / 4))

    model = Layer(forward, 4, 5, 3, w=nn.Linear(5, 5, bias=False))
    return classify(model, (X, y), lambda m: m.b(solved(m, X)))


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
    return classify(model, (X, y), lambda m: m.b(m.a(X) + 0.2 * torch.tanh(m.a(X) @ m.w.weight)))


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
