"""Twelve small networks with data and loss, trained a few steps: one for each way to be out of the ordinary.

    python tests/record/record_networks.py    # trains them anew and writes networks.npz

Their weights are stored, for training ends a rounding apart on another kind of processor, and some numbers multiply that.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls
from landscape.models import mlp, small_cnn, transformer

STORED = Path(__file__).with_name("networks.npz")
STATES = ("init", "middle", "end")


class Case:
    """A network on its data; ``cut`` makes a list or a loader of batches of the data, ``options`` go to the objective."""

    def __init__(self, model, train, test, loss=None, *, cut=None, steps=40, lr=0.02, dtype=torch.float64, **options):
        self.model, self.loss, self.options = model.to(dtype), (loss or nn.CrossEntropyLoss()).to(dtype), options
        self.tolerance = 1e-12 if dtype == torch.float64 else 1e-5
        (X, y), (Z, z) = ([item.to(dtype) if item.is_floating_point() else item for item in d] for d in (train, test))
        self.data, self.test = ((X, y), (Z, z)) if cut is None else (cut(X, y), cut(Z, z))
        self.inputs = X[:4]
        self.batches, self.steps, self.lr = [(X, y)] if cut is None else self.data, steps, lr

    def train(self):
        """Train a few steps; return the weights before, half-way and after."""
        states = {"init": copy.deepcopy(self.model.state_dict())}
        optimiser = torch.optim.Adam([p for p in self.model.parameters() if p.requires_grad], lr=self.lr)
        for step in range(self.steps):
            if step == self.steps // 2:
                states["middle"] = copy.deepcopy(self.model.state_dict())
            for inputs, target in self.batches:
                optimiser.zero_grad()
                self.loss(self.model(inputs), target).backward()
                optimiser.step()
        return {**states, "end": copy.deepcopy(self.model.state_dict())}

    def at(self, init, middle, end):
        """Take these weights; make the objective and the checkpoint."""
        self.init, self.middle = init, middle
        self.model.load_state_dict(end)
        self.objective = ls.Objective(self.model.eval(), self.data, self.loss, **self.options)
        self.checkpoint = ls.Checkpoint(
            self.model,
            **{"loss": self.loss, "train": self.data, "test": self.test, "init": init, "optimizer": "sgd", "lr": 0.1},
            **{"momentum": 0.0, "batch_size": 16, "step": 40, **self.options},
        )
        self.vector = draw(self.objective.size, seed=1).to(self.objective.dtype)
        return self

    def again(self, **options: Any) -> ls.Objective:
        """The objective made anew, with other options."""
        return ls.Objective(self.model, self.data, self.loss, **self.options, **options)


def draw(*shape, seed):
    """Normal numbers from a generator of their own."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def teacher(X):
    """The labels 0, 1, 2 of a noisy linear teacher."""
    return (X.flatten(1)[:, :3] + 0.5 * draw(len(X), 3, seed=4)).argmax(1)


def data(*shape, label=teacher):
    """Inputs to train and to test on, with their labels."""
    return [(X, label(X)) for X in (draw(*shape, seed=2), draw(*shape, seed=3))]


class Last(nn.LSTM):
    """An LSTM's output at the last step."""

    def forward(self, x):
        return super().forward(x)[0][:, -1]


class Swapped(nn.Linear):
    """Outputs with the classes in the second dimension."""

    def forward(self, x):
        return super().forward(x).transpose(1, 2)


def tied():
    model = nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3))
    model[2].weight = model[0].weight
    return model


def frozen():
    model = mlp((6, 8, 8, 2), activation="tanh")
    next(model.parameters()).requires_grad_(False)
    return model


IMAGES = {"channels": (3, 4), "classes": 3}
SUM, WEIGHTED = nn.CrossEntropyLoss(reduction="sum"), nn.CrossEntropyLoss(torch.tensor([1.0, 2.0, 0.5]))
PRODUCTS = {"label": lambda X: X[:, :2] * X[:, 2:4]}
BINARY = {"label": lambda X: (X[:, :1] + X[:, 1:2] * X[:, 2:3] > 0.3).double()}
TAGS = {"label": lambda X: X[..., :3].argmax(2).masked_fill(X[..., 3] + X[..., 4] > 1.2, -100)}
RAGGED = {"cut": lambda X, y: [(X[a:b], y[a:b]) for a, b in ((0, 7), (7, 8), (8, 20), (20, 40))]}
STREAM = {"cut": lambda X, y: DataLoader(TensorDataset(X, y), batch_size=16), "resident": False}
NETWORKS = {
    "mlp": lambda: Case(mlp((6, 8, 3)), *data(40, 6)),
    "cnn": lambda: Case(small_cnn(norm="none", **IMAGES), *data(24, 1, 8, 8)),
    "batch-norm": lambda: Case(small_cnn(**IMAGES), *data(24, 1, 8, 8), steps=15),
    "attention": lambda: Case(transformer(patch=4, classes=3, width=4, heads=2, layers=1), *data(24, 1, 8, 8)),
    "recurrent": lambda: Case(nn.Sequential(Last(3, 4, batch_first=True), nn.Linear(4, 3)), *data(30, 5, 3)),
    "tied": lambda: Case(tied(), *data(40, 6)),
    "frozen": lambda: Case(frozen(), *data(40, 6, **PRODUCTS), nn.MSELoss()),
    "summed": lambda: Case(mlp((6, 8, 3), activation="gelu"), *data(40, 6), SUM, lr=0.01),
    "ragged": lambda: Case(mlp((6, 10, 1)), *data(40, 6, **BINARY), nn.BCEWithLogitsLoss(), lr=0.005, **RAGGED),
    "ignored": lambda: Case(
        nn.Sequential(nn.Linear(5, 8), nn.Tanh(), Swapped(8, 3)), *data(20, 4, 5, **TAGS), WEIGHTED
    ),
    "streamed": lambda: Case(mlp((6, 8, 3)), *data(45, 6), lr=0.01, **STREAM),
    "float32": lambda: Case(mlp((6, 8, 3)), *data(40, 6), dtype=torch.float32),
}


def made(name: str) -> Case:
    """Return a network as it is before training, from a seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return NETWORKS[name]()


def build(name: str) -> Case:
    """Return a network with its stored weights."""
    case = made(name)
    with np.load(STORED) as arrays:
        weights = {
            key: {k: torch.from_numpy(arrays[f"{name}/{key}/{k}"]) for k in case.model.state_dict()} for key in STATES
        }
    return case.at(**weights)


def store() -> None:
    """Train all networks and write their weights."""
    arrays = {}
    for name in NETWORKS:
        for key, state in made(name).train().items():
            arrays |= {f"{name}/{key}/{k}": value.numpy() for k, value in state.items()}
    np.savez_compressed(STORED, **arrays)


if __name__ == "__main__":
    store()
