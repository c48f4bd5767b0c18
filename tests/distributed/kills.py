"""Started by the test beside it: kills one of three processes at random moments, and goes on with two."""

import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist

import landscape as ls


def eigenpairs(rank, count, port, study, results):
    """Measure, keeping the run after every product."""
    from processes import digits  # beside this script

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=count)
    with ls.progress(False), suppress(ls.errors.LostProcessError):
        L = digits(33, group=True)
        pairs = ls.top_eigenpairs(ls.Hessian(L), k=5, tol=1e-9, save=(study, "net/top"), checkpoint_seconds=0.0)
        results.put((rank, pairs.values))


def together(count, port, study, *, kill=None):
    """Return what each process found that lived to the end; one may be killed some seconds after a part was kept."""
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    started = [context.Process(target=eigenpairs, args=(r, count, port, study, results)) for r in range(count)]
    for one in started:
        one.start()
    if kill is not None:
        part = study.with_name(f"{study.name}.partial")
        while not part.exists() and not study.exists():
            time.sleep(0.01)
        time.sleep(kill)
        os.kill(started[random.randrange(count)].pid, signal.SIGKILL)
    for one in started:
        one.join(60)
        assert not one.is_alive(), "a survivor hangs"
    found = {}
    while not results.empty():
        found.update([results.get()])
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    random.seed(0)
    port = 20000 + os.getpid() % 20000
    folder = Path(tempfile.mkdtemp())
    expected = together(2, port, folder / "whole.h5")[0]
    turns, midway = int(sys.argv[1]), 0
    for turn in range(turns):
        study = folder / f"{turn}.h5"
        together(3, port + 2 * turn + 1, study, kill=random.uniform(0.0, 0.5))
        midway += (folder / f"{turn}.h5.partial").exists() and not study.exists()
        resumed = together(2, port + 2 * turn + 2, study)
        assert np.array_equal(resumed[0], resumed[1])
        np.testing.assert_allclose(resumed[0], expected, rtol=1e-12)
    print(f"{midway} of {turns} killed with a part kept")
    assert midway > turns / 2
