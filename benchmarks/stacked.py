"""What small networks cost evaluated together: the deciding scores and controls of 24 digits MLPs in one stack and one by one.

Run ``python benchmarks/stacked.py``; the table goes to ``benchmarks/results/stacked.md``. Both ways take turns in one process, in
processor time; the ratio is the median over rounds. Then `compare` of two recipes of six networks, fresh and from its study.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from settings import run_settled

import landscape as ls
from landscape.datasets import digits
from landscape.experiments import as_checkpoint, get_recipe, train_many
from landscape.models import mlp, resnet, transformer
from landscape.scores.panel import Panel
from landscape.scores.sharpness import measured

SCORES = (
    *("adaptive-worst-symmetric", "adaptive-average", "inverse-sigma-mag"),
    *("loss", "accuracy", "margin", "weight-norm", "gradient-norm"),
)
CASES = {
    "MLP 64-16-10": (partial(mlp, (64, 16, 10)), True, 24, 50),
    "MLP 64-32-10": (partial(mlp, (64, 32, 10)), True, 24, 100),
    "MLP 64-64-10": (partial(mlp, (64, 64, 10)), True, 24, 250),
    "ResNet-8 with batch norm, 4 maps": (partial(resnet, 8, width=4, in_channels=1), False, 8, 100),
    "patch transformer": (partial(transformer, (1, 8, 8), patch=4, width=18, heads=2, layers=1), False, 8, 100),
}
"""A factory, whether inputs are flat, how many networks, and examples."""
ROUNDS = 3


def objectives(factory: Any, flat: bool, count: int, examples: int, dtype: torch.dtype | None = None) -> list[Any]:
    """Return networks that were trained a little, each on its own examples."""
    X, y = digits(flatten=flat).train
    found = []
    for seed in range(count):
        net, chosen = (
            factory(seed=seed),
            torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))[:examples],
        )
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
        for _ in range(40):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(net(X[chosen]), y[chosen]).backward()
            optimiser.step()
        data = X[chosen], y[chosen]
        found.append(ls.Checkpoint(net, loss="cross_entropy", train=data, dtype=dtype).objective())
    return found


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the processor time of a call, and what it returned."""
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


def together(nets: list[Any]) -> list[Any]:
    """Measure all in stacks."""
    panel, seeds = Panel(list(SCORES)), list(range(len(nets)))
    known = panel.together(nets, seeds)
    return [measured(net, replace(panel, seed=seed), own) for net, seed, own in zip(nets, seeds, known, strict=True)]


def alone(nets: list[Any]) -> list[Any]:
    """Measure one after another."""
    return [measured(net, Panel(list(SCORES), seed=seed)) for seed, net in enumerate(nets)]


def apart(a: list[Any], b: list[Any]) -> float:
    """Return the largest relative difference between two lists of scores."""
    pairs = ((x.value, y.value) for one, other in zip(a, b) for x, y in zip(one.rows, other.rows))
    return max(abs(x - y) / max(abs(y), 1e-300) for x, y in pairs)


def row(name: str) -> str:
    """Measure a case."""
    nets = objectives(*CASES[name])
    together(nets), alone(nets[:2])
    both = [(seconds(lambda: together(nets)), seconds(lambda: alone(nets))) for _ in range(ROUNDS)]
    ratio = statistics.median(stacked[0] / single[0] for stacked, single in both)
    exact = objectives(*CASES[name], dtype=torch.float64)[:6]
    gaps = apart(both[0][0][1], both[0][1][1]), apart(together(exact), alone(exact))
    times = (1e3 * statistics.median(way[k][0] for way in both) / len(nets) for k in (0, 1))
    cells = (
        name,
        f"{nets[0].size:,}",
        f"{len(nets)}",
        f"{nets[0].n}",
        *(f"{each:.0f} ms" for each in times),
        f"{ratio:.2f}",
    )
    return f"| {' | '.join((*cells, *(f'{gap:.0e}' for gap in gaps)))} |"


def comparison() -> str:
    """Measure `compare` of two recipes of six networks, fresh and from its study."""
    recipes = [get_recipe("sgd"), get_recipe("momentum")]
    runs = train_many(recipes, digits(train=400), partial(mlp, (64, 64, 10)), seeds=range(6))
    with tempfile.TemporaryDirectory() as folder:
        arms = {name: [as_checkpoint(run) for run in arm] for name, arm in runs.items()}
        fresh, _ = seconds(lambda: ls.compare(arms, save=Path(folder) / "study.h5"))
        again = {name: [as_checkpoint(run) for run in arm] for name, arm in runs.items()}
        stored, _ = seconds(lambda: ls.compare(again, save=Path(folder) / "study.h5"))
    return f"{fresh:.1f} s fresh, {stored:.1f} s where every score is stored"


def main() -> None:
    """Measure, and write the table."""
    found = comparison()
    lines = [
        "# Small networks evaluated together",
        "",
        f"`python benchmarks/stacked.py`, PyTorch {torch.__version__}, one thread, processor time per network, median of",
        f"{ROUNDS} rounds in turn. Networks have data of their own. The last two columns are the largest relative difference of",
        f"any score between the two ways, in float32 and in float64. Scores: {', '.join(SCORES)}.",
        "",
        "| network | parameters | networks | examples | together | one by one | ratio | float32 | float64 |",
        "|---|---|---|---|---|---|---|---|---|",
        *map(row, CASES),
        "",
        f"`compare` of 2 × 6 MLPs 64-64-10 (4,810 parameters, 400 examples, whole panel and audits): {found}.",
        "",
    ]
    (Path(__file__).parent / "results" / "stacked.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    run_settled(main)
