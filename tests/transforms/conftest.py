"""Networks on which the transformations are tried: the reference ones, and modules with every way of wiring."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from landscape import models


class Functional(nn.Module):
    """ReLU as a function, as a method and as a clamp."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.third, self.last = (nn.Linear(*s) for s in ((6, 5), (5, 4), (4, 7), (7, 3)))

    def forward(self, x):
        hidden = F.relu(self.first(x))
        return self.last(self.third(self.second(hidden).relu()).clamp(min=0))


class Residual(nn.Module):
    """Two blocks on one trunk, pre-activation."""

    def __init__(self, width=6):
        super().__init__()
        self.stem = nn.Linear(6, width)
        self.into = nn.ModuleList(nn.Linear(width, 9) for _ in range(2))
        self.out = nn.ModuleList(nn.Linear(9, width) for _ in range(2))
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        x = self.stem(x)
        for into, out in zip(self.into, self.out):
            x = x + out(F.relu(into(F.relu(x))))
        return self.head(x)


class Dense(nn.Module):
    """Concatenated channels, depthwise convolution, flattening, 1-d batch norm."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(1, 3, 3, padding=1)
        self.depthwise = nn.Conv2d(7, 7, 3, padding=1, groups=7)
        self.pool, self.flat = nn.MaxPool2d(2), nn.Flatten()
        self.norm = nn.BatchNorm1d(7 * 16)
        self.hidden, self.head = nn.Linear(7 * 16, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = torch.cat([F.leaky_relu(self.a(x)), F.relu(self.b(x))], dim=1)
        x = F.relu(self.depthwise(x))
        return self.head(F.relu(self.hidden(self.norm(self.flat(self.pool(x))))))


class GroupedQueries(nn.Module):
    """Attention written out, four heads of queries on two of keys and values, then a linear probe of LoRA factors."""

    def __init__(self):
        super().__init__()
        self.q, self.k, self.v = nn.Linear(8, 12), nn.Linear(8, 6), nn.Linear(8, 6)
        self.o, self.down, self.up = nn.Linear(12, 8), nn.Linear(8, 2, bias=False), nn.Linear(2, 8, bias=False)
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        q = self.q(x).unflatten(-1, (4, 3)).transpose(1, 2)
        k, v = (f(x).unflatten(-1, (2, 3)).transpose(1, 2) for f in (self.k, self.v))
        k, v = (t.unsqueeze(2).expand(-1, -1, 2, -1, -1).reshape(q.shape) for t in (k, v))
        weights = torch.softmax(q @ k.transpose(-1, -2) / 3**0.5, dim=-1)
        x = self.o((weights @ v).transpose(1, 2).flatten(2))
        return self.head((F.relu(x) + self.up(self.down(x))).mean(1))


class Mixer(nn.Module):
    """Layers over tokens and over channels in turn, each with a bias, and a group norm of two groups."""

    def __init__(self):
        super().__init__()
        self.stem, self.tokens = nn.Linear(6, 8), nn.Linear(5, 4)
        self.norm, self.channels, self.head = nn.GroupNorm(2, 8), nn.Linear(8, 7), nn.Linear(7, 3)

    def forward(self, x):
        x = F.relu(self.tokens(F.relu(self.stem(x)).transpose(1, 2)))
        x = F.relu(self.channels(self.norm(x).transpose(1, 2)))
        return self.head(x[:, 1])


class Offset(nn.Module):
    """A parameter is added, and another multiplied, after an activation that is not homogeneous."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(6, 5), nn.Linear(5, 3)
        self.shift, self.gain = nn.Parameter(torch.randn(5)), nn.Parameter(torch.rand(5) + 0.5)

    def forward(self, x):
        return self.head(self.gain * (torch.tanh(self.first(x)) + self.shift))


class TiedFactors(nn.Module):
    """Two linear layers in a row, the second of which is used again elsewhere."""

    def __init__(self):
        super().__init__()
        self.down, self.up, self.head = nn.Linear(6, 2), nn.Linear(2, 2), nn.Linear(2, 3)

    def forward(self, x):
        hidden = self.up(self.down(x))
        return self.head(F.relu(self.up(F.relu(hidden))))


def encoder():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(24, 3))


NETWORKS = {
    "mlp": (lambda: models.mlp((6, 5, 4, 3)), (5, 6)),
    "mlp-gelu": (lambda: models.mlp((6, 5, 4, 3), activation="gelu"), (5, 6)),
    "mlp-linear": (lambda: models.mlp((6, 5, 4, 3), activation="none"), (5, 6)),
    "cnn": (lambda: models.small_cnn(channels=(4, 5), classes=3), (4, 1, 8, 8)),
    "cnn-plain": (lambda: models.small_cnn(channels=(4, 5), classes=3, norm="none"), (4, 1, 8, 8)),
    "resnet": (lambda: models.resnet(8, width=4, classes=3), (3, 3, 8, 8)),
    "resnet-group": (lambda: models.resnet(8, width=4, classes=3, norm="group"), (3, 3, 8, 8)),
    "resnet-noshort": (lambda: models.resnet(8, width=4, classes=3, norm="none", skip=False), (3, 3, 8, 8)),
    "transformer": (lambda: models.transformer(width=8, heads=2, layers=1, classes=3, dropout=0.1), (3, 1, 8, 8)),
    "char": (lambda: models.char_transformer(9, width=8, heads=2, layers=1), "tokens"),
    "char-tied": (lambda: models.char_transformer(9, width=8, heads=2, layers=1, tied=True), "tokens"),
    "functional": (Functional, (5, 6)),
    "residual": (Residual, (5, 6)),
    "dense": (Dense, (4, 1, 8, 8)),
    "grouped-queries": (GroupedQueries, (3, 5, 8)),
    "mixer": (Mixer, (3, 5, 6)),
    "offset": (Offset, (5, 6)),
    "tied-factors": (TiedFactors, (5, 6)),
    "encoder": (encoder, (2, 3, 8)),
}


def build(name):
    """A network in float64 with every norm statistic away from its default, and inputs for it."""
    make, shape = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make().double()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.5, 2.0)
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d | nn.LayerNorm | nn.GroupNorm):
                nn.init.normal_(module.weight, 1.0, 0.3)
                nn.init.normal_(module.bias)
            if isinstance(module, nn.MultiheadAttention):
                nn.init.normal_(module.in_proj_bias)
        inputs = torch.randint(0, 9, (3, 5)) if shape == "tokens" else torch.randn(shape, dtype=torch.float64)
    return model, inputs


@pytest.fixture(name="build")
def give_build():
    return build
