"""Every call that resumes, killed again and again: it ends as if it had never been, its history included."""

import json
import os
import random
import signal
import time
import warnings
from contextlib import suppress
from functools import partial

import h5py
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.models import mlp

KILLS = 7
VOLATILE = {"created", "seconds", "timings", "git_commit", "origin_sha256"}  # the last is of the seconds, too


def objective():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(16, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 10))
    X, y = torch.randn(400, 16), torch.randint(0, 10, (400,))
    return ls.Objective(network, (X, y), "cross_entropy", batch_size=100)


def run_of(o, n=12):
    generator = torch.Generator().manual_seed(1)
    return [o.theta + 0.1 * k * torch.randn(o.size, generator=generator) for k in range(n)]


def comparison(path, o):
    data = o.batches[0].inputs[:, :16], o.batches[0].target
    arms = {
        name: [ls.Checkpoint(mlp((16, 24, 10), seed=first + i), loss="cross_entropy", train=data) for i in range(3)]
        for name, first in (("a", 0), ("b", 3))
    }
    ls.compare(arms, waive=("train accuracy", "train loss", "gradient"), save=path)


RECIPES = [
    ls.experiments.get_recipe(name, lr=lr, examples=200, target=0.05) for name, lr in (("sgd", 0.1), ("momentum", 0.05))
]
SMALL, SEEDS = partial(mlp, (64, 32, 10)), {"seeds": range(3), "workers": 2}


def digits():
    return ls.datasets.digits(flatten=True)


CALLS = {
    "plane": lambda path, o: ls.plane(o, ls.random_directions(o), points=25, save=(path, "a/x")),
    "volume": lambda path, o: ls.volume(o, ls.random_directions(o, n=3), points=8, save=(path, "a/x")),
    "adaptive": lambda path, o: ls.slices.adaptive_plane(
        o, ls.random_directions(o), coarse=7, refinements=2, save=(path, "a/x")
    ),
    "path": lambda path, o: ls.interpolate(o, o, run_of(o)[1], points=100, save=(path, "x")),
    "barriers": lambda path, o: ls.slices.barriers(o, run_of(o, 6), points=15, save=(path, "x")),
    "curve": lambda path, o: ls.connect(o, o, run_of(o)[1], points=100, steps=60, save=(path, "x")),
    "trajectory": lambda path, o: ls.trajectory_plane(run_of(o, 40), o, save=(path, "a/x")),
    "ratio": lambda path, o: ls.slices.eigen_ratio(o, ls.random_directions(o), points=3, save=(path, "a/x")),
    "eigenpairs": lambda path, o: ls.top_eigenpairs(ls.Hessian(o), k=8, tol=1e-5, save=(path, "a/x")),
    "bounded eigenpairs": lambda path, o: ls.top_eigenpairs(ls.Hessian(o), k=4, certify=0.9, save=(path, "a/x")),
    "scores": lambda path, o: ls.sharpness(o, ["adaptive-worst-linf", "adaptive-average", "trace"], save=(path, "a/x")),
    "comparison": comparison,
    "training": lambda path, o: ls.experiments.train_many(RECIPES, digits(), SMALL, out=path.with_suffix(""), **SEEDS),
    "study": lambda path, o: ls.experiments.memorisation_test(
        partial(mlp, (64, 64, 10)), digits(), recipe=RECIPES[0], save=path, **SEEDS
    ),
    "table": lambda path, o: ls.experiments.optimisers(
        SMALL, digits(), recipes=RECIPES, scores=["trace"], save=path, **SEEDS
    ),
}


def started(call, path):
    """Start a call in a child, in a group of processes of its own."""
    child = os.fork()
    if child == 0:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(null, stream)
        code = 1
        with suppress(BaseException), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            call(path, objective())
            code = 0
        os._exit(code)
    with suppress(PermissionError, ProcessLookupError):  # it has done so itself
        os.setpgid(child, child)
    return child


def finished(call, path):
    begun = time.monotonic()
    assert os.waitpid(started(call, path), 0)[1] == 0
    return time.monotonic() - begun


def killed(call, path, after):
    """Kill a call and its workers after so many seconds; whether it was still running."""
    child = started(call, path)
    time.sleep(after)
    done, _ = os.waitpid(child, os.WNOHANG)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if not done:
        os.waitpid(child, 0)
    return not done


def content(folder):
    """Everything that a call has stored, by file and place."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".lock"):
        name = str(path.relative_to(folder))
        if path.suffix == ".h5":
            with h5py.File(path) as file:
                items = [file]
                file.visititems(lambda _, item, items=items: items.append(item))
                for item in items:
                    found |= {(name, item.name, key): repr(value) for key, value in item.attrs.items()}
                    if isinstance(item, h5py.Dataset):
                        value = item[()]
                        plain = hasattr(value, "tobytes") and value.dtype.kind != "O"
                        found[name, item.name] = value.tobytes() if plain else repr(value)
        elif path.suffix == ".json":
            found |= {(name, *place): repr(value) for place, value in leaves(json.loads(path.read_text()))}
        else:
            found[name,] = path.read_bytes()
    return found


def leaves(value, place=()):
    if not isinstance(value, dict):
        yield place, value
        return
    for key, part in value.items():
        yield from leaves(part, (*place, key))


@pytest.mark.slow
@pytest.mark.parametrize("which", CALLS)
def test_a_call_that_was_killed_again_and_again_ends_as_if_it_had_not_been(which, tmp_path):
    call = CALLS[which]
    for name in ("whole", "again", "killed"):
        (tmp_path / name).mkdir()
    seconds = finished(call, tmp_path / "whole" / "s.h5")
    finished(call, tmp_path / "again" / "s.h5")
    draw, kills, limit = random.Random(list(CALLS).index(which)), 0, time.monotonic() + 600
    while kills < KILLS and time.monotonic() < limit:
        if killed(call, tmp_path / "killed" / "s.h5", draw.uniform(0, 0.6 * seconds)):
            kills += 1
        else:  # it came to its end: once more
            for path in sorted((tmp_path / "killed").rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
    assert kills == KILLS
    finished(call, tmp_path / "killed" / "s.h5")
    whole, again, resumed = (content(tmp_path / name) for name in ("whole", "again", "killed"))
    assert whole.keys() == again.keys() == resumed.keys()
    volatile = {key for key in whole if whole[key] != again[key]}
    assert {key[-1] for key in volatile} <= VOLATILE
    assert [key for key in whole if whole[key] != resumed[key] and key[-1] not in VOLATILE] == []
