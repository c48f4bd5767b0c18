"""Weak scaling of exact products: two processes on twice the data against one on its half.

python benchmarks/cluster.py            # writes results/cluster.md; a minute

Products with the Hessian and the Gauss–Newton matrix of a CNN on digits, one thread each, gloo on one machine. The runs of one
process and of two are interleaved; the numbers are medians. Processor time is the larger of the two processes' own: what they
compute and exchange, without what other programs take of the machine. Wall time is given beside it.
"""

import argparse
import multiprocessing
import os
import time
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist

import landscape as ls

RESULTS = Path(__file__).with_name("results") / "cluster.md"
OPERATORS = {"Hessian": ls.Hessian, "Gauss–Newton matrix": ls.GaussNewton}


def timed(op, v):
    """Return the processor and the wall time of a product."""
    cpu, wall = time.process_time(), time.perf_counter()
    op @ v
    return time.process_time() - cpu, time.perf_counter() - wall


def measure(rank, port, rounds, results):
    """Time products of one process on half of the data, and of two on all of it, by turns."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    X, y = ls.datasets.digits(train=1600).train
    X, model = X.reshape(-1, 1, 8, 8), ls.models.small_cnn()
    found = {}
    for name, make in OPERATORS.items():
        alone = make(ls.Objective(model, (X[:800], y[:800]), "cross_entropy"), program="kept")
        both = make(ls.Objective(model, (X, y), "cross_entropy", group=True), program="kept")
        v, times = torch.randn(alone.size, generator=torch.Generator().manual_seed(0)), {"one": [], "two": []}
        for turn in range(rounds + 2):
            dist.barrier()
            one = timed(alone, v) if rank == 0 else (0.0, 0.0)
            dist.barrier()
            two = timed(both, v)
            if turn > 1:
                times["one"].append(one)
                times["two"].append(two)
        found[name] = times
    results.put((rank, found, alone.size))
    dist.barrier()


def main():
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    context = multiprocessing.get_context("fork")
    results, port = context.Queue(), 20000 + os.getpid() % 20000
    processes = [context.Process(target=measure, args=(rank, port, arguments.rounds, results)) for rank in range(2)]
    for process in processes:
        process.start()
    every = {rank: (found, size) for rank, found, size in (results.get(timeout=600) for _ in processes)}
    for process in processes:
        process.join()
    (found, size), (other, _) = every[0], every[1]
    lines = [
        "# Weak scaling of two processes",
        "",
        f"CNN of {size:,} weights, 800 digits a process, one thread each, gloo on one machine with two cores; medians of "
        f"{arguments.rounds} interleaved products. `python benchmarks/cluster.py`, {time.strftime('%d %B %Y')}, "
        f"PyTorch {torch.__version__}.",
        "",
        "| product with the | one process on 800, ms | two on 1,600, ms | ratio | wall: one | wall: two | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, times in found.items():
        numbers = []
        for kind in (0, 1):
            one = median(pair[kind] for pair in times["one"])
            two = median(max(a[kind], b[kind]) for a, b in zip(times["two"], other[name]["two"], strict=True))
            numbers += [f"{1e3 * one:.1f}", f"{1e3 * two:.1f}", f"**{two / one:.2f}**"]
        lines.append(f"| {name} | {' | '.join(numbers)} |")
    arguments.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
