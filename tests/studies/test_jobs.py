"""Jobs in one process and in several: the same rows, kept when something stops them, and nobody left behind."""

import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack, suppress

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import LandscapeError
from landscape.function.objective import environment
from landscape.results import Estimate
from landscape.store import Run
from landscape.studies.grid import JobsRun, run_jobs
from landscape.workers import completed


def squared(x):
    return {"x": x, "square": x * x, "threads": torch.get_num_threads(), "curve": np.arange(x), "name": f"run {x}"}


def test_numbers_and_order_of_keys_do_not_depend_on_workers():
    jobs = {str(x): (x,) for x in range(4)}
    alone, together = dict(completed(squared, jobs)), dict(completed(squared, jobs, workers=2))
    assert alone.keys() == together.keys()
    for key in jobs:
        np.testing.assert_equal(alone[key], together[key])
        assert alone[key]["threads"] == 1


def test_threads_are_as_before():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with ls.Run(None, {}) as run:
            run_jobs(squared, {"a": (1,)}, run)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_a_result_is_stored_with_its_origin_and_its_seconds(tmp_path):
    bare = Estimate(value=1.0, standard_error=0.0, matvecs=1, method="exact", quantity="trace")
    settings = {"model": {"name": "mlp"}, "data": "abc", "epochs": 3}
    with JobsRun(tmp_path / "s.h5", "sgd-0/trace", settings) as run:
        result = run.conclude(bare)
    assert dict(result.provenance) == {
        **environment(),
        "model": {"name": "mlp"},
        "data": "abc",
        "settings": {"epochs": 3},
    }
    assert result.seconds > 0
    assert dict(ls.open_study(tmp_path / "s.h5")["sgd-0/trace"].provenance) == dict(result.provenance)
    assert not (tmp_path / "s.h5.partial").exists()


def fails_or_takes_a_minute(x):
    if x == 0:
        raise ValueError("stop")
    time.sleep(60)
    return {}


def calls_torch_wrongly(x):
    return {"sum": float((torch.ones(2) @ torch.ones(3)).sum())}


def test_an_error_in_a_worker_names_the_users_line():
    with pytest.raises(RuntimeError, match="inconsistent tensor size") as told, ls.Run(None, {}) as run:
        run_jobs(calls_torch_wrongly, {"a": (0,), "b": (1,)}, run, workers=2)
    note = told.value.__notes__[-1]
    assert note.startswith("in test_jobs.py, line ")
    assert note.endswith('in calls_torch_wrongly: return {"sum": float((torch.ones(2) @ torch.ones(3)).sum())}')


def test_an_error_stops_the_other_workers():
    started = time.perf_counter()
    with pytest.raises(ValueError, match="stop"), ls.Run(None, {}) as run:
        run_jobs(fails_or_takes_a_minute, {"a": (0,), "b": (1,), "c": (1,)}, run, workers=2)
    assert time.perf_counter() - started < 50
    assert not multiprocessing.active_children()


SCRIPT = """
import os, pathlib, signal, sys, time
from landscape.bars import bar
from landscape.studies.grid import JobsRun, run_jobs

if __name__ == "__mp_main__":
    pathlib.Path(f"worker-{os.getpid()}").touch()
    time.sleep(float(sys.argv[1]))

def work(x):
    for _ in bar(range(1)):
        pathlib.Path(f"job-{x}").touch()
        time.sleep(60 if x else 0)
    return {"x": x}

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by what a shell runs in the background
    with JobsRun("s.h5", "t", {}) as run:
        run_jobs(work, {str(x): (x,) for x in range(4)}, run, workers=2)
"""


@pytest.fixture
def running(tmp_path):
    """Start the script in a group of processes of its own; call with how long workers take to start."""
    (tmp_path / "run.py").write_text(SCRIPT)
    with ExitStack() as ended:

        def start(seconds):
            command = [sys.executable, "run.py", str(seconds)]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            process = subprocess.Popen(command, cwd=tmp_path, env=os.environ, start_new_session=True, **pipes)
            ended.callback(process.communicate)
            ended.callback(_kill, process.pid)
            return process

        yield start


def _kill(group):
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def _wait_for(condition, seconds=60):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def _alive(worker):
    with suppress(ProcessLookupError):
        os.kill(worker, 0)
        return True
    return False


def _workers(folder):
    return [int(path.name.partition("-")[2]) for path in folder.glob("worker-*")]


def _journalled(folder):
    return b"".join(path.read_bytes() for path in folder.glob("s.h5.partial/*.journal"))


def _interrupted(process, folder):
    """Press Ctrl-C, as a terminal does for the whole group; return the standard error when all have ended."""
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT
    assert not any(map(_alive, _workers(folder)))
    return errors


