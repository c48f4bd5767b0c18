"""What comes before the second product: time of the first one, and memory, by the program chosen and by plain double backward.

Run ``python benchmarks/setup.py``; the tables go to ``benchmarks/results/setup.md``. Every row is a process of its own, so that
its peak of memory is its own. Time is processor time of one thread, in gradients of the whole data (plain autograd, median of
five in the same process). *First* is the first product of a process, imports of PyTorch's own parts and fresh memory included;
*first again* is that of a second operator in memory touched before, tracing included; *next* the median of five. Memory is the
highest resident size above that before the first gradient.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

import torch
from settings import run_settled
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

import landscape as ls
from landscape import models
from landscape.tables import format_table

Batches = list[tuple[Tensor, Tensor]]
PROBLEMS = {
    "ResNet-20, 512 images in 4 batches": (partial(models.resnet, 20), 4, 128),
    "transformer of 14 M weights, 64 images of 64 patches in 4 batches": (
        partial(models.transformer, (3, 32, 32), patch=4, width=384, heads=6, layers=8),
        4,
        16,
    ),
}
WAYS = ["plain double backward", "as chosen", "memory=2**28"]


def problem(name: str, steps: int = 24) -> tuple[nn.Module, Batches]:
    """Return a network after a few steps of momentum SGD on random images, and its batches."""
    make, count, size = PROBLEMS[name]
    torch.manual_seed(0)
    model, batches = make(), [(torch.randn(size, 3, 32, 32), torch.randint(0, 10, (size,))) for _ in range(count)]
    optimiser = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for step in range(steps if "ResNet" in name else 2):
        optimiser.zero_grad()
        X, y = batches[step % count]
        cross_entropy(model(X), y).backward()
        optimiser.step()
    optimiser.zero_grad()
    return model.eval(), batches


def gradients(model: nn.Module, batches: Batches, *, graph: bool) -> Iterator[tuple[Tensor, ...]]:
    """Yield the gradient of each batch's mean loss."""
    parameters = list(model.parameters())
    for X, y in batches:
        yield torch.autograd.grad(cross_entropy(model(X), y), parameters, create_graph=graph)


def double_backward(model: nn.Module, batches: Batches, v: list[Tensor]) -> list[Tensor]:
    """Return a Hessian product by plain autograd, nothing kept."""
    parameters, total = list(model.parameters()), [torch.zeros_like(part) for part in v]
    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
        for gradient in gradients(model, batches, graph=True):
            for sum_, part in zip(total, torch.autograd.grad(gradient, parameters, v), strict=True):
                sum_ += part / len(batches)
    return total


def taken(work: Callable[[], object]) -> float:
    """Return the processor time of a call."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def one(name: str, way: str) -> dict[str, float | str]:
    """Measure one row; runs in a process of its own."""
    torch.set_num_threads(1)
    model, batches = problem(name)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    unit = median([taken(lambda: list(gradients(model, batches, graph=False))) for _ in range(6)][1:])
    if way == "plain double backward":
        v = [torch.randn_like(parameter) for parameter in model.parameters()]
        product = partial(double_backward, model, batches, v)
        first, again, plan, budget = taken(product), float("nan"), "", 0
    else:
        options = {} if way == "as chosen" else {"memory": eval(way.removeprefix("memory="))}
        objective = ls.Objective(model, batches, "cross_entropy")
        v = torch.randn(objective.size)
        H = ls.Hessian(objective, **options)
        product = partial(H.__matmul__, v)
        first = taken(product)
        plan, budget = H.plan.program, H.plan.budget_bytes
        again = float("nan")
    row: dict[str, float | str] = {
        "first": first / unit, "again": again / unit, "next": median(taken(product) for _ in range(5)) / unit,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before, "plan": plan, "budget": budget,
    }  # fmt: skip
    if way == "as chosen":
        del H, product  # the memory of the first is used again
        row["again"] = taken(lambda: ls.Hessian(objective) @ v) / unit
    if way == "as chosen" and "ResNet" in name:
        begun = time.process_time()
        pairs = ls.top_eigenpairs(ls.Hessian(objective), 5, "LM", 1e-3)
        row |= {"top": (time.process_time() - begun) / unit, "products": pairs.matvecs, "search": pairs.check_matvecs}
    return row


def report() -> str:
    """Measure every row and return the tables."""
    lines = [
        "# Set-up: the first product, and memory",
        "",
        f"`python benchmarks/setup.py`, PyTorch {torch.__version__}, {platform.machine()}, one thread, float32.",
        "Times are in gradients of the whole data, memory is the peak above what was there before the first gradient. *First* is",
        "the first product of a process, *first again* that of a second operator, in memory that the process has touched before.",
    ]
    for name in PROBLEMS:
        rows, notes = [], []
        for way in WAYS:
            output = subprocess.run(
                [sys.executable, __file__, "--one", name, way], check=True, capture_output=True, text=True
            ).stdout
            found = json.loads(output.splitlines()[-1])
            print(name, way, found, flush=True)
            again = "" if found["again"] != found["again"] else f"{found['again']:.1f}"
            budget = f"{found['budget'] / 2**20:.0f}" if found["budget"] else ""
            peak = f"{found['peak'] / 2**20:.0f}"
            rows.append((way, found["plan"], f"{found['first']:.1f}", again, f"{found['next']:.1f}", peak, budget))
            if "top" in found:
                notes = [
                    f"Top-5 `LM`, tol 1e-3: {found['top']:.0f} gradients, {found['products']} products, "
                    f"{found['search']} of them the search for missed ones."
                ]
        header = ("", "program", "first", "first again", "next", "peak, MiB", "budget, MiB")
        lines += ["", f"## {name}", "", format_table(header, rows, "markdown"), *(["", *notes] if notes else [])]
    return "\n".join([*lines, ""])


def main() -> None:
    """Write the tables, or measure one row for them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--one", nargs=2, help="measure one row: problem and way")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "setup.md")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one(*arguments.one)))
    else:
        arguments.out.write_text(report())


if __name__ == "__main__":
    run_settled(main)
