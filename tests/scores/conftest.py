"""Objectives whose scores are known in closed form; `invariance_table` beside this file becomes importable."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls

sys.path.insert(0, str(Path(__file__).parent))


class Point(nn.Module):
    """A parameter vector that a loss reads directly."""

    def __init__(self, at):
        super().__init__()
        self.w = nn.Parameter(torch.as_tensor(at, dtype=torch.float64))


class Each(nn.Module):
    """Logits of example i: a weight of its own for class 0, zero for the other classes."""

    def __init__(self, weights, classes):
        super().__init__()
        self.w = nn.Parameter(torch.as_tensor(weights, dtype=torch.float64))
        self.classes = classes

    def forward(self, index):
        logits = self.w[index].unsqueeze(1)
        return torch.cat([logits, logits.new_zeros(len(index), self.classes - 1)], 1)


@pytest.fixture
def miscalibration():
    """``miscalibration(rows)``: the claimed variance against that over seeds, as a z-score of its logarithm."""

    def z(rows):
        claimed = np.mean([row.standard_error**2 for row in rows])
        measured = np.var([row.value for row in rows], ddof=1)
        return float(np.log(claimed / measured) / np.sqrt(2 / (len(rows) - 1)))

    return z


@pytest.fixture
def quadratic():
    """``quadratic(H, at=, minimum=)``: L(w) = ½ (w − m)ᵀ H (w − m) as an objective in float64."""

    def make(H, at=None, minimum=None):
        H = torch.as_tensor(H, dtype=torch.float64)
        at = torch.zeros(len(H)) if at is None else at
        model = Point(at)
        m = model.w.detach().clone() if minimum is None else torch.as_tensor(minimum, dtype=torch.float64)
        loss = ls.BatchLoss(lambda model, batch: 0.5 * (model.w - m) @ H @ (model.w - m))
        return ls.Objective(model, [(torch.zeros(1, 1),)], loss)

    return make


@pytest.fixture
def each():
    """``each(weights, classes=)``: a classifier with one weight an example, right while that weight is positive."""

    def make(weights, classes=3):
        n = len(weights)
        data = (torch.arange(n), torch.zeros(n, dtype=torch.long))
        return ls.Objective(Each(weights, classes), data, "cross_entropy")

    return make


@pytest.fixture
def classifier():
    """``classifier(activation=, sizes=, n=)``: a small trained-looking network in float64 on data it partly explains."""

    def make(activation="relu", sizes=(6, 8, 7, 3), n=60, batch_size=None, loss="cross_entropy", fit=40):
        generator = torch.Generator().manual_seed(0)
        X = torch.randn(n, sizes[0], generator=generator, dtype=torch.float64)
        teacher = torch.randn(sizes[0], sizes[-1], generator=generator, dtype=torch.float64)
        y = (X @ teacher).argmax(1)
        model = ls.models.mlp(sizes, activation=activation, seed=1).double()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
        for _ in range(fit):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(X), y).backward()
            optimizer.step()
        model.zero_grad()
        return ls.Objective(model, (X, y), loss, batch_size=batch_size)

    return make


@pytest.fixture
def regression():
    """A linear network fitted to real numbers: no classes, no 0–1 error."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(20, 3, generator=generator, dtype=torch.float64)
    return ls.Objective(nn.Linear(3, 1, dtype=torch.float64), (X, X.sum(1, keepdim=True)), "mse_loss")