def test_ctrl_c_ends_the_workers_cleanly_and_the_next_call_goes_on(running, tmp_path):
    process = running(0)
    _wait_for(lambda: len(list(tmp_path.glob("job-[123]"))) == 2 and b'"0' in _journalled(tmp_path))
    errors = _interrupted(process, tmp_path)
    assert errors.count("Traceback") == 1
    assert "leaked" not in errors
    with JobsRun(tmp_path / "s.h5", "t", {}) as run:
        assert dict(run.done) == {"0": {"x": 0}}
        run_jobs(lambda x: {"x": x}, {str(x): (x,) for x in range(4)}, run)
        assert len(run.done) == 4


@pytest.mark.slow
def test_ctrl_c_while_workers_start_is_answered_by_the_parent_alone(running, tmp_path):
    process = running(60)
    _wait_for(lambda: len(_workers(tmp_path)) == 2)
    for worker in _workers(tmp_path):
        os.kill(worker, signal.SIGINT)
    time.sleep(0.5)
    assert all(map(_alive, _workers(tmp_path)))
    assert _interrupted(process, tmp_path).count("Traceback") == 1


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(running, tmp_path):
    process = running(0)
    _wait_for(lambda: len(list(tmp_path.glob("job-[123]"))) == 2)
    process.kill()
    _wait_for(lambda: not any(map(_alive, _workers(tmp_path))), seconds=10)


NOTEBOOK = """
import sys
if {without}: sys.modules["cloudpickle"] = None
from landscape.workers import completed
def double(a): return 2 * a
print(sorted(completed(double, {{1: (1,), 2: (2,)}}, workers=2)))
"""


@pytest.mark.parametrize("without", [True, False])
def test_a_function_of_a_notebook_is_sent_or_refused_in_one_line(without):
    code = NOTEBOOK.format(without=without)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = (done.stdout + done.stderr).strip().splitlines()[-1]
    if without or importlib.util.find_spec("cloudpickle") is None:
        assert "cannot be sent to another process" in last
        assert "workers=1" in last
    else:
        assert last == "[(1, 2), (2, 4)]"


@pytest.fixture(scope="module")
def pool():
    """Return an executor of the user's own."""
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as executor:
        yield executor


def test_rows_of_a_plane_and_seeds_of_a_comparison_by_an_executor(pool, tmp_path):
    X, y = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)), torch.arange(30) % 3
    objectives = [ls.Objective(ls.models.mlp((4, 5, 3), seed=s), (X, y), "cross_entropy") for s in range(4)]
    directions = ls.random_directions(objectives[0], n=2)
    alone = ls.plane(objectives[0], directions, points=5)
    together = ls.plane(objectives[0], directions, points=5, workers=pool, save=(tmp_path / "s.h5", "mine/plane"))
    assert np.array_equal(alone.values["train/loss"], together.values["train/loss"])
    arms = {"a": objectives[:2], "b": objectives[2:]}
    options = {
        "scores": ["trace"],
        "waive": ["seeds", "gradient", "train loss", "train accuracy", "collapse"],
        "audit": False,
    }
    assert np.array_equal(ls.compare(arms, **options).values, ls.compare(arms, **options, workers=pool).values)


def test_what_an_executor_cannot_be_sent_and_a_worker_that_ends(pool, monkeypatch):
    with monkeypatch.context() as script:  # no notebook, whatever runs the tests
        script.setattr(sys.modules["__main__"], "__file__", __file__, raising=False)
        with pytest.raises(LandscapeError, match="cannot be sent to another process") as error:
            list(completed(lambda x: x, {"a": (1,)}, workers=pool))
    assert "put the factory into a module" in str(error.value)
    with ThreadPoolExecutor(1) as threads, pytest.raises(LandscapeError, match="which threads share; pass a Process"):
        list(completed(squared, {"a": (1,)}, workers=threads))
    dying = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    with dying, Run(None, {}) as run, pytest.raises(LandscapeError, match="a worker process ended"):
        run_jobs(os._exit, {"a": (9,)}, run, workers=dying)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of Dask, when a worker is killed
def test_a_thousand_jobs_over_dask_with_a_worker_killed(tmp_path):
    distributed = pytest.importorskip("distributed")
    kept = []
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        JobsRun(tmp_path / "s.h5", "mine/table", {"jobs": 1000}) as run,
    ):
        keep = run.keep

        def counted(key, row):
            kept.append(key)
            if len(kept) == 100:
                os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)
            keep(key, row)

        run.keep = counted
        run_jobs(squared, {str(x): (x % 7,) for x in range(1000)}, run, workers=client.get_executor())
        assert sorted(kept) == sorted(run.done) == sorted(str(x) for x in range(1000))
        assert all(row["square"] == (int(key) % 7) ** 2 for key, row in run.done.items())
