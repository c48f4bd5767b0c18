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


def plane(path, o):
    ls.plane(o, ls.random_directions(o), points=25, save=(path, "a/x"))


def volume(path, o):
    ls.volume(o, ls.random_directions(o, n=3), points=8, save=(path, "a/x"))


def adaptive(path, o):
    ls.slices.adaptive_plane(o, ls.random_directions(o), coarse=7, refinements=2, save=(path, "a/x"))


def path_between(path, o):
    ls.interpolate(o, o, run_of(o)[1], points=100, save=(path, "x"))


def barriers(path, o):
    ls.slices.barriers(o, run_of(o, 6), points=15, save=(path, "x"))


def curve(path, o):
    ls.connect(o, o, run_of(o)[1], points=100, steps=60, save=(path, "x"))


def trajectory(path, o):
    ls.trajectory_plane(run_of(o, 40), o, save=(path, "a/x"))


def ratio(path, o):
    ls.slices.eigen_ratio(o, ls.random_directions(o), points=3, save=(path, "a/x"))


def eigenpairs(path, o):
    ls.top_eigenpairs(ls.Hessian(o), k=8, tol=1e-5, save=(path, "a/x"))


def bounded_eigenpairs(path, o):
    ls.top_eigenpairs(ls.Hessian(o), k=4, certify=0.9, save=(path, "a/x"))


def scores(path, o):
    ls.sharpness(o, ["adaptive-worst-linf", "adaptive-average", "trace"], save=(path, "a/x"))


def comparison(path, o):
    data = o.batches[0].inputs[:, :16], o.batches[0].target
    arms = {
        name: [
            ls.Checkpoint(mlp((16, 24, 10), seed=seed), loss="cross_entropy", train=data)
            for seed in range(first, first + 3)
        ]
        for name, first in (("a", 0), ("b", 3))
    }
    ls.compare(arms, waive=("train accuracy", "train loss", "gradient"), save=path)


RECIPE = ls.experiments.get_recipe("sgd", lr=0.1, examples=200, target=0.05)


def training(path, o):
    recipes, out = (
        [RECIPE, ls.experiments.get_recipe("momentum", lr=0.05, examples=200, target=0.05)],
        path.with_suffix(""),
    )
    split = ls.datasets.digits(flatten=True)
    ls.experiments.train_many(recipes, split, partial(mlp, (64, 32, 10)), seeds=range(3), out=out, workers=2)


def study(path, o):
    ls.experiments.memorisation_test(
        partial(mlp, (64, 64, 10)),
        ls.datasets.digits(flatten=True),
        recipe=RECIPE,
        seeds=range(3),
        workers=2,
        save=path,
    )


def table(path, o):
    ls.experiments.optimisers(
        partial(mlp, (64, 32, 10)),
        ls.datasets.digits(flatten=True),
        recipes=[RECIPE, ls.experiments.get_recipe("momentum", lr=0.05, examples=200, target=0.05)],
        scores=["trace"],
        seeds=range(3),
        workers=2,
        save=path,
    )


CALLS = [plane, volume, adaptive, path_between, barriers, curve, trajectory, ratio, eigenpairs, bounded_eigenpairs, scores,
         comparison, training, study, table]  # fmt: skip


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
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = str(path.relative_to(folder))
        if path.suffix == ".h5":
            with h5py.File(path) as file:
                _attributes(found, name, file)
                file.visititems(partial(_item, found, name))
        elif path.suffix == ".json":
            _flat(found, (name,), json.loads(path.read_text()))
        elif path.suffix != ".lock":
            found[name,] = path.read_bytes()
    return found


def _item(found, name, place, item):
    _attributes(found, name, item)
    if isinstance(item, h5py.Dataset):
        value = item[()]
        found[name, place] = value.tobytes() if hasattr(value, "tobytes") and value.dtype.kind != "O" else repr(value)


def _attributes(found, name, item):
    for key, value in item.attrs.items():
        found[name, item.name, key] = repr(value)


def _flat(found, place, value):
    if isinstance(value, dict):
        for key, part in value.items():
            _flat(found, (*place, key), part)
    else:
        found[place] = repr(value)


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_a_call_that_was_killed_again_and_again_ends_as_if_it_had_not_been(call, tmp_path):
    for name in ("whole", "again", "killed"):
        (tmp_path / name).mkdir()
    seconds = finished(call, tmp_path / "whole" / "s.h5")
    finished(call, tmp_path / "again" / "s.h5")
    draw, kills, limit = random.Random(CALLS.index(call)), 0, time.monotonic() + 600
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
