"""Layers: recurrent, attention, norm, convolution, and weights that are normalised."""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from threads import Case, Layer, classify, kind, r, rows


def last(module: nn.Module) -> Case:
    """Return the case of a recurrent layer read at its last step."""
    X, y = r(6, 5, 4), torch.arange(6) % 3
    model = Layer(lambda m, x: m.b(m.layer(x)[0][:, -1]), 4, 5, 3, layer=module)
    del model.a
    return classify(model, (X, y))


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
    return classify(model, (X, y))


@kind(
    "scaled_dot_product_attention",
    "pytorch/pytorch#116350, _scaled_dot_product_flash_attention_backward is not implemented",
)
def _() -> Case:
    X, y = r(4, 5, 4), torch.arange(4) % 3

    def attend(m: Any, x: Tensor) -> Tensor:
        h = m.a(x)
        return m.b(F.scaled_dot_product_attention(h, h, h, is_causal=True)).mean(1)

    return classify(Layer(attend, 4, 5, 3), (X, y))


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

    return classify(model, (X, y), lambda m: m.train()(X), norm="batch", batch_size=8)


@kind("batch norm without running statistics", "pytorch/functorch#986, track_running_stats=False")
def _() -> Case:
    X, y = rows()
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5, track_running_stats=False), nn.Tanh(), nn.Linear(5, 3))
    return Case(model, [(X, y)], "cross_entropy", lambda m: F.cross_entropy(m(X), y), {"batches": "fixed"})


@kind("batch norm, frozen", "pytorch/pytorch#85533, transforms don't work with BatchNorm")
def _() -> Case:
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Tanh(), nn.Linear(5, 3))
    X, y = rows()
    return classify(model, (X, y), lambda m: m.eval()(X))


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

    def interpolated(m: Any) -> Tensor:  # bilinear interpolation, written out
        grid = (m.a(X.flatten(1)).tanh().view(-1, 3, 2) + 1) * 2.5 - 0.5
        low, frac = grid.detach().floor(), grid - grid.detach().floor()
        out = torch.zeros(4, 3)
        for dx in (0, 1):
            for dy in (0, 1):
                col, row = (low[..., 0] + dx).long(), (low[..., 1] + dy).long()
                inside = (col >= 0) & (col < 5) & (row >= 0) & (row < 5)
                pixel = X[torch.arange(4)[:, None], 0, row.clamp(0, 4), col.clamp(0, 4)] * inside
                out = out + pixel * (frac[..., 0] if dx else 1 - frac[..., 0]) * (
                    frac[..., 1] if dy else 1 - frac[..., 1]
                )
        return m.b(out)

    return classify(model, (X, y), interpolated)


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
    return classify(model, (X, y), lambda m: m.eval()(X))


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
