"""Independent runs of an experiment: in parallel, one thread each, with every finished one kept.

An experiment is a function of one run and a table of the arguments of all of them. A `Run` keeps finished rows, so that the
same call after Ctrl-C or a kill computes only what is missing.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import Any, TypeVar

import torch

from landscape.arguments import check_numbers
from landscape.bars import bar, progress, unshare_bars
from landscape.errors import LandscapeError, name_users_line
from landscape.function.provenance import environment
from landscape.results import Result
from landscape.store import Run

Row = Mapping[str, Any]
Key = TypeVar("Key", bound=Hashable)
Done = TypeVar("Done")
R = TypeVar("R", bound=Result)


def run_jobs(
    work: Callable[..., Row],
    jobs: Mapping[str, tuple[Any, ...]],
    run: Run[Any],
    *,
    workers: int = 1,
    desc: str = "runs",
) -> None:
    """Do every job that is not done, keeping each row as soon as it is finished.

    Args:
        work: one job: a module-level function of the arguments of a job that returns its row: numbers, text, truth
            values and NumPy arrays by name.
        jobs: the arguments of each job by its key.
        run: keeps the rows by key.
        workers: processes, one thread each; 1 runs in this process. A script that asks for more must do so under
            ``if __name__ == "__main__":``.
        desc: label of the progress bar.

    Raises:
        LandscapeError: fewer than one worker; or whatever a job raises, finished rows being kept.

    >>> with Run(None, {}) as run:
    ...     run_jobs(lambda a, b: {"sum": a + b}, {"one": (1, 2), "two": (3, 4)}, run)
    >>> run.done["two"]
    {'sum': 7}
    """
    missing = {key: arguments for key, arguments in jobs.items() if key not in run.done}
    with bar(total=len(jobs), desc=desc, unit="run") as shown:
        shown.update(len(jobs) - len(missing))
        for key, row in completed(work, missing, workers=workers):
            run.keep(key, dict(row) if isinstance(row, Mapping) else row)
            shown.update()


def completed(
    work: Callable[..., Done], jobs: Mapping[Key, tuple[Any, ...]], *, workers: int = 1
) -> Iterator[tuple[Key, Done]]:
    """Yield ``(key, work(*arguments))`` of every job as it is finished; numbers do not depend on `workers`.

    Args:
        work: a module-level function, for more than one worker.
        jobs: arguments by key; picklable, for more than one worker.
        workers: processes, one thread each; 1 runs in this process.

    Raises:
        LandscapeError: fewer than one worker.
    """
    check_numbers({"workers": "int"}, {"workers": workers})
    if workers < 1:
        raise LandscapeError(f"workers={workers}, expected at least 1")
    return (_in_processes if workers > 1 and len(jobs) > 1 else _in_order)(work, jobs, workers)


class JobsRun(Run[Any]):
    """A `Run` whose parts are the rows of jobs, and whose result says what they were made with and how long it took.

    Args:
        save: the study file that will hold the result, or None.
        name: the result's name there.
        settings: JSON values that decide every number of a row; rows and results of other settings are refused. They are
            stored in the provenance of the result.
        overwrite: measure again what the same settings have stored.

    Raises:
        LandscapeError: the study holds rows or a result of other settings, another process writes it, or the disk is full.

    >>> with JobsRun(None, "table", {"seeds": 8}) as run:
    ...     run_jobs(max, {"a": (1, 2)}, run)
    ...     run.done["a"]
    2
    """

    def __init__(
        self,
        save: str | os.PathLike[str] | None,
        name: str,
        settings: Mapping[str, Any],
        *,
        overwrite: bool = False,
    ):
        super().__init__(None if save is None else (save, name), settings, overwrite=overwrite)
        about: dict[str, Any] = json.loads(json.dumps(settings))
        # as the provenance keeps them: model and data by name, everything else together
        self._about = {key: about.pop(key) for key in ("model", "data") if key in about} | {"settings": about}
        self._started = time.perf_counter()

    def conclude(self, result: R) -> R:
        """Return the result of the rows with its provenance and its seconds, stored in the study if there is one."""
        if self.result is not None:
            found: R = self.result
            return found
        seconds = time.perf_counter() - self._started
        whole: R = self.finish(result.replace(provenance={**environment(), **self._about}, seconds=seconds))
        return whole


def _in_order(
    work: Callable[..., Done], jobs: Mapping[Key, tuple[Any, ...]], workers: int
) -> Iterator[tuple[Key, Done]]:
    for key, arguments in jobs.items():
        with _one_thread():
            result = work(*arguments)
        yield key, result


def _in_processes(
    work: Callable[..., Done], jobs: Mapping[Key, tuple[Any, ...]], workers: int
) -> Iterator[tuple[Key, Done]]:
    sent = {key: _sent((work, arguments)) for key, arguments in jobs.items()}
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(jobs)), mp_context=context, initializer=_prepare)
    try:
        with _interrupts_held():
            # Tensors are pickled by value here: PyTorch's own way through queues shares memory that dies with its worker.
            futures = {pool.submit(_work, job): key for key, job in sent.items()}
        for future in as_completed(futures):
            yield futures[future], pickle.loads(future.result())
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _sent(job: Any) -> bytes:
    """Pickle a job, in a notebook with the functions defined there, which no other process can import.

    Raises:
        LandscapeError: that cannot be done.
    """
    notebook, dumps = not hasattr(sys.modules["__main__"], "__file__"), pickle.dumps
    if notebook:
        with suppress(ImportError):
            dumps = importlib.import_module("cloudpickle").dumps
    try:
        sent = dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        reason = str(error)
    else:
        if not (notebook and dumps is pickle.dumps and b"__main__" in sent):
            return sent
        reason = "a function or a class is defined in this notebook"
    raise LandscapeError(
        f"what a run needs cannot be sent to another process ({reason}); put the factory into a module and import it from there, "
        "install cloudpickle, or use workers=1"
    )


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Answer Ctrl-C at the end of the block; processes that start in it never see one, however early it comes."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # it starts with the first process otherwise, and lets interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _prepare() -> None:
    """Make a worker leave Ctrl-C to its parent, end with it, and hold nothing that outlives it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    unshare_bars()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when its parent is gone, even killed: it would wait for another job for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _work(job: bytes) -> bytes:
    work, arguments = pickle.loads(job)
    with progress(False), _one_thread():
        try:
            return pickle.dumps(work(*arguments))
        except Exception as error:
            name_users_line(error)  # the parent's own traceback lacks it
            raise


@contextmanager
def _one_thread() -> Iterator[None]:
    """Small networks are fastest on one thread, and the number of threads changes last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
