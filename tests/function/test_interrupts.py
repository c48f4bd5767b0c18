"""Ctrl-C at random instants: nothing of the user's network, of the random state or of PyTorch's settings is left changed."""

import functools
import random
import signal
import time
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, weight_norm

import landscape as ls

X, Y = torch.randn(24, 4, generator=torch.Generator().manual_seed(0)), torch.arange(24) % 3


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.body(x.reshape(-1, 2, 2))[0][:, -1])


def normed():
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(0.1), nn.Linear(6, 3))


def weight_normed():
    old = weight_norm(nn.Linear(4, 6))
    return nn.Sequential(old, nn.Tanh(), parametrizations.weight_norm(nn.Linear(6, 3)))


NETWORKS = {"batch norm": normed, "recurrent": Recurrent, "weight norm": weight_normed}
SCORES = ["adaptive-worst-linf", "adaptive-average", "gradient-norm"]


def compared(objective, audit):
    checkpoints = [ls.Checkpoint(objective.model, loss="cross_entropy", train=(X, Y)) for _ in range(2)]
    ls.compare({"a": checkpoints[:1], "b": checkpoints[1:]}, scores=SCORES, audit=audit)


WORK: dict[str, tuple[int, Callable]] = {  # how often in the default tests, and what
    "loss": (20, lambda o: o.loss(o.theta * 1.1)),
    "gradient": (20, lambda o: o.gradient(o.theta * 1.1)),
    "kept": (12, lambda o: ls.Hessian(o, program="kept") @ o.theta),
    "recompute": (9, lambda o: ls.Hessian(o, program="recompute") @ o.theta),
    "split": (1, lambda o: ls.Hessian(o, program="split") @ o.theta),
    "plane": (9, lambda o: ls.plane(o, ls.random_directions(o, n=2), points=3)),
    "panel": (3, lambda o: ls.sharpness(o, SCORES)),
    "comparison": (1, functools.partial(compared, audit=False)),
    "audited comparison": (0, functools.partial(compared, audit=True)),
}


def state(model, settings):
    """Everything that a call must leave: tensors by identity and value, gradients, modes, random states, settings."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    return {
        "tensors": [(name, id(t), t.detach().numpy().tobytes(), t.requires_grad) for name, t in tensors],
        "gradients": [None if p.grad is None else (id(p.grad), p.grad.numpy().tobytes()) for p in model.parameters()],
        "modules": [(name, id(m), m.training) for name, m in model.named_modules()],
        "random": (torch.get_rng_state().numpy().tobytes(), random.getstate(), repr(np.random.get_state())),  # noqa: NPY002
        "settings": settings(),
    }


def interrupted(work, after):
    """Whether a call was interrupted after so many seconds."""
    try:
        signal.setitimer(signal.ITIMER_REAL, after, 1.0)  # again, should a finalizer swallow it
        while True:
            work()
    except KeyboardInterrupt:
        return True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def timed(work):
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


@pytest.fixture
def alarm():
    """Timers do what Ctrl-C does."""
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    yield
    signal.signal(signal.SIGALRM, before)


CASES = [(network, kind, times) for network in NETWORKS for kind, (times, _) in WORK.items() if times]  # 225 presses
CASES += [
    pytest.param(network, kind, 25 * times or 10, marks=pytest.mark.slow)  # 5,655
    for network in NETWORKS
    for kind, (times, _) in WORK.items()
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("network", "kind", "times"), CASES)
def test_ctrl_c_leaves_everything_as_it_was(network, kind, times, alarm, settings):
    torch.manual_seed(0)
    model = NETWORKS[network]()
    model(X).sum().backward()  # so that there are gradients
    objective = ls.Objective(model, (X, Y), "cross_entropy")
    work = functools.partial(WORK[kind][1], objective)
    seconds = min(timed(work) for _ in range(2))
    before, draw = state(model, settings), random.Random(len(network) * 100 + len(kind))
    expected = objective.loss()
    for press in range(times):
        assert interrupted(work, 1e-5 + draw.random() * seconds)
        after = state(model, settings)
        assert [key for key in before if after[key] != before[key]] == [], (press, settings())
    assert objective.loss() == expected
