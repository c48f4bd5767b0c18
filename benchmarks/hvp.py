"""Cost of products with the Hessian and the Gauss–Newton matrix: this package and its peers, in one process.

Run ``python benchmarks/hvp.py`` with the peers installed (``pip install landscape-sharpness[bench]``; those missing are left
out); the table goes to ``benchmarks/results/hvp-cpu.md``, or ``hvp-cuda.md`` where there is a GPU. Everything is in units of
one gradient (plain `torch.autograd.grad` over the same batches), medians of rounds in which all contenders take turns.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import landscape as ls
from landscape.models import mlp, resnet, transformer
from landscape.operators.base import Operator

Batches = list[tuple[Tensor, Tensor]]
Contender = Callable[[], Any]
BLOCK = 8
FIRST = "Hessian, first product (as chosen, tracing excluded)"
LIMITS = {
    "digits MLP": {"Hessian": 2.0, "Hessian, compiled": 1.6, f"Hessian, a vector of {BLOCK}": 2.1, FIRST: 4.0},
    "ResNet-20": {
        "Hessian": 2.3,
        f"Hessian, a vector of {BLOCK}": 2.4,
        "Hessian, split, fewest bytes kept": 2.6,
        FIRST: 4.0,
    },
    "transformer": {"Hessian": 2.1, "Hessian, split, fewest bytes kept": 2.4, FIRST: 4.0},
}
"""Gradients that a product should cost at most."""
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
# freed blocks stay with the process: otherwise page faults cost as much as the arithmetic; glibc reads these when it starts
ALLOCATOR = {"MALLOC_TRIM_THRESHOLD_": "10000000000", "MALLOC_MMAP_THRESHOLD_": "10000000000"}


def problems() -> dict[str, tuple[nn.Module, Batches]]:
    """Return networks with their batches."""
    split = ls.datasets.digits(train=1280)
    X, y = split.train
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(64, 3, 32, 32, generator=generator)
    small = torch.randn(32, 3, 16, 16, generator=generator)
    labels = torch.randint(10, (64,), generator=generator)
    return {
        "digits MLP 64-256-256-10, GELU, 5 batches of 256": (
            mlp((64, 256, 256, 10), activation="gelu"),
            list(zip(X.split(256), y.split(256), strict=True)),
        ),
        "ResNet-20, one batch of 64×3×32×32": (resnet(), [(images, labels)]),
        "transformer, 6 layers, width 128, one batch of 32×64 tokens": (
            transformer((3, 16, 16), patch=2, width=128, heads=4, layers=6),
            [(small, labels[:32])],
        ),
    }


def gradient(model: nn.Module, batches: Batches) -> Contender:
    """Return the plain gradient over all batches."""
    parameters = list(model.parameters())

    def run() -> None:
        for X, y in batches:
            torch.autograd.grad(F.cross_entropy(model(X), y), parameters)

    return run


def times(op: Operator, vectors: Tensor) -> Contender:
    """Return a product."""
    return lambda: op @ vectors


def ours(objective: ls.Objective, compiled: bool) -> tuple[dict[str, Contender], dict[str, Operator]]:
    """Return this package's contenders, and the operators whose plans are reported."""
    v = torch.randn(objective.size, generator=torch.Generator().manual_seed(0)).to(objective.device)
    V = torch.randn(objective.size, BLOCK, generator=torch.Generator().manual_seed(0)).to(objective.device)
    kinds: dict[str, Operator] = {
        "Hessian": ls.Hessian(objective),
        "Hessian, kept graph": ls.Hessian(objective, program="kept"),
        "Hessian, split, fewest bytes kept": ls.Hessian(objective, program="split", keep="fewest"),
        "Hessian, split, everything kept": ls.Hessian(objective, program="split", keep="all"),
        "Gauss–Newton": ls.GaussNewton(objective),
    }
    if compiled:
        kinds["Hessian, compiled"] = ls.Hessian(objective, compile=True)
    contenders = {name: times(op, v) for name, op in kinds.items()}
    contenders[f"Hessian, a vector of {BLOCK}"] = times(kinds["Hessian"], V)
    contenders["Hessian, first product (kept graph)"] = lambda: ls.Hessian(objective, program="kept") @ v
    return contenders, kinds


def peers(model: nn.Module, batches: Batches) -> dict[str, Contender]:
    """Return the peers' contenders: those that are installed and can multiply here."""
    size = sum(p.numel() for p in model.parameters())
    v = torch.randn(size, generator=torch.Generator().manual_seed(0)).to(next(model.parameters()).device)
    found: dict[str, Contender] = {}
    for make in (_curvlinops, _eigenthings, _pyhessian):
        try:
            contenders = make(model, batches, v)
            for run in contenders.values():
                run()
        except ImportError:
            print(f"{make.__name__[1:]} is not installed", file=sys.stderr)
        except Exception as error:
            print(f"{make.__name__[1:]} fails: {str(error).splitlines()[0]}", file=sys.stderr)
        else:
            found.update(contenders)
    return found


def _curvlinops(model: nn.Module, batches: Batches, v: Tensor) -> dict[str, Contender]:
    from curvlinops import GGNLinearOperator, HessianLinearOperator

    parameters = list(model.parameters())
    common = (model, nn.CrossEntropyLoss(), parameters, batches)
    H = HessianLinearOperator(*common, check_deterministic=False)
    G = GGNLinearOperator(*common, check_deterministic=False)
    return {"curvlinops Hessian": lambda: H @ v, "curvlinops Gauss–Newton": lambda: G @ v}


