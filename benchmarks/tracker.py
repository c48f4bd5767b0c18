"""What a tracker costs and how right it is: a CNN on 2,000 images, the edge of stability, the critical step of a transformer.

Run ``python benchmarks/tracker.py`` (a few minutes); the tables go to ``benchmarks/results/tracker.md`` and, as numbers, to
``tracker.json``. Times are those of this process's processor, as ratios of runs or of medians within one run.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from settings import run_settled
from torch import Tensor, nn
from torch.nn import functional as F

import landscape as ls
from landscape.results import Track
from landscape.studies.descents import chebyshev_data, chebyshev_network, half_squared_error
from landscape.tables import format_table

RESULTS = Path(__file__).parent / "results" / "tracker"
IMAGES, EPOCHS, TRACKED, ROUNDS = 2000, 20, 512, 3
EDGE = {"threshold": "g", "ratio in the last quarter": ".3f", "products after the first": ".1f"}
Pair = tuple[Tensor, Tensor]


def images() -> Pair:
    """Return 2,000 images of 8 × 8: digits, each shifted by up to one pixel."""
    X, y = ls.datasets.digits(train=1600, flatten=False).train
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(X), (IMAGES,), generator=generator)
    shifts = torch.randint(-1, 2, (IMAGES, 2), generator=generator).tolist()
    return torch.stack([X[i].roll(shift, (1, 2)) for i, shift in zip(chosen, shifts, strict=True)]), y[chosen]


def train_cnn(data: Pair, batch: int, **options: Any) -> tuple[nn.Module, Track | None, list[float]]:
    """Train by SGD for 20 epochs, with a tracker if there are options for one; return also the seconds of every step."""
    X, y = data
    model, generator = ls.models.small_cnn(norm="none"), torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    part = (X[:TRACKED], y[:TRACKED])
    tracker = (
        ls.Tracker(model, "cross_entropy", part, optimizer=optimizer, batch_size=batch, **options) if options else None
    )
    seconds = []
    for _ in range(EPOCHS):
        for rows in torch.randperm(IMAGES, generator=generator).split(batch):
            started = time.process_time()
            optimizer.zero_grad()
            F.cross_entropy(model(X[rows]), y[rows]).backward()
            optimizer.step()
            seconds.append(time.process_time() - started)
            if tracker:
                tracker.step()
    return model, tracker.close() if tracker else None, seconds


def overhead(data: Pair, batch: int) -> dict[str, Any]:
    """Train with a tracker at the default budget, several times over, and once without one."""
    plain, _, _ = train_cnn(data, batch)
    tracks, same = [], True
    for _ in range(ROUNDS):
        model, track, _ = train_cnn(data, batch, budget=0.1)
        assert track is not None
        tracks.append(track)
        same = same and all(map(torch.equal, plain.parameters(), model.parameters()))
    return {
        "batch size": batch,
        "steps": tracks[0].steps,
        "points": int(statistics.median(len(track.step) for track in tracks)),
        "overhead": statistics.median(track.overhead for track in tracks),
        "most": max(track.overhead for track in tracks),
        "identical": same,
    }


def accuracy(data: Pair, batch: int) -> dict[str, Any]:
    """Measure every 20 steps, and compare with cold runs to 1e-3 at the same weights."""
    weights, spent = [], []

    def keep(objective: ls.Objective) -> float:
        weights.append(objective.theta)
        spent.append(time.process_time())
        return 0.0

    def after(objective: ls.Objective) -> float:
        spent.append(time.process_time())
        return 0.0

    options = {"every": 20, "budget": None, "measure": [keep, "lambda_max", "batch_sharpness", after]}
    model, track, seconds = train_cnn(data, batch, **options)
    assert track is not None
    objective = ls.Objective(model, (data[0][:TRACKED], data[1][:TRACKED]), "cross_entropy")
    cold = [
        ls.top_eigenpairs(ls.Hessian(objective.at(theta)), 1, tol=1e-3, verify=False, certify="off").values[0]
        for theta in weights
    ]
    error = np.abs(track.values["lambda_max"] / np.array(cold) - 1)
    products = track.values["products/lambda_max"]
    costs = np.diff(spent)[::2]
    return {
        "points": len(error),
        "median error": float(np.median(error)),
        "90th percentile": float(np.quantile(error, 0.9)),
        "largest error": float(error.max()),
        "within 2 %": float((error <= 0.02).mean()),
        "residual / λmax, median": float(np.median(track.values["residual/lambda_max"] / track.values["lambda_max"])),
        "products of the first": int(products[0]),
        "products after it": float(products[1:].mean()),
        "training steps per point": float(np.median(costs) / np.median(seconds)),
    }


def edge(make: Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer], measure: str, steps: int) -> dict[str, Any]:
    """Train on Chebyshev-3 by full batches; return the mean curvature over the threshold in the last quarter."""
    data, model = chebyshev_data(3), chebyshev_network(10, seed=0)
    optimizer = make(model.parameters())
    tracker = ls.Tracker(model, half_squared_error, data, optimizer=optimizer, every=50, budget=None, measure=[measure])
    for _ in range(steps):
        optimizer.zero_grad()
        half_squared_error(model(data[0]), data[1]).backward()
        optimizer.step()
        tracker.step()
    track = tracker.close()
    ratio = track.values[measure] / track.threshold
    return {
        "threshold": float(track.threshold[-1]),
        "ratio in the last quarter": float(ratio[-len(ratio) // 4 :].mean()),
        "products after the first": float(track.values[f"products/{measure}"][1:].mean()),
    }


def critical(data: Pair) -> dict[str, Any]:
    """Compare the critical step of ten steps of a transformer with the first rise on a grid of 1 %."""
    X, y = data[0][:128], data[1][:128]
    model = ls.models.transformer(width=32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scanned: list[float] = []
    weights = [torch.cat([p.detach().flatten() for p in model.parameters()])]

    def scan(objective: ls.Objective) -> float:
        before, after = weights[-1], objective.theta
        base, c = objective.loss(before), 0.5
        while objective.loss(before + c * (after - before)) <= base and c < 1000:
            c *= 1.01
        scanned.append(2 / (1e-3 * c))
        return 0.0

    options: dict[str, Any] = {"every": 10, "budget": None, "measure": ["critical_sharpness", scan]}
    tracker = ls.Tracker(model, "cross_entropy", (X, y), optimizer=optimizer, **options)
    for _ in range(100):
        weights[:] = [torch.cat([p.detach().flatten() for p in model.parameters()])]
        optimizer.zero_grad()
        F.cross_entropy(model(X), y).backward()
        optimizer.step()
        tracker.step()
    track = tracker.close()
    error = np.abs(track.values["critical_sharpness"] / np.array(scanned) - 1)
    return {
        "steps": len(error),
        "examples": len(X),
        "forwards": float(track.values["forwards/critical_sharpness"].mean()),
        "largest error": float(error.max()),
        "within 1/16": float((error <= 1 / 16).mean()),
    }


def written(found: dict[str, Any]) -> str:
    """Return the page."""
    a, c = found["accuracy"], found["critical sharpness"]
    costs = [
        (f"{r['batch size']}", f"{r['steps']}", f"{r['points']}", *(f"{r[name]:.1%}" for name in ("overhead", "most")),
         "yes" if r["identical"] else "NO")
        for r in found["overhead"]
    ]  # fmt: skip
    errors = (
        f"{a['median error']:.1e}",
        f"{a['90th percentile']:.1e}",
        f"{a['largest error']:.1e}",
        f"{a['within 2 %']:.0%}",
    )
    products = (f"{a['residual / λmax, median']:.1e}", f"{a['products of the first']}", f"{a['products after it']:.1f}")
    edges = [
        (name, curvature, *(f"{found[key][value]:{style}}" for value, style in EDGE.items()))
        for key, name, curvature in (
            ("gradient descent", "gradient descent, η = 0.2", "λmax"),
            ("adam", "Adam, η = 0.005, β₁ = 0.9", "λmax, preconditioned"),
        )
    ]
    parts = [
        "# Tracking while it trains",
        f"`python benchmarks/tracker.py`, PyTorch {torch.__version__}, {platform.machine()}, one thread.",
        f"A CNN with two stages of 3 × 3 convolutions on {IMAGES:,} images of 8 × 8, {EPOCHS} epochs of SGD; λmax, batch "
        f"sharpness and loss on {TRACKED} examples at the default budget of 10 %. The overhead is the time within the tracker, "
        f"its making included, over the time outside it: median and largest of {ROUNDS} runs.",
        format_table(
            ("batch size", "steps", "points", "overhead", "at most", "same weights, to the last bit"), costs, "markdown"
        ),
        f"A point costs as much as {a['training steps per point']:.0f} training steps of batch size 32: "
        f"{a['products after it']:.1f} products on {TRACKED} examples, each of about two gradients, and eight minibatches. A "
        "tenth of a run as short as this pays for a few points at most; `every=20, budget=None` measures often, at a price.",
        f"λmax every 20 steps at batch size 32 against cold runs to 1e-3 at the same weights, {a['points']} points:",
        format_table(
            ("median error", "90th percentile", "largest", "within 2 %", "residual / λmax, median", "products of the first",
             "of the others, mean"), [errors + products], "markdown",
        ),
        "Full batches on Chebyshev-3; the last quarter of 6,000 steps:",
        format_table(
            ("optimiser", "curvature", "threshold", "mean curvature / threshold", "products after the first"), edges, "markdown"
        ),
        f"Critical sharpness on {c['steps']} steps of a transformer (AdamW, {c['examples']} examples) against the first rise of "
        f"the loss on a grid of 1 %: largest difference {c['largest error']:.1%}, tolerance {1 / 16:.1%}; "
        f"{c['forwards']:.1f} forward passes on average.",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Measure everything, or the parts named, and write both files."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", help="which to measure anew, such as overhead; none: all")
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = images()
    train_cnn(data, 32, every=600, budget=None)  # what loads once is loaded
    parts: dict[str, Callable[[], Any]] = {
        "overhead": lambda: [overhead(data, batch) for batch in (32, 8)],
        "accuracy": lambda: accuracy(data, 32),
        "gradient descent": lambda: edge(lambda p: torch.optim.SGD(p, lr=0.2), "lambda_max", 6000),
        "adam": lambda: edge(lambda p: torch.optim.Adam(p, lr=0.005), "preconditioned", 6000),
        "critical sharpness": lambda: critical(data),
    }
    kept = RESULTS.with_suffix(".json")
    found: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}
    for name in options.parts or parts:
        found[name] = parts[name]()
        print(name, found[name], flush=True)
    kept.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    RESULTS.with_suffix(".md").write_text(written(found))


if __name__ == "__main__":
    run_settled(main)
