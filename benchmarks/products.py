"""Products against differences of gradients, on a hundred networks by every program, and what that check costs.

Run ``python benchmarks/products.py``; the tables go to ``benchmarks/results/products.md``. Gradients are PyTorch's own and exact,
so their central differences are the judge: of three steps, the one that meets no kink.
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from settings import run_settled
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torch.utils.checkpoint import checkpoint

import landscape as ls
from landscape import models
from landscape.operators import FiniteDifferenceHessian
from landscape.operators.differences import doubts, few
from landscape.tables import format_table

RESULTS = Path(__file__).parent / "results"
N, C, D = 24, 3, torch.float64
VECTOR, IMAGE, SEQUENCE, TOKENS = (6,), (2, 6, 6), (5, 4), "tokens"


class Along(nn.Module):
    """A module from a function of the input, and modules that it uses."""

    def __init__(self, function, *modules):
        super().__init__()
        self.function, self.inner = function, nn.ModuleList(modules)

    def forward(self, x):
        return self.function(x, *self.inner)


def mlp(act):
    return VECTOR, lambda: Along(lambda x, a, b: b(act(a(x))), nn.Linear(6, 8), nn.Linear(8, 5))


def image(*layers, channels=4):
    return IMAGE, lambda: nn.Sequential(nn.Conv2d(2, channels, 3, padding=1), *(layer() for layer in layers), nn.Tanh())


def sequence(function, *make):
    return SEQUENCE, lambda: Along(function, *(m() for m in make))


def tokens(function, *make):
    return TOKENS, lambda: Along(function, *(m() for m in make))


class Function(torch.autograd.Function):
    """Squares; how its backward finds the derivative decides whether there is a second."""

    @staticmethod
    def forward(ctx, x, how):
        ctx.how = how
        ctx.save_for_backward(x, 2 * x)
        return x**2

    @staticmethod
    def backward(ctx, g):
        x, derivative = ctx.saved_tensors
        if ctx.how == "right":
            return g * 2 * x, None
        if ctx.how == "detached":
            return g * 2 * x.detach(), None
        return g * derivative, None


@torch.autograd.function.once_differentiable
def _once(ctx, g):
    return g * ctx.saved_tensors[0]


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(2 * x)
        return x**2

    backward = staticmethod(_once)


def hooked(hook):
    def act(x):
        y = x.tanh()
        if y.requires_grad:
            y.register_hook(hook)
        return y

    return mlp(act)


def module_hooked(register):
    def make():
        network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5))
        register(network[1])
        return network

    return VECTOR, make


def straight_through(x):
    return x + (torch.round(4 * x) / 4 - x).detach()


def straight_through_without(x):
    with torch.no_grad():
        step = torch.round(4 * x) / 4 - x
    return x + step


def scripted():
    return torch.jit.script(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5)))


def inside(transform):
    return lambda x, a, b: b(transform(a)(x).tanh())


def in_place(act):
    def forward(x, a, b):
        h = act(a(x))
        h += x.mean(1, keepdim=True)
        return b(h)

    return forward


def experts(x, gate, a, b):
    weights = gate(x).softmax(1)
    return weights[:, :1] * a(x).tanh() + weights[:, 1:] * b(x).sigmoid()


def attend(x, qkv):
    q, k, v = qkv(x).chunk(3, -1)
    return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def relative_attention(x, qkv):
    q, k, v = qkv(x).chunk(3, -1)
    return ((q @ k.mT / 2).softmax(-1) @ v).cumsum(1)


def squeeze_excite(x, conv, a, b):
    h = conv(x)
    return h * b(a(h.mean((2, 3))).relu()).sigmoid()[:, :, None, None]


def padding(options, nonzero):
    def make():
        layer = nn.Embedding(9, 4, **options)
        if nonzero:
            with torch.no_grad():
                layer.weight[0] = 0.5
        return Along(lambda x, e, a: a(e(x).tanh().mean(1)), layer, nn.Linear(4, 5))

    return TOKENS, make


def recurrent(kind, **options):
    return SEQUENCE, lambda: Along(lambda x, r: r(x)[0], kind(4, 3, batch_first=True, **options))


def encoder(**options):
    return SEQUENCE, lambda: nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, **options)


def wrapped(wrap):
    return VECTOR, lambda: nn.Sequential(wrap(nn.Linear(6, 8)), nn.Tanh(), nn.Linear(8, 5))


LINEAR, CONV = partial(nn.Linear, 6, 6), partial(nn.Conv2d, 2, 4, 3, padding=1)
ACTIVATIONS = [
    "relu", "relu6", "elu", "selu", "celu", "leaky_relu", "gelu", "silu", "mish", "softplus", "tanh", "sigmoid", "hardtanh",
    "hardswish", "hardsigmoid", "logsigmoid", "softsign", "tanhshrink", "softshrink", "hardshrink",
]  # fmt: skip
NETWORKS = {
    **{name: mlp(getattr(F, name)) for name in ACTIVATIONS},
    "glu": mlp(lambda x: torch.cat([F.glu(x), F.glu(x)], 1)),
    "prelu": (VECTOR, lambda: nn.Sequential(nn.Linear(6, 8), nn.PReLU(8), nn.Linear(8, 5))),
    "softmax": mlp(lambda x: x.softmax(1)),
    "log_softmax": mlp(lambda x: x.log_softmax(1)),
    "normalize": mlp(lambda x: F.normalize(x)),
    "sine": mlp(torch.sin),
    "erf": mlp(torch.erf),
    "square root": mlp(lambda x: (x.square() + 1).sqrt()),
    "max of two": mlp(lambda x: torch.maximum(x, x.flip(1))),
    "sorted": mlp(lambda x: x.sort(1).values),
    "top 4": mlp(lambda x: torch.cat([x.topk(4, 1).values] * 2, 1)),
    "logsumexp": mlp(lambda x: x + x.logsumexp(1, keepdim=True)),
    "fft": mlp(lambda x: torch.fft.rfft(x).abs().repeat(1, 2)[:, :8]),
    "complex": mlp(lambda x: (torch.complex(x, x.flip(1)) ** 2).real),
    "einsum": mlp(lambda x: torch.einsum("ni,nj->ni", x, x)),
    "cumprod": mlp(lambda x: (1 + 0.1 * x).cumprod(1)),
    "matrix exponential": mlp(lambda x: torch.matrix_exp(0.1 * x[:, :, None] * x[:, None, :]).sum(1)),
    "solve": mlp(lambda x: torch.linalg.solve(torch.eye(8, dtype=D) + 0.1 * x[:, :, None] * x[:, None, :], x)),
    "where": mlp(lambda x: torch.where(x > 0, x**2, x)),
    "clamp": mlp(lambda x: x.clamp(-0.5, 0.5)),
    "scatter": mlp(lambda x: torch.zeros_like(x).scatter_add(1, torch.arange(8).flip(0).expand(len(x), 8), x)),
    "dropout": (VECTOR, lambda: nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Tanh())),
    "alpha dropout": (VECTOR, lambda: nn.Sequential(nn.Linear(6, 8), nn.AlphaDropout(0.5), nn.Tanh())),
    # --- images
    "convolution": image(),
    "batch norm": image(partial(nn.BatchNorm2d, 4)),
    "group norm": image(partial(nn.GroupNorm, 2, 4)),
    "instance norm": image(partial(nn.InstanceNorm2d, 4, affine=True)),
    "local response norm": image(partial(nn.LocalResponseNorm, 2)),
    "layer norm": (VECTOR, lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU())),
    "rms norm": (VECTOR, lambda: nn.Sequential(nn.Linear(6, 8), nn.RMSNorm(8), nn.GELU())),
    "max pooling": image(nn.GELU, partial(nn.MaxPool2d, 2)),
    "average pooling": image(nn.GELU, partial(nn.AvgPool2d, 2)),
    "power pooling": image(nn.Softplus, partial(nn.LPPool2d, 2, 2)),
    "adaptive pooling": image(nn.GELU, partial(nn.AdaptiveMaxPool2d, 2)),
    "grouped": image(partial(nn.Conv2d, 4, 4, 3, groups=2)),
    "dilated": image(partial(nn.Conv2d, 4, 2, 2, dilation=2)),
    "transposed": image(partial(nn.ConvTranspose2d, 4, 2, 2, stride=2)),
    "pixel shuffle": image(partial(nn.PixelShuffle, 2)),
    "bilinear upsampling": image(partial(nn.Upsample, scale_factor=2, mode="bilinear")),
    "unfold": (IMAGE, lambda: Along(lambda x, a: a(F.unfold(x, 3).mT).tanh(), nn.Linear(18, 3))),
    "squeeze and excite": (IMAGE, lambda: Along(squeeze_excite, CONV(), nn.Linear(4, 3), nn.Linear(3, 4))),
    "grid sample": (
        IMAGE,
        lambda: Along(
            lambda x, c: F.grid_sample(x, c(x)[:, :2].permute(0, 2, 3, 1).tanh(), align_corners=True), CONV()
        ),
    ),
    # --- sequences
    "lstm": recurrent(nn.LSTM),
    "gru": recurrent(nn.GRU),
    "rnn": recurrent(nn.RNN),
    "bidirectional lstm": recurrent(nn.LSTM, bidirectional=True),
    "projected lstm": recurrent(nn.LSTM, proj_size=2),
    "attention": sequence(attend, partial(nn.Linear, 4, 12)),
    "attention by hand": sequence(relative_attention, partial(nn.Linear, 4, 12)),
    "multi-head attention": sequence(
        lambda x, a: a(x, x, x)[0], partial(nn.MultiheadAttention, 4, 2, batch_first=True)
    ),
    "encoder": encoder(activation="gelu"),
    "encoder, norm first": encoder(norm_first=True),
    "decoder": sequence(lambda x, a: a(x, x), partial(nn.TransformerDecoderLayer, 4, 2, 6, batch_first=True)),
    "convolution in time": sequence(lambda x, a: a(x.mT).tanh(), partial(nn.Conv1d, 4, 3, 2)),
    "bilinear": (VECTOR, lambda: Along(lambda x, b: b(x, x.tanh()), nn.Bilinear(6, 6, 5))),
    # --- tokens
    "embedding": tokens(lambda x, e, a: a(e(x).tanh().mean(1)), partial(nn.Embedding, 9, 4), partial(nn.Linear, 4, 5)),
    "padding": padding({"padding_idx": 0}, nonzero=False),
    "padding that is not zero": padding({"padding_idx": 0}, nonzero=True),
    "embedding by frequency": padding({"scale_grad_by_freq": True}, nonzero=False),
    "bags": tokens(lambda x, e, a: a(e(x)).tanh(), partial(nn.EmbeddingBag, 9, 4), partial(nn.Linear, 4, 5)),
    "padding in a function": tokens(
        lambda x, e, a: a(F.embedding(x, e.weight, padding_idx=0).tanh().mean(1)),
        partial(nn.Linear, 4, 9),
        partial(nn.Linear, 4, 5),
    ),
    # --- weights that are computed
    "weight norm": wrapped(parametrizations.weight_norm),
    "old weight norm": wrapped(weight_norm),
    "old spectral norm": wrapped(spectral_norm),
    "spectral norm": wrapped(parametrizations.spectral_norm),
    "orthogonal": wrapped(partial(parametrizations.orthogonal, orthogonal_map="cayley")),
    "pruned": wrapped(partial(prune.random_unstructured, name="weight", amount=0.5)),
    "tied": (VECTOR, lambda: Along(lambda x, a: (a(x).tanh() @ a.weight).tanh(), LINEAR())),
    # --- ways to run
    "checkpointed": (
        VECTOR,
        lambda: Along(lambda x, a, b: b(checkpoint(a, x, use_reentrant=False).tanh()), LINEAR(), LINEAR()),
    ),
    "reentrant": (
        VECTOR,
        lambda: Along(lambda x, a, b: checkpoint(b, a(x).tanh(), use_reentrant=True), LINEAR(), LINEAR()),
    ),
    "vmap inside": (VECTOR, lambda: Along(inside(torch.vmap), LINEAR(), LINEAR())),
    "in place after gelu": (VECTOR, lambda: Along(in_place(F.gelu), LINEAR(), LINEAR())),
    "in place after silu": (VECTOR, lambda: Along(in_place(F.silu), LINEAR(), LINEAR())),
    "experts": (VECTOR, lambda: Along(experts, nn.Linear(6, 2), LINEAR(), LINEAR())),
    "script": (VECTOR, scripted),
    # --- what hides a term
    "custom function": mlp(lambda x: Function.apply(x, "right")),
    "custom function, detached": mlp(lambda x: Function.apply(x, "detached")),
    "custom function, derivative stored": mlp(lambda x: Function.apply(x, "stored")),
    "differentiable once": mlp(Once.apply),
    "straight through": mlp(straight_through),
    "straight through, no_grad": mlp(straight_through_without),
    "stopped gradient": mlp(lambda x: x * x.detach().sigmoid()),
    "scaled by a number": (
        VECTOR,
        lambda: Along(lambda x, a, b: b(a(x).tanh() * a.weight.norm().item()), LINEAR(), LINEAR()),
    ),
    "hook that clips": hooked(lambda g: g.clamp(-1e-3, 1e-3)),
    "hook that doubles": hooked(lambda g: 2 * g),
    "module hook": module_hooked(lambda m: m.register_forward_hook(lambda module, inputs, output: 2 * output)),
    "module hook backwards": module_hooked(
        lambda m: m.register_full_backward_hook(lambda module, g, _: (g[0].clamp(-1e-3, 1e-3),))
    ),
}
SOMEWHERE = ("straight through, no_grad", "hook that clips", "hook that doubles", "module hook backwards")
REFUSED = (
    "custom function, detached", "custom function, derivative stored", "differentiable once", "straight through",
    "stopped gradient", "scaled by a number",
)  # fmt: skip
PROGRAMS = ["auto", "kept", "split", "recompute"]


def objective_of(name):
    torch.manual_seed(0)
    shape, make = NETWORKS[name]
    X = torch.randint(0, 9, (N, 4)) if shape == TOKENS else torch.randn(N, *shape, dtype=D)
    body = make().to(D).eval()
    with torch.no_grad():
        width = body(X).flatten(1).shape[1]
    model, y = nn.Sequential(body, nn.Flatten(), nn.Linear(width, C, dtype=D)), torch.randint(0, C, (N,))
    if name == "script":
        for _ in range(3):  # its executor specialises
            F.cross_entropy(model(X), y).backward()
    return ls.Objective(model.eval(), (X, y), "cross_entropy", batch_size=10)


def outcome(name, program):
    """How far a product is from differences of gradients, or the line that refuses it."""
    objective = objective_of(name)
    H = ls.Hessian(objective, program=program)
    v = torch.randn(H.size, generator=torch.Generator().manual_seed(1), dtype=D) * (objective.gradient() != 0)
    try:
        product = H @ v
    except ls.LandscapeError as error:
        return str(error)
    size = float(product.norm())
    steps = [
        FiniteDifferenceHessian(objective, step=step) @ v for step in (1e-4, 1e-5, 1e-6)
    ]  # one of them meets no kink
    return min(float((product - found).norm()) / size for found in steps) if size else math.nan


def seconds(work: Callable[[], Any], rounds: int = 7) -> float:
    """Return the processor time of a call, the median of several."""
    took = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        took.append(time.process_time() - started)
    return statistics.median(took)


COSTS = {
    "MLP 64-128-128-10": (partial(models.mlp, (64, 128, 128, 10)), (64,)),
    "small CNN, batch norm": (models.small_cnn, (1, 8, 8)),
    "patch transformer": (partial(models.transformer, width=32, heads=2, layers=1), (1, 8, 8)),
}


def planned(objective: ls.Objective, check: bool | None) -> Any:
    """Return the plan of a new operator."""
    return ls.Hessian(objective, program="kept", check=check).plan


def costs(n: int = 1500) -> str:
    """Return the table of what the look for doubts and the check cost, in gradients of the whole data."""
    rows = []
    for name, (make, shape) in COSTS.items():
        torch.manual_seed(0)
        objective = ls.Objective(make(), (torch.randn(n, *shape), torch.randint(0, 10, (n,))), "cross_entropy")
        gradient = seconds(objective.gradient)
        looked = seconds(partial(doubts, few(objective))) / gradient
        plain, checked = (seconds(partial(planned, objective, check)) for check in (None, True))
        rows.append((name, f"{looked:.2f}", f"{(checked - plain) / gradient + looked:.2f}"))
    return format_table(("network", "looking for doubts", "and comparing"), rows, "markdown")


def main() -> None:
    """Run every network by every program and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=RESULTS / "products.md")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    rows = []
    for name in NETWORKS:
        found = [outcome(name, program) for program in PROGRAMS]
        rows.append((name, *("refused" if isinstance(value, str) else f"{value:.0e}" for value in found)))
        print(*rows[-1], sep=" | ", flush=True)
    numbers = [cell for row in rows for cell in row[1:] if cell != "refused"]
    worst = max(map(float, numbers))
    text = f"""# Products against differences of gradients

`python benchmarks/products.py`, PyTorch {torch.__version__}, {platform.machine()}, float64, {N} examples.

{len(rows)} networks: relative distance of a Hessian product from a central difference of gradients, or *refused* in one line.
The largest of {len(numbers)} distances is {worst:.0e}; {len(rows) * len(PROGRAMS) - len(numbers)} products are refused.

{format_table(("network", *PROGRAMS), rows, "markdown")}

## What the check costs

In gradients of the whole data (1,500 examples, processor time, median of 7). Looking for doubts is a forward pass on 8 examples;
comparing takes 2 gradients and a product on them, once per operator and program. Where rounding or kinks hide
the answer, as in float32 with ReLUs (the MLP here), 3 gradients and a product more. Where examples cannot be taken out, it is
on all data: 2 gradients and a product.

{costs()}
"""
    arguments.out.write_text(text)


if __name__ == "__main__":
    run_settled(main)
