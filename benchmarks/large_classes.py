"""The loss's part of a Hessian product over many classes, :math:`p ∘ (u − ⟨p, u⟩)/n`: time and memory of four programs.

    python benchmarks/large_classes.py    # writes results/large-classes.md; a minute, 2 GB

PyTorch's own double backward; the formula of hessian-eigenthings' fused kernel, eager and compiled (its Triton version needs a
GPU); this package's. Each in a process of its own; the peak is that of the resident memory above the logits and the vector.
"""

import argparse
import multiprocessing
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from large import memory

from landscape.function import large_classes

RESULTS = Path(__file__).with_name("results") / "large-classes.md"


def formula(logits, y, u):
    """The product of each row's softmax Jacobian with u, for a mean over rows."""
    p = torch.softmax(logits, 1)
    return p * (u - (p * u).sum(1, keepdim=True)) / len(y)


def double_backward(loss):
    """Return a function that keeps the graph of the gradient and multiplies with it."""
    kept = []

    def product(logits, y, u):
        if not kept:
            leaf = logits.requires_grad_()
            kept.extend([leaf, *torch.autograd.grad(loss(leaf, y), leaf, create_graph=True)])
        return torch.autograd.grad(kept[1], kept[0], u, retain_graph=True)[0]

    return product


PROGRAMS = {
    "PyTorch, double backward": lambda: double_backward(F.cross_entropy),
    "the formula, eager": lambda: formula,
    "the formula, torch.compile": lambda: torch.compile(formula),
    "landscape": lambda: double_backward(
        lambda logits, y: large_classes.cross_entropy(logits, y, None, -100, mean=True)
    ),
}


def measure(name, n, classes, results):
    """One product to warm up, then the peak and the median time of seven."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    logits, u = (torch.randn(n, classes, generator=generator) for _ in range(2))
    y = torch.randint(classes, (n,), generator=generator)
    program, before, seconds = PROGRAMS[name](), memory("VmRSS"), []
    if "compile" in name:
        program(logits, y, u)  # what compiling takes is no part of a product
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(8):
        start = time.process_time()
        out = program(logits, y, u)
        seconds.append(time.process_time() - start)
        if len(seconds) < 8:
            del out
    peak = 1024 * (memory() - before)  # MB
    error = float((out - formula(logits.detach().double(), y, u.double())).abs().max() * n)
    results.put((statistics.median(seconds[1:]), peak, error))


def main():
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1024)
    parser.add_argument("--classes", type=int, default=50257)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    context, found = multiprocessing.get_context("spawn"), {}
    for name in PROGRAMS:
        results = context.SimpleQueue()
        process = context.Process(target=measure, args=(name, arguments.rows, arguments.classes, results))
        process.start()
        found[name] = results.get()
        process.join()
    ours, size = found["landscape"][0], arguments.rows * arguments.classes * 4 / 2**20
    lines = [
        "# Cross-entropy over many classes, second derivative",
        "",
        f"{arguments.rows:,} rows of {arguments.classes:,} classes, float32 ({size:.0f} MB), one thread, medians of 7 in "
        "processor time. Double backward and landscape keep the gradient with its graph, one copy, which the formula alone "
        "does not have. "
        f"`python benchmarks/large_classes.py`, {time.strftime('%d %B %Y')}, PyTorch {torch.__version__}.",
        "",
        "| program | time, landscape = 1 | peak above logits and vector, copies of the logits | largest error of a row's entry |",
        "|---|---|---|---|",
        *(f"| {name} | {t / ours:.2f} | {peak / size:.2f} | {error:.0e} |" for name, (t, peak, error) in found.items()),
    ]
    arguments.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
