"""Every operator on a table of layers and losses against dense float64 matrices from their definitions."""

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

import landscape as ls

_spec = importlib.util.spec_from_file_location("dense", Path(__file__).with_name("dense.py"))
dense = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(dense)

OPERATORS = {
    "hessian": ls.Hessian,
    "gauss_newton": ls.GaussNewton,
    "fisher": ls.Fisher,
    "empirical_fisher": ls.EmpiricalFisher,
    "covariance": ls.GradientCovariance,
}
C = 3


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(4, 12)

    def forward(self, x):
        q, k, v = self.qkv(x).view(len(x), -1, 3, 2, 2).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x)[0]


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.layer = kind(4, 3, batch_first=True)

    def forward(self, x):
        return self.layer(x)[0]


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))

    def forward(self, x):
        return x + self.inner(x)


class Tied(nn.Module):
    """An embedding whose matrix also reads out."""

    def __init__(self):
        super().__init__()
        self.embedding, self.out = nn.Embedding(5, 4), nn.Linear(4, 5, bias=False)
        self.out.weight = self.embedding.weight

    def forward(self, x):
        return self.out(torch.tanh(self.embedding(x))).flatten(1)


class Checkpointed(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 4), nn.Tanh())

    def forward(self, x):
        return checkpoint(self.inner, x, use_reentrant=False)


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(4, 4), nn.Linear(2, 2)

    def forward(self, x):
        return (torch.tanh(self.used(x)), x)


class First(nn.Module):
    def forward(self, x):
        return x[0]


def norm(layer):
    """Statistics that are not those of a fresh layer."""
    for name, buffer in layer.named_buffers():
        if buffer.is_floating_point():
            buffer.copy_(torch.rand_like(buffer) + (0.5 if "var" in name else -0.5))
    with torch.no_grad():
        for p in layer.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return layer


def frozen(layer):
    return layer.requires_grad_(False)


VECTOR, SEQUENCE, TOKENS = (4,), (5, 4), "tokens"
LAYERS = {
    "linear": (VECTOR, lambda: nn.Sequential(nn.Linear(4, 5), nn.GELU(), nn.Linear(5, 4))),
    "conv1d": ((2, 6), lambda: nn.Sequential(nn.Conv1d(2, 3, 3, padding=1), nn.Tanh(), nn.Conv1d(3, 2, 2, stride=2))),
    "conv2d": ((2, 4, 4), lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.GELU(), nn.Conv2d(3, 2, 1))),
    "conv3d": ((1, 3, 3, 3), lambda: nn.Sequential(nn.Conv3d(1, 2, 2), nn.GELU(), nn.Conv3d(2, 1, 2))),
    "grouped convolution": ((4, 4, 4), lambda: nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.GELU())),
    "transposed convolution": ((2, 3, 3), lambda: nn.Sequential(nn.ConvTranspose2d(2, 2, 2, stride=2), nn.GELU())),
    "embedding": (TOKENS, lambda: nn.Sequential(nn.Embedding(5, 3), nn.Flatten(), nn.Linear(12, 4), nn.GELU())),
    "batch norm": ((2, 4, 4), lambda: nn.Sequential(nn.Conv2d(2, 3, 3), norm(nn.BatchNorm2d(3)), nn.SiLU())),
    "layer norm": (VECTOR, lambda: nn.Sequential(nn.Linear(4, 5), norm(nn.LayerNorm(5)), nn.GELU())),
    "group norm": ((2, 4, 4), lambda: nn.Sequential(nn.Conv2d(2, 4, 3), norm(nn.GroupNorm(2, 4)), nn.SiLU())),
    "instance norm": (
        (2, 4, 4),
        lambda: nn.Sequential(nn.Conv2d(2, 3, 2), norm(nn.InstanceNorm2d(3, affine=True)), nn.Tanh()),
    ),
    "max pooling": ((2, 4, 4), lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.GELU(), nn.MaxPool2d(2))),
    "average pooling": ((2, 4, 4), lambda: nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.GELU(), nn.AvgPool2d(2))),
    "adaptive pooling": ((2, 5, 5), lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.GELU(), nn.AdaptiveAvgPool2d(2))),
    "silu": (VECTOR, lambda: nn.Sequential(nn.Linear(4, 5), nn.SiLU())),
    "tanh": (VECTOR, lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh())),
    "softplus": (VECTOR, lambda: nn.Sequential(nn.Linear(4, 5), nn.Softplus())),
    "relu": (VECTOR, lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU())),
    "in-place relu": (VECTOR, lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(inplace=True), nn.Linear(5, 4))),
    "attention": (SEQUENCE, Attention),
    "multi-head attention": (SEQUENCE, SelfAttention),
    "encoder layer": (
        SEQUENCE,
        lambda: nn.TransformerEncoderLayer(4, 2, 4, dropout=0.5, batch_first=True, activation="gelu"),
    ),
    "lstm": (SEQUENCE, lambda: Recurrent(nn.LSTM)),
    "gru": (SEQUENCE, lambda: Recurrent(nn.GRU)),
    "rnn": (SEQUENCE, lambda: Recurrent(nn.RNN)),
    "residual": (VECTOR, Residual),
    "tied": (TOKENS, Tied),
    "weight norm": (VECTOR, lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(4, 5)), nn.GELU())),
    "checkpointed": (VECTOR, Checkpointed),
    "unused parameters, a tuple returned": (VECTOR, lambda: nn.Sequential(Unused(), First())),
    "frozen first layer": (VECTOR, lambda: nn.Sequential(frozen(nn.Linear(4, 5)), nn.Tanh(), nn.Linear(5, 4))),
    "dropout": (VECTOR, lambda: nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.GELU())),
}
UNTRACED = {"checkpointed"}


