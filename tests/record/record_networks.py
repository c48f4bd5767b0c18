"""Twelve small networks with their data and losses: one for each way in which a network can be out of the ordinary."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls


@dataclass
class Case:
    """A network, data, loss and what else the objective takes, trained a few steps when it is built."""

    model: nn.Module
    data: Any
    loss: Any
    test: Any
    options: dict[str, Any] = field(default_factory=dict)
    tolerance: float = 1e-12
    steps: int = 40
    lr: float = 0.02

    def __post_init__(self):
        """Train, keeping the weights of the beginning and of half-way."""
        self.init = copy.deepcopy(self.model.state_dict())
        optimiser = torch.optim.Adam([p for p in self.model.parameters() if p.requires_grad], lr=self.lr)
        batches = [self.data] if isinstance(self.data, tuple) else list(self.data)
        self.model.train()
        for step in range(self.steps):
            if step == self.steps // 2:
                self.middle = copy.deepcopy(self.model.state_dict())
            for X, y in batches:
                optimiser.zero_grad()
                self.loss(self.model(X), y).backward()
                optimiser.step()
        self.model.eval()
        self.inputs = batches[0][0][:4]
        self.objective = ls.Objective(self.model, self.data, self.loss, **self.options)
        history = {"optimizer": "sgd", "lr": 0.1, "momentum": 0.0, "batch_size": 16, "step": 40}
        self.checkpoint = ls.Checkpoint(
            self.model, loss=self.loss, train=self.data, test=self.test, init=self.init, **history, **self.options
        )
        self.vector = draw(self.objective.size, seed=1).to(self.objective.dtype)


def draw(*shape, seed):
    """Normal numbers from a generator of their own."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def classes(*shape, seed):
    """Inputs with labels 0, 1, 2 that a noisy linear teacher gives."""
    X = draw(*shape, seed=seed)
    return X, (X.flatten(1)[:, :3] + 0.5 * draw(shape[0], 3, seed=seed + 100)).argmax(1)


class Recurrent(nn.Module):
    """An LSTM whose last state is classified."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.lstm(x)[0][:, -1])


class Tied(nn.Module):
    """Two layers with one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.head(torch.relu(self.second(torch.relu(self.first(x)))))


class Tagger(nn.Module):
    """A class for every position of a sequence, classes in the second dimension."""

    def __init__(self):
        super().__init__()
        self.hidden, self.head = nn.Linear(5, 8), nn.Linear(8, 3)

    def forward(self, x):
        return self.head(torch.tanh(self.hidden(x))).transpose(1, 2)


def plain():
    return Case(
        ls.models.mlp((6, 8, 3)).double(), classes(40, 6, seed=2), nn.CrossEntropyLoss(), classes(20, 6, seed=3)
    )


def images(model, **options):
    return Case(
        model.double(), classes(24, 1, 8, 8, seed=4), nn.CrossEntropyLoss(), classes(12, 1, 8, 8, seed=5), **options
    )


def convolutional():
    return images(ls.models.small_cnn(channels=(3, 4), classes=3, norm="none"))


def batch_norm():
    return images(ls.models.small_cnn(channels=(3, 4), classes=3, norm="batch"), steps=15)


def attention():
    return images(ls.models.transformer(patch=4, classes=3, width=4, heads=2, layers=1))


def recurrent():
    return Case(seeded(Recurrent), classes(30, 5, 3, seed=6), nn.CrossEntropyLoss(), classes(10, 5, 3, seed=7))


def tied():
    return Case(seeded(Tied), classes(40, 6, seed=8), nn.CrossEntropyLoss(), classes(20, 6, seed=9))


def frozen():
    model = ls.models.mlp((6, 8, 8, 2), activation="tanh").double()
    next(model.parameters()).requires_grad_(False)
    (X, Z) = draw(40, 6, seed=10), draw(20, 6, seed=11)
    return Case(model, (X, X[:, :2] * X[:, 2:4]), nn.MSELoss(), (Z, Z[:, :2] * Z[:, 2:4]))


def summed():
    loss = nn.CrossEntropyLoss(reduction="sum")
    model = ls.models.mlp((6, 8, 3), activation="gelu").double()
    return Case(model, classes(40, 6, seed=12), loss, classes(20, 6, seed=13), lr=0.01)


def ragged():
    (X, y), (Z, z) = classes(40, 6, seed=14), classes(20, 6, seed=15)
    binary = (y == 0).double()[:, None]
    batches = [(X[part], binary[part]) for part in (slice(0, 7), slice(7, 8), slice(8, 20), slice(20, 40))]
    model = ls.models.mlp((6, 10, 1)).double()
    return Case(model, batches, nn.BCEWithLogitsLoss(), [(Z, (z == 0).double()[:, None])], lr=0.005)


def ignored():
    loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0, 0.5]).double(), ignore_index=-100)
    parts = []
    for n, seed in ((20, 16), (10, 17)):
        X = draw(n, 4, 5, seed=seed)
        y = (X[..., :3] + 0.5 * draw(n, 4, 3, seed=seed + 100)).argmax(2)
        parts.append((X, y.masked_fill(X[..., 4] > 0.8, -100)))
    (X, y), test = parts
    return Case(seeded(Tagger), list(zip(X.split(7), y.split(7), strict=True)), loss, test)


def streamed():
    def loader(n, seed):
        return DataLoader(TensorDataset(*classes(n, 6, seed=seed)), batch_size=16)

    model = ls.models.mlp((6, 8, 3), activation="tanh").double()
    return Case(model, loader(45, 18), nn.CrossEntropyLoss(), loader(20, 19), {"resident": False}, lr=0.01)


def single_precision():
    (X, y), (Z, z) = classes(40, 6, seed=20), classes(20, 6, seed=21)
    model = ls.models.mlp((6, 8, 3))
    return Case(model, (X.float(), y), nn.CrossEntropyLoss(), (Z.float(), z), tolerance=1e-5)


def seeded(make):
    """Build a network from a seed without moving the global generator."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make().double()


NETWORKS = {
    "mlp": plain,
    "cnn": convolutional,
    "batch-norm": batch_norm,
    "attention": attention,
    "recurrent": recurrent,
    "tied": tied,
    "frozen": frozen,
    "summed": summed,
    "ragged": ragged,
    "ignored": ignored,
    "streamed": streamed,
    "float32": single_precision,
}
