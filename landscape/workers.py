"""Many small computations at once: in processes of our own, one thread each, or by any executor."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from typing import Any, TypeVar

import torch

from landscape.arguments import check_numbers
from landscape.bars import progress, unshare_bars
from landscape.errors import LandscapeError, name_users_line

Key = TypeVar("Key", bound=Hashable)
Done = TypeVar("Done")
Workers = int | Executor
"""Processes to start, or an executor that has some."""


def completed(
    work: Callable[..., Done], jobs: Mapping[Key, tuple[Any, ...]], *, workers: Workers = 1
) -> Iterator[tuple[Key, Done]]:
    """Yield ``(key, work(*arguments))`` of every job as it is finished; numbers do not depend on `workers`.

    Args:
        work: a module-level function, for more than one worker.
        jobs: arguments by key; picklable, for more than one worker.
        workers: processes, one thread each; 1 runs in this process. Or an executor, which is not shut down.

    Raises:
        LandscapeError: fewer than one worker; what a job needs cannot be pickled; a worker ended.
    """
    if isinstance(workers, Executor):
        return _by_executor(work, jobs, workers)
    check_numbers({"workers": "int"}, {"workers": workers})
    if workers < 1:
        raise LandscapeError(f"workers={workers}, expected at least 1")
    return _in_processes(work, jobs, workers) if workers > 1 and len(jobs) > 1 else _in_order(work, jobs)


def _in_order(work: Callable[..., Done], jobs: Mapping[Key, tuple[Any, ...]]) -> Iterator[tuple[Key, Done]]:
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
        yield from _collected(futures)
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _by_executor(
    work: Callable[..., Done], jobs: Mapping[Key, tuple[Any, ...]], executor: Executor
) -> Iterator[tuple[Key, Done]]:
    if isinstance(executor, ThreadPoolExecutor):
        raise LandscapeError(
            "measurements isolate the random state of their process, which threads share; pass a ProcessPoolExecutor"
        )
    sent = {key: _sent((work, arguments)) for key, arguments in jobs.items()}
    futures = {executor.submit(_work, job): key for key, job in sent.items()}
    try:
        yield from _collected(futures)
    finally:
        for future in futures:
            future.cancel()


def _collected(futures: Mapping[Future[bytes], Key]) -> Iterator[tuple[Key, Any]]:
    for future in as_completed(futures):
        try:
            result = future.result()
        except BrokenExecutor as error:
            raise LandscapeError(
                "a worker process ended (killed, or out of memory); finished rows are kept, and the same call goes on"
            ) from error
        yield futures[future], pickle.loads(result)


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