def network(layer, dtype=torch.float64):
    """The layer with a linear read-out, and inputs for it."""
    torch.manual_seed(0)
    shape, make = LAYERS[layer]
    X = torch.randint(0, 5, (7, 4)) if shape == TOKENS else torch.randn(7, *shape)
    X = X if shape == TOKENS else X.to(dtype)
    body = make().to(dtype).eval()
    with torch.no_grad():
        width = body(X).flatten(1).shape[1]
    return nn.Sequential(body, nn.Flatten(), nn.Linear(width, C).to(dtype)).eval(), X, torch.randint(0, C, (7,))


def expected(reference, name):
    """The dense matrix, with operations that PyTorch can differentiate twice, and rightly."""
    fused = torch._weight_norm
    torch._weight_norm = lambda v, g, dim: v * g / v.norm(dim=1, keepdim=True)
    try:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return getattr(reference, name)()
    finally:
        torch._weight_norm = fused


def compare(operator, matrix, tolerance=1e-10):
    generator = torch.Generator().manual_seed(1)
    V = torch.randn(len(matrix), 3, generator=generator, dtype=torch.float64)
    found, expected = (operator @ V.to(operator.dtype)).double(), matrix @ V
    assert float((found - expected).norm() / expected.norm()) < tolerance


def data(X, y, sizes):
    return list(zip(X.split(sizes), y.split(sizes), strict=True))


def slow_but(quick, keys):
    return [key if key in quick else pytest.param(key, marks=pytest.mark.slow) for key in keys]


def compare_layer(layer, programs, dtype=torch.float64, tolerance=1e-10):
    """Compare operators, each by some programs, with the dense matrices of a layer with a read-out."""
    model, X, y = network(layer)
    weights = torch.full((7,), 1 / 7, dtype=torch.float64)
    reference = dense.Dense(model, X, y, F.cross_entropy, weights, F.cross_entropy)
    objective = ls.Objective(model, data(X, y, (3, 2, 2)), "cross_entropy", dtype=dtype)
    for name, used in programs.items():
        matrix = expected(reference, name)
        for program in used:
            compare(OPERATORS[name](objective, program=program, coalesce=program == "split"), matrix, tolerance)


TWO = ("hessian", "gauss_newton")


@pytest.mark.parametrize("layer", LAYERS)
def test_layers(layer):
    compare_layer(layer, {name: ("kept", "recompute") if name in TWO else ("kept",) for name in OPERATORS})


@pytest.mark.parametrize(
    "layer", slow_but(("conv2d", "attention", "tied"), [layer for layer in LAYERS if layer not in UNTRACED])
)
def test_layers_by_the_split_program(layer):
    compare_layer(layer, dict.fromkeys(TWO, ("split",)))


@pytest.mark.parametrize("layer", slow_but(("batch norm", "attention", "lstm"), LAYERS))
def test_layers_in_single_precision(layer):
    compare_layer(layer, dict.fromkeys(TWO, ("kept",)), torch.float32, 1e-4)


def cases():
    """name -> (loss for the objective, target, weights of the mean, loss of one example, family)"""
    torch.manual_seed(3)
    y = torch.tensor([0, 1, 2, 1, 0, 2, 2])
    real, binary = torch.randn(7, C).double(), torch.randint(0, 2, (7, C)).double()
    even = torch.full((7,), 1.0, dtype=torch.float64)
    each, counted, weight = even[:, None].expand(7, C), (y != 1).double(), torch.tensor([0.5, 2.0, 1.0]).double()

    def ignored(output, target, **options):
        return F.cross_entropy(output, target, ignore_index=1, **options) if (target != 1).any() else output.sum() * 0

    return {
        "cross_entropy": (nn.CrossEntropyLoss, {}, y, even, F.cross_entropy, "categorical"),
        "ignore_index": (nn.CrossEntropyLoss, {"ignore_index": 1}, y, counted, ignored, "categorical"),
        "class weights": (nn.CrossEntropyLoss, {"weight": weight}, y, weight[y], F.cross_entropy, "categorical"),
        "mse": (nn.MSELoss, {}, real, each, F.mse_loss, "gaussian"),
        "bce": (nn.BCEWithLogitsLoss, {}, binary, each, F.binary_cross_entropy_with_logits, "bernoulli"),
    }


def compare_loss(case, names, sizes, reduction="mean", **options):
    kind, settings, target, weights, single, family = cases()[case]
    model, X, _ = network("linear")
    weights = weights / weights.sum() if reduction == "mean" else weights
    criterion = kind(**settings, reduction=reduction)
    reference = dense.Dense(model, X, target, criterion, weights, single, family)
    objective = ls.Objective(model, data(X, target, sizes), criterion)
    for name in names:
        compare(OPERATORS[name](objective, **options), expected(reference, name))


@pytest.mark.parametrize("sizes", [(7,), (4, 3), (1, 4, 2)], ids=["one batch", "two", "ragged"])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("case", cases())
def test_losses(case, reduction, sizes):
    compare_loss(case, OPERATORS, sizes, reduction, program="kept", coalesce=len(sizes) == 2)


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("case", slow_but(("ignore_index", "mse"), cases()))
def test_losses_by_the_split_program(case, name):
    compare_loss(case, [name], (3, 3, 1), program="split", coalesce=False)