def _eigenthings(model: nn.Module, batches: Batches, v: Tensor) -> dict[str, Contender]:
    from hessian_eigenthings.operators import GGNOperator, HessianOperator

    H = HessianOperator(model, batches, lambda net, batch: F.cross_entropy(net(batch[0]), batch[1]))
    G = GGNOperator(model, batches, lambda net, batch: net(batch[0]), lambda out, batch: F.cross_entropy(out, batch[1]))
    return {"hessian-eigenthings Hessian": lambda: H.matvec(v), "hessian-eigenthings Gauss–Newton": lambda: G.matvec(v)}


def _pyhessian(model: nn.Module, batches: Batches, v: Tensor) -> dict[str, Contender]:
    from pyhessian import hessian

    parts = [part.view_as(p) for part, p in zip(v.split([p.numel() for p in model.parameters()]), model.parameters())]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it keeps graphs alive by .backward(create_graph=True), and is warned of it
        for p in model.parameters():
            p.grad = torch.zeros_like(p)
        H = hessian(model, nn.CrossEntropyLoss(), dataloader=batches, cuda=v.is_cuda)

    def run() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            H.dataloader_hv_product(parts)

    return {"PyHessian Hessian": run}


def first_product(objective: ls.Objective, v: Tensor, rounds: int, clock: Callable[[], float]) -> float:
    """Return the median time of a first product with the program chosen: set-up included, tracing excluded."""
    taken = []
    for _ in range(rounds):
        begun = clock()
        H = ls.Hessian(objective)
        H @ v
        taken.append(clock() - begun - H.plan.trace_seconds)
    return median(taken)


def measured(
    contenders: dict[str, Contender], rounds: int, device: torch.device, clock: Callable[[], float]
) -> dict[str, float]:
    """Return the median time of each contender in seconds; they take turns, so that drift of the machine cancels."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, run in contenders.items():
            begun = clock()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if turn:
                taken[name].append(clock() - begun)
    return {name: median(values) for name, values in taken.items()}


def peak(run: Contender, device: torch.device) -> float:
    """Return the most bytes that a call holds above what was there before."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        return float(torch.cuda.max_memory_allocated(device) - before)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        run()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return float(most)


def report(name: str, model: nn.Module, batches: Batches, options: argparse.Namespace) -> str:
    """Measure one problem and return its tables as Markdown."""
    device = torch.device(options.device)
    model = model.to(device).eval()
    batches = [(X.to(device), y.to(device)) for X, y in batches]
    objective = ls.Objective(model, batches, "cross_entropy")
    contenders, kinds = ours(objective, options.compile or "MLP" in name)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):  # the peers need it set
        contenders = {"gradient": gradient(model, batches), **contenders, **peers(model, batches)}
        seconds = measured(contenders, options.rounds, device, CLOCKS[options.clock])
        memory = {key: peak(run, device) for key, run in contenders.items()}
    v = torch.randn(objective.size, generator=torch.Generator().manual_seed(0)).to(device)
    seconds[FIRST] = first_product(objective, v, 3, CLOCKS[options.clock])
    kinds["Hessian"].release()
    memory[FIRST] = peak(lambda: kinds["Hessian"] @ v, device)
    unit, rows = seconds["gradient"], []
    limits = next(limits for start, limits in LIMITS.items() if name.startswith(start))
    for key, value in seconds.items():
        ratio = value / unit / (BLOCK if key.endswith(f"of {BLOCK}") else 1)
        rows.append(f"| {key} | {ratio:.2f} | {limits.get(key, '')} | {memory[key] / 1e6:.0f} |")
    plans = [
        f"| {key} | {op.plan.program}{', compiled' * op.plan.compiled} | {op.plan.batches} | {op.plan.kept_bytes / 1e6:.0f} | "
        f"{op.plan.kept_bytes / memory['gradient']:.2f} | {op.plan.trace_seconds:.1f} | {op.plan.compile_seconds:.1f} |"
        for key, op in kinds.items()
    ]
    return "\n".join(
        [
            f"## {name}",
            "",
            f"P = {sum(p.numel() for p in model.parameters()):,}; one gradient takes {1e3 * unit:.1f} ms.",
            "",
            "| | gradients per product | at most | working memory, MB |",
            "|---|---|---|---|",
            *rows,
            "",
            "| operator | program | batches | kept, MB | kept, in gradient peaks | traced in s | compiled in s |",
            "|---|---|---|---|---|---|---|",
            *plans,
            "",
        ]
    )


def main() -> None:
    """Measure all problems and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--clock", choices=CLOCKS, default="wall", help="cpu: processor time, on a machine that is shared"
    )
    parser.add_argument("--compile", action="store_true", help="compile all networks, not only the MLP")
    parser.add_argument("--only", default="", help="problems whose name contains this")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if any(key not in os.environ for key in ALLOCATOR):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})
    torch.set_num_threads(options.threads)
    kind = torch.device(options.device).type
    where = torch.cuda.get_device_name() if kind == "cuda" else f"{platform.machine()}, {options.threads} threads"
    parts = [
        "# Cost of a product, in gradients",
        "",
        f"`python benchmarks/hvp.py`, PyTorch {torch.__version__}, {where}, float32, {options.clock} time, medians of "
        f"{options.rounds} interleaved rounds. Working memory is what a call holds at most above what was there before it; "
        "kept states are left out.",
        "",
    ]
    for name, (model, batches) in problems().items():
        if options.only in name:
            parts.append(report(name, model, batches, options))
            print(parts[-1], flush=True)
    out = options.out or Path(__file__).parent / "results" / f"hvp-{kind}.md"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    main()
