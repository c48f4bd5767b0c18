"""Slices in a study: every finished row on disk, resuming, refusing other settings."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.slices import paths
from landscape.store.run import partial_file, read_parts


def objective_of(metrics=None, seed=0, normed=False):
    torch.manual_seed(seed)
    data = (torch.linspace(-1, 1, 40).reshape(10, 4).sin(), torch.arange(10) % 3)
    norm = nn.BatchNorm1d(5) if normed else nn.Identity()
    net = nn.Sequential(nn.Linear(4, 5), norm, nn.ReLU(), nn.Linear(5, 3))
    return ls.Objective(net, data, "cross_entropy", metrics=metrics)


class Budget:
    """A metric that interrupts the computation after some calls."""

    def __init__(self):
        self.calls, self.limit = 0, 10**9

    def __call__(self, output, target):
        self.calls += 1
        if self.calls > self.limit:
            raise KeyboardInterrupt
        return output.mean()


def other_end(objective):
    return objective.at(objective.theta + torch.randn(objective.size, generator=torch.Generator().manual_seed(3)))


def run_of(objective):
    return [objective.theta * (1 - 0.2 * step) + (0.1 * step) ** 2 for step in range(5)]


COMPUTATIONS = {  # how to compute, where it is stored, evaluations before the interruption, and those that may be lost
    "line": (lambda o, **k: ls.line(o, ls.random_directions(o, 1), points=9, **k), "sgd-0/line", 4, 1),
    "plane": (lambda o, **k: ls.plane(o, ls.random_directions(o), points=5, **k), "sgd-0/plane", 9, 5),
    "volume": (lambda o, **k: ls.volume(o, ls.random_directions(o, 3), points=4, **k), "sgd-0/volume", 27, 16),
    "adaptive": (
        lambda o, **k: ls.slices.adaptive_plane(
            o, ls.random_directions(o), coarse=5, refinements=2, tolerance=0.05, span=2.0, **k
        ),
        "sgd-0/adaptive", 33, 8,
    ),
    "path": (lambda o, **k: ls.interpolate(o, o, other_end(o), points=9, **k), "a-to-b", 5, 8),
    "curve": (lambda o, **k: ls.connect(o, o, other_end(o), points=9, steps=3, **k), "a-to-b", 5, 8),
    "trajectory": (lambda o, **k: ls.trajectory_plane(run_of(o), o, **k), "sgd-0/run", 5, 2),
}  # fmt: skip


def loss_of(result):
    return result.values["projected/loss"] if result.kind == "trajectory" else result.loss


@pytest.mark.parametrize("normed", [False, True])
@pytest.mark.parametrize("kind", COMPUTATIONS)
def test_every_kind_of_slice_resumes_and_computes_nothing_twice(tmp_path, kind, normed):
    compute, name, limit, lost = COMPUTATIONS[kind]
    budget, study = Budget(), tmp_path / "study.h5"
    objective = objective_of({"mean": budget}, normed=normed)
    whole = compute(objective)
    calls = budget.calls
    budget.calls, budget.limit = 0, limit
    with pytest.raises(KeyboardInterrupt) as interrupted:
        compute(objective, save=(study, name))
    assert f"what is finished of {name!r} is kept beside study.h5" in interrupted.value.__notes__[0]
    assert not study.exists()
    partial = ls.open_study(study)[name]
    done = np.isfinite(loss_of(partial))
    assert 0 < done.sum() < done.size
    np.testing.assert_array_equal(loss_of(partial)[done], loss_of(whole)[done])
    budget.calls, budget.limit = 0, 10**9
    resumed = compute(objective, save=(study, name))
    assert calls / 2 < limit + budget.calls <= calls + lost + 1  # at most a row and the names are evaluated again
    assert budget.calls < calls
    stored = ls.open_study(study)[name]
    for result in (resumed, stored):
        assert set(result.values) == set(whole.values)
        for key in whole.values:
            np.testing.assert_array_equal(result.values[key], whole.values[key])
    if hasattr(whole, "computed"):
        np.testing.assert_array_equal(partial.computed, done)
        np.testing.assert_array_equal(stored.computed, whole.computed)
    budget.calls = 0
    compute(objective, save=(study, name))
    assert budget.calls <= 1  # finished: nothing is computed again, not even the curve


def test_a_curve_is_trained_once(tmp_path, monkeypatch):
    trained, train = [], paths._train
    monkeypatch.setattr(paths, "_train", lambda *a: trained.append(1) or train(*a))
    budget = Budget()
    objective = objective_of({"mean": budget})
    budget.limit = 4
    for _ in range(3):
        try:
            ls.connect(
                objective, objective, other_end(objective), points=5, steps=3, save=(tmp_path / "s.h5", "a-to-b")
            )
        except KeyboardInterrupt:
            budget.limit = 10**9
    assert len(trained) == 1


def test_barriers_keep_every_path(tmp_path):
    budget = Budget()
    objective = objective_of({"mean": budget})
    solutions = [objective, other_end(objective), other_end(other_end(objective))]
    matrix = ls.barriers(objective, solutions, points=5)
    calls, budget.calls = budget.calls, 0
    budget.limit = calls - 1
    with pytest.raises(KeyboardInterrupt):
        ls.barriers(objective, solutions, points=5, save=(tmp_path / "s.h5", "run"))
    budget.calls, budget.limit = 0, 10**9
    np.testing.assert_allclose(ls.barriers(objective, solutions, points=5, save=(tmp_path / "s.h5", "run")), matrix)
    assert budget.calls == 1
    study = ls.open_study(tmp_path / "s.h5")
    assert sorted(study) == ["run-0-1", "run-0-2", "run-1-2"]
    assert study["run-0-2"].barrier == matrix[2, 0]
    assert study["run-0-2"].loss[0] == pytest.approx(objective.loss(), rel=1e-6)


def test_an_interrupted_slice_that_is_not_saved_says_so():
    budget = Budget()
    objective, budget.limit = objective_of({"mean": budget}), 4
    with pytest.raises(KeyboardInterrupt) as interrupted:
        ls.plane(objective, ls.random_directions(objective), points=3)
    assert "nothing is kept" in interrupted.value.__notes__[0]


@pytest.mark.parametrize(
    ("save", "message"),
    [
        ("study.h5", r"save=\('study.h5', 'sgd-0/plane'\)"),
        (("study.h5",), "does not say what to call"),
        (("study.h5", "plane"), "of the form 'owner/entry'"),
        (("nowhere/study.h5", "sgd-0/plane"), "no folder 'nowhere'"),
    ],
)
def test_wrong_places_are_refused_before_anything_is_computed(tmp_path, monkeypatch, save, message):
    monkeypatch.chdir(tmp_path)
    budget = Budget()
    objective = objective_of({"mean": budget})
    d = ls.random_directions(objective)
    for make in (ls.plane, ls.slices.adaptive_plane, ls.slices.eigen_ratio):
        with pytest.raises(ls.LandscapeError, match=message):
            make(objective, d, save=save)
    assert budget.calls == 0
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ls.LandscapeError, match="'a-to-b'"):
        ls.interpolate(objective, objective, other_end(objective), save="study.h5")


def test_overwriting_replaces_another_slice(tmp_path):
    save, objective = (tmp_path / "study.h5", "sgd-0/plane"), objective_of()
    d = ls.random_directions(objective)
    ls.plane(objective, d, points=3, save=save)
    with pytest.raises(ls.LandscapeError, match="overwrite=True"):
        ls.plane(objective, d, points=5, save=save)
    ls.plane(objective, d, points=5, save=save, overwrite=True)
    assert ls.open_study(save[0])["sgd-0/plane"].loss.shape == (5, 5)


def test_a_slice_of_another_objective_is_not_mixed_in(tmp_path):
    save = (tmp_path / "study.h5", "sgd-0/plane")
    objective = objective_of()
    d = ls.random_directions(objective, 2)
    ls.plane(objective, d, points=3, save=save)
    content = (tmp_path / "study.h5").read_bytes()
    for other, options in ((objective_of(seed=1), {}), (objective, {"points": 5}), (objective, {"span": 2.0})):
        with pytest.raises(ls.LandscapeError, match="another computation"):
            ls.plane(other, d, **{"points": 3, **options}, save=save)
    assert (tmp_path / "study.h5").read_bytes() == content


def finished(path):
    """Count the rows that another process keeps; 0 while its first part is incomplete."""
    try:
        return len(read_parts(path)) - 1
    except ls.LandscapeError:
        return 0


SCRIPT = """
import runpy, sys, time
tests, path, slow, kind = sys.argv[1:]
names = runpy.run_path(tests)
compute, name, *_ = names["COMPUTATIONS"][kind]
metric = lambda output, target: time.sleep(float(slow)) or output.mean()
compute(names["objective_of"]({"mean": metric}), save=(path, name))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["plane", "adaptive", "path", "curve", "trajectory"])
def test_a_killed_process_leaves_its_rows_and_the_resumed_file_is_the_same(tmp_path, kind):
    name = COMPUTATIONS[kind][1]

    def run(path, slow):
        command = [sys.executable, "-c", SCRIPT, __file__, str(path), str(slow), kind]
        return subprocess.Popen(command, env={**os.environ, "LANDSCAPE_PROGRESS": "0"})

    open_study = ls.open_study  # imported before the race begins
    victim = run(tmp_path / "killed.h5", 0.3)
    rows = partial_file(tmp_path / "killed.h5", name)
    while victim.poll() is None and not (rows.exists() and finished(rows) >= 2):
        time.sleep(0.01)
    partial = open_study(tmp_path / "killed.h5")[name]
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert 0 < np.isfinite(loss_of(partial)).mean() < 1  # a second process read it while the first wrote
    assert run(tmp_path / "killed.h5", 0.0).wait() == 0
    assert run(tmp_path / "whole.h5", 0.0).wait() == 0
    first, second = (ls.open_study(tmp_path / file)[name] for file in ("killed.h5", "whole.h5"))
    np.testing.assert_array_equal(loss_of(first), loss_of(second))
    assert ls.store.validate(tmp_path / "killed.h5") == []
