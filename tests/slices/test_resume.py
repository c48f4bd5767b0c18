"""Slices in a study: every finished row on disk, resuming, refusing other settings."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
import torch
from torch import nn

import landscape as ls
from landscape.journal import read_journal
from landscape.study.rows import journal_of


def objective_of(metrics=None, seed=0):
    torch.manual_seed(seed)
    data = (torch.linspace(-1, 1, 40).reshape(10, 4), torch.arange(10) % 3)
    return ls.Objective(
        nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), data, "cross_entropy", metrics=metrics
    )


@pytest.mark.parametrize("kind", ["line", "plane", "volume"])
def test_an_interrupted_slice_resumes_where_it_stopped(tmp_path, kind):
    calls, limit = [], [7]

    def metric(output, target):
        calls.append(1)
        if len(calls) > limit[0]:
            raise KeyboardInterrupt
        return output.mean()

    objective = objective_of({"mean": metric})
    d = ls.random_directions(objective, {"line": 1, "plane": 2, "volume": 3}[kind])
    make = {"line": ls.line, "plane": ls.plane, "volume": ls.slices.volume}[kind]
    save = (tmp_path / "study.h5", f"sgd-0/{kind}")
    limit[0] = {"line": 4, "plane": 9, "volume": 27}[kind]
    with pytest.raises(KeyboardInterrupt):
        make(objective, d, points={"line": 9, "plane": 5, "volume": 4}[kind], save=save)
    assert not (tmp_path / "study.h5").exists()
    before, limit[0] = len(calls), 10**9
    resumed = make(objective, d, points={"line": 9, "plane": 5, "volume": 4}[kind], save=save)
    done = {"line": 3, "plane": 5, "volume": 16}[kind]  # one call tells the names of the metrics
    total = {"line": 9, "plane": 25, "volume": 64}[kind]
    assert len(calls) - before == total - done + 1
    whole = make(objective, d, points={"line": 9, "plane": 5, "volume": 4}[kind])
    for name in whole.values:
        np.testing.assert_array_equal(resumed.values[name], whole.values[name])
    stored = ls.open_study(tmp_path / "study.h5")[f"sgd-0/{kind}"]
    np.testing.assert_array_equal(stored.loss, whole.loss)
    if kind != "line":
        assert stored.computed.all()
    again = len(calls)
    make(objective, d, points={"line": 9, "plane": 5, "volume": 4}[kind], save=save)
    assert len(calls) - again <= 1  # finished: nothing is computed again


def test_a_slice_of_another_objective_is_not_mixed_in(tmp_path):
    save = (tmp_path / "study.h5", "sgd-0/plane")
    objective = objective_of()
    d = ls.random_directions(objective, 2)
    ls.plane(objective, d, points=3, save=save)
    content = (tmp_path / "study.h5").read_bytes()
    for other, options in ((objective_of(seed=1), {}), (objective, {"points": 5}), (objective, {"span": 2.0})):
        with pytest.raises(ls.LandscapeError, match="other settings"):
            ls.plane(other, d, **{"points": 3, **options}, save=save)
    assert (tmp_path / "study.h5").read_bytes() == content


def finished(path):
    """Count the rows of a journal that another process writes; 0 while its header is incomplete."""
    try:
        return len(read_journal(path)[2])
    except ls.LandscapeError:
        return 0


@pytest.mark.slow
def test_a_killed_process_leaves_its_rows_and_the_resumed_file_is_the_same(tmp_path):
    script = textwrap.dedent("""
        import sys, torch, landscape as ls
        from torch import nn
        torch.manual_seed(0)
        slow = float(sys.argv[2])
        def metric(output, target):
            import time
            time.sleep(slow)
            return output.mean()
        data = (torch.linspace(-1, 1, 40).reshape(10, 4), torch.arange(10) % 3)
        net = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
        objective = ls.Objective(net, data, "cross_entropy", metrics={"mean": metric})
        ls.plane(objective, ls.random_directions(objective), points=7, save=(sys.argv[1], "sgd-0/plane"))
    """)
    environment = {**os.environ, "LANDSCAPE_PROGRESS": "0"}

    def run(path, slow):
        return subprocess.Popen([sys.executable, "-c", script, str(path), str(slow)], env=environment)

    open_study = ls.open_study  # imported before the race begins
    victim = run(tmp_path / "killed.h5", 0.1)
    rows = journal_of(tmp_path / "killed.h5", "sgd-0/plane")
    while victim.poll() is None and not (rows.exists() and finished(rows) >= 2):
        time.sleep(0.01)
    partial = open_study(tmp_path / "killed.h5")["sgd-0/plane"]
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert 0 < partial.computed.mean() < 1  # a second process read it while the first wrote
    assert run(tmp_path / "killed.h5", 0.0).wait() == 0
    assert run(tmp_path / "whole.h5", 0.0).wait() == 0
    first, second = (ls.open_study(tmp_path / name)["sgd-0/plane"] for name in ("killed.h5", "whole.h5"))
    np.testing.assert_array_equal(first.loss, second.loss)
