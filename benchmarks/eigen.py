"""Error against cost of the five largest Hessian eigenvalues: this package and its peers, one problem, one process.

Run ``python benchmarks/eigen.py`` (``--quick`` for one round); the table goes to ``benchmarks/results/eigen.md``.
``--starts`` compares this package's own ways to spend fewer products, in ``benchmarks/results/eigen-starts.md``. Peers that
are not installed are left out: ``pip install curvlinops-for-pytorch==3.0.1 hessian-eigenthings pyhessian`` next to PyTorch 2.13.

The problem is an MLP 64-256-256-10 with GELU on 1,280 digits in five batches of 256, float32, trained with momentum SGD. Cost
is CPU time of one thread over that of one gradient of the whole data, both measured in the same round, set-up included. The
rounds interleave the tools, so that a busy machine disturbs all alike, and the median over rounds counts. Errors are
relative to a float64 reference, the worst of the five.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

os.environ["LANDSCAPE_PROGRESS"] = "0"

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor, nn
from torch.nn import functional as F

import landscape as ls
from landscape.datasets import digits
from landscape.models import mlp

MALLOC = {"MALLOC_TRIM_THRESHOLD_": "4294967296", "MALLOC_MMAP_THRESHOLD_": "4294967296"}
"""What keeps glibc from giving freed blocks back to the system at every turn; read when a process starts."""

WARM = (
    "landscape, tol 1e-02",
    "curvlinops + eigsh, tol 1e-01",
    "hessian-eigenthings, 10 steps",
    "PyHessian, tol 1e-01",
)
"""The settings run once before the clock starts: one of each tool, the cheapest."""

K = 5
Batch = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Answer:
    """Eigenvalues and the products they took."""

    values: np.ndarray
    products: int


Solve = Callable[[], Answer]


@dataclass
class Row:
    """What was measured of one tool with one setting."""

    costs: list[float] = field(default_factory=list)
    answer: Answer | None = None


def problem(epochs: int = 10) -> tuple[nn.Module, list[Batch]]:
    """Return the trained network and its five batches."""
    split = digits(train=1280)
    X, y = split.train
    net = mlp((64, 256, 256, 10), activation="gelu")
    batches = list(zip(X.split(256), y.split(256), strict=True))
    optimiser = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    for _ in range(epochs):
        for inputs, targets in batches:
            optimiser.zero_grad()
            F.cross_entropy(net(inputs), targets).backward()
            optimiser.step()
    optimiser.zero_grad()
    return net.eval(), batches


def gradient(net: nn.Module, batches: list[Batch]) -> None:
    """Compute one gradient of the mean loss, the unit of cost."""
    parameters = list(net.parameters())
    total = [torch.zeros_like(p) for p in parameters]
    for inputs, targets in batches:
        for sum_, part in zip(
            total, torch.autograd.grad(F.cross_entropy(net(inputs), targets), parameters), strict=True
        ):
            sum_ += part / len(batches)


def ours(
    net: nn.Module, batches: list[Batch], tol: float, *, warm: bool = False, certify: Literal["check", "off"] = "check"
) -> Answer:
    """Everything from the bare network on: objective, operator, eigenpairs, fresh residuals."""
    objective = ls.Objective(net, batches, "cross_entropy")
    start = objective.gradient() if warm else None
    pairs = ls.top_eigenpairs(ls.Hessian(objective), K, which="LM", tol=tol, start=start, certify=certify)
    assert pairs.converged, pairs.message
    return Answer(pairs.values, pairs.matvecs)


def ours_from_gradient(net: nn.Module, batches: list[Batch], tol: float) -> Answer:
    """The same, started from the gradient instead of a random vector: it lies mostly in the outlying eigenvectors."""
    return ours(net, batches, tol, warm=True)


def ours_unchecked(net: nn.Module, batches: list[Batch], tol: float) -> Answer:
    """The same without the search for eigenvalues that were missed, as no peer makes one."""
    return ours(net, batches, tol, certify="off")


def curvlinops(net: nn.Module, batches: list[Batch], tol: float) -> Answer:
    """The Hessian of curvlinops, as its examples use it, in SciPy's eigsh."""
    from curvlinops import HessianLinearOperator

    parameters = [p for p in net.parameters() if p.requires_grad]
    operator = HessianLinearOperator(net, nn.CrossEntropyLoss(), parameters, batches).to_scipy()
    count = 0

    def product(v: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        return np.asarray(operator @ v)

    counted = LinearOperator(operator.shape, matvec=product, dtype=operator.dtype)
    start = np.random.default_rng(0).standard_normal(operator.shape[0]).astype(operator.dtype)
    values = eigsh(counted, K, which="LM", tol=tol, v0=start, return_eigenvectors=False)
    return Answer(values, count)


def hessian_eigenthings(net: nn.Module, batches: list[Batch], steps: int) -> Answer:
    """Lanczos of hessian-eigenthings with a number of steps."""
    from hessian_eigenthings import HessianOperator, lanczos, supervised_loss

    operator = HessianOperator(net, batches, supervised_loss(F.cross_entropy))
    found = lanczos(operator, k=K, max_iter=steps, seed=0)
    return Answer(found.eigenvalues.double().cpu().numpy(), steps)


def pyhessian(net: nn.Module, batches: list[Batch], tol: float) -> Answer:
    """Power iteration of PyHessian; it draws from the global generator."""
    from pyhessian import hessian

    torch.manual_seed(0)
    operator = hessian(net, nn.CrossEntropyLoss(), dataloader=batches, cuda=False)
    count = 0
    multiply = operator.dataloader_hv_product

    def counting(v: list[Tensor]) -> object:
        nonlocal count
        count += 1
        return multiply(v)

    operator.dataloader_hv_product = counting
    values, _ = operator.eigenvalues(maxIter=100, tol=tol, top_n=K)
    net.zero_grad()
    return Answer(np.array(values), count)


def tools(net: nn.Module, batches: list[Batch]) -> dict[str, Solve]:
    """Return every tool with every setting of its curve; the report compares one of ours with one of each peer."""

    def fresh(solve: Callable[..., Answer], setting: float) -> Solve:
        return lambda: solve(copy.deepcopy(net), batches, setting)

    found = {f"landscape, tol {tol:.0e}": fresh(ours, tol) for tol in (1e-2, 1e-3, 1e-4)}
    found["landscape, tol 1e-03, from the gradient"] = fresh(ours_from_gradient, 1e-3)
    found["landscape, tol 1e-03, no search for missed ones"] = fresh(ours_unchecked, 1e-3)
    if find_spec("curvlinops"):
        found |= {f"curvlinops + eigsh, tol {tol:.0e}": fresh(curvlinops, tol) for tol in (1e-1, 1e-3)}
    if find_spec("hessian_eigenthings"):
        found |= {
            f"hessian-eigenthings, {steps} steps": fresh(hessian_eigenthings, steps) for steps in (10, 15, 20, 30)
        }
    if find_spec("pyhessian"):
        found |= {f"PyHessian, tol {tol:.0e}": fresh(pyhessian, tol) for tol in (1e-1, 1e-2, 1e-3)}
    return found


def reference(net: nn.Module, batches: list[Batch]) -> np.ndarray:
    """Return the five eigenvalues in float64, by products of this package in SciPy's eigsh."""
    H = ls.Hessian(ls.Objective(net, batches, "cross_entropy", dtype=torch.float64))
    start = np.random.default_rng(1).standard_normal(H.size)
    return by_size(eigsh(H.to_scipy(), K, which="LM", tol=1e-12, v0=start, return_eigenvectors=False))


def by_size(values: np.ndarray) -> np.ndarray:
    """Return eigenvalues by descending magnitude."""
    return values[np.argsort(-np.abs(values))]


def seconds(work: Callable[[], object]) -> tuple[float, object]:
    """Return the CPU time of a call, and what it returned."""
    started = time.process_time()
    result = work()
    return time.process_time() - started, result


def starts(net: nn.Module, batches: list[Batch]) -> str:
    """Return the products that each start and block size takes, medians over five seeds, as Markdown."""
    objective = ls.Objective(net, batches, "cross_entropy")
    H, G = ls.Hessian(objective), ls.GaussNewton(objective)
    gradient_, pairs = objective.gradient(), ls.top_eigenpairs(H, K, "LM", 1e-3)
    lines = [
        "## Top-5 Hessian eigenvalues: what saves products",
        "",
        "`python benchmarks/eigen.py --starts`: the digits MLP of `eigen.md`, tol 1e-3, medians over five seeds, the largest "
        "error of the five. Products include the five that measure the residuals; the search for missed ones comes on top.",
        "",
        "| start | products | spent before | search | worst relative error |",
        "|---|---|---|---|---|",
    ]

    def row(name: str, op: ls.Hessian, truth: np.ndarray, before: str = "", **options: Any) -> None:
        found = [ls.top_eigenpairs(op, K, "LM", 1e-3, seed=seed, **options) for seed in range(5)]
        products = np.median([one.matvecs - one.check_matvecs for one in found])
        search = np.median([one.check_matvecs for one in found])
        error = max(np.abs(by_size(one.values) / truth - 1).max() for one in found)
        lines.append(f"| {name} | {products:.0f} | {before} | {search:.0f} | {error:.1e} |")

    truth = reference(net, batches)
    row("random", H, truth)
    row("gradient g", H, truth, "1 gradient", start=gradient_)
    together = torch.stack([v / v.norm() for v in (gradient_, H @ gradient_)])
    row("g + Hg, as unit vectors", H, truth, "1 gradient, 1 product", start=together)
    for budget in (12, 16):
        top = ls.top_eigenpairs(G, K, "LM", 1e-3, certify="off", verify=False, max_matvecs=budget)
        row("top of the Gauss–Newton matrix", H, truth, f"{top.matvecs} products with it", start=top)
    filtered = torch.randn(H.size, generator=torch.Generator().manual_seed(0))
    for power in (1, 2, 3):
        filtered = H @ filtered
        row(f"random, filtered by H^{power}", H, truth, f"{power} products", start=filtered)
    for block in (2, 3, 5):
        row(f"random, blocks of {block}", H, truth, method="block", block_size=block)
    for name, count in (("one step of SGD later", 1), ("one epoch later", 5)):
        later = copy.deepcopy(net)
        for part, (X, y) in enumerate(batches):
            if part < count:
                slopes = torch.autograd.grad(F.cross_entropy(later(X), y), list(later.parameters()))
                with torch.no_grad():
                    for parameter, slope in zip(later.parameters(), slopes, strict=True):
                        parameter -= 0.05 * slope
        moved, truth = ls.Hessian(ls.Objective(later, batches, "cross_entropy")), reference(later, batches)
        row(f"{name}: random", moved, truth)
        row(f"{name}: the pairs before, in one vector", moved, truth, start=pairs)
        row(f"{name}: the pairs before, a block of 5", moved, truth, start=pairs, method="block", block_size=5)
    lines += [
        "",
        "What is known before and costs nothing saves products: the gradient 2 of 22, the pairs of the checkpoint before 5 of "
        "22, in one vector. What has to be computed costs what it saves, as the top of the Gauss–Newton matrix and powers of H "
        "do, since Lanczos from a random vector filters as well. Blocks cost products, and here two products at once cost 1.9 "
        "single ones, four 3.7: a block pays where many vectors cost little more than one, and single vectors are the default.",
    ]
    return "\n".join([*lines, ""])


def measured(solvers: dict[str, Solve], net: nn.Module, batches: list[Batch], rounds: int) -> dict[str, Row]:
    """Time every tool in turn, in units of the gradients around it."""
    rows = {name: Row() for name in solvers}
    for name, solve in solvers.items():
        if name in WARM:
            solve()
    for _ in range(rounds):
        for name, solve in solvers.items():
            unit = [seconds(lambda: gradient(net, batches))[0] for _ in range(15)]
            spent, answer = seconds(solve)
            unit += [seconds(lambda: gradient(net, batches))[0] for _ in range(15)]
            rows[name].costs.append(spent / float(np.median(unit)))
            assert isinstance(answer, Answer)
            rows[name].answer = answer
    return rows


def report(rows: dict[str, Row], truth: np.ndarray, loss: float, rounds: int, malloc: str) -> str:
    """Write the curve and the comparison as Markdown."""
    lines = [
        f"## Top-5 Hessian eigenvalues: error against cost; memory settings: {malloc}",
        "",
        f"`python benchmarks/eigen.py`, {rounds} rounds, medians; PyTorch {torch.__version__}, one thread of "
        f"{os.cpu_count()} {platform.machine()} CPU cores, float32. {', '.join(installed())}.",
        "",
        "Digits MLP 64-256-256-10 GELU (85,002 parameters), 1,280 examples in 5 batches, after 10 epochs of momentum SGD: loss "
        f"{loss:.4f}, eigenvalues {', '.join(f'{value:.4f}' for value in truth)}. Costs are in gradients of the whole data.",
        "Rows of this package include the search for eigenvalues that were missed, but for the one that says so; no peer makes "
        "one.",
        "",
        "| tool | gradients | products | worst relative error |",
        "|---|---|---|---|",
    ]
    for name, row in rows.items():
        assert row.answer is not None
        error = np.abs(by_size(row.answer.values) / truth - 1).max()
        lines.append(f"| {name} | {np.median(row.costs):.0f} | {row.answer.products} | {error:.1e} |")
    settings = ("landscape, tol 1e-03", "landscape, tol 1e-03, from the gradient")
    lines += ["", "| this package, tol 1e-03, is faster than | by | from the gradient by |", "|---|---|---|"]
    for name in ("curvlinops + eigsh, tol 1e-03", "PyHessian, tol 1e-03", "hessian-eigenthings, 20 steps"):
        if name in rows:
            ratios = [np.median(np.array(rows[name].costs) / np.array(rows[own].costs)) for own in settings]
            lines.append(f"| {name} | {ratios[0]:.1f}× | {ratios[1]:.1f}× |")
    return "\n".join([*lines, ""])


def installed() -> list[str]:
    """Return the peers' names and versions."""
    found = []
    for name in ("curvlinops-for-pytorch", "hessian-eigenthings", "pyhessian"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} not installed")
    return found


def main() -> None:
    """Run everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one round, written nowhere")
    parser.add_argument("--default-malloc", action="store_true", help="leave glibc's settings; adds a second table")
    parser.add_argument("--starts", action="store_true", help="what saves products, instead of the peers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "eigen.md")
    options = parser.parse_args()
    if not options.default_malloc and any(os.environ.get(name) != value for name, value in MALLOC.items()):
        os.environ.update(MALLOC)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    warnings.simplefilter("ignore")  # the peers' own: deprecated torch.jit, graphs kept by create_graph
    torch.set_num_threads(1)
    net, batches = problem()
    if options.starts:
        (options.out.parent / "eigen-starts.md").write_text(text := starts(net, batches), encoding="utf-8")
        print(text)
        return
    truth = reference(net, batches)
    loss = ls.Objective(net, batches, "cross_entropy").loss()
    rounds = 1 if options.quick else options.rounds
    rows = measured(tools(net, batches), net, batches, rounds)
    settings = (
        "glibc's own" if options.default_malloc else ", ".join(f"{name}={value}" for name, value in MALLOC.items())
    )
    text = report(rows, truth, loss, rounds, settings)
    print(text)
    if not options.quick:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        with options.out.open("a" if options.default_malloc else "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    main()
