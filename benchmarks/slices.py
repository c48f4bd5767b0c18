"""Cost of a grid point: this package, the bare forward loop, and the schemes that other packages use, in one run.

Run ``python benchmarks/slices.py`` (``--quick`` for smaller grids); the table goes to ``benchmarks/results/slices.md``.
Every scheme is timed in turn, several times over, and its fastest time counts, so that a busy machine disturbs all
alike. Times are CPU seconds of one thread, which other processes lengthen little.
"""

from __future__ import annotations

import argparse
import copy
import io
import os
import platform
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from settings import run_settled
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls
from landscape.models import mlp, resnet
from landscape.slices import topology
from landscape.slices.evaluate import Engine

Data = tuple[Tensor, Tensor]
Evaluate = Callable[[float, float], float]


def schemes(model: nn.Module, data: Data, directions: np.ndarray) -> dict[str, Evaluate]:
    """Return how to evaluate one grid point (x, y), by scheme; the first, the bare loop, moves no parameters."""
    X, y = data
    names = [name for name, _ in model.named_parameters()]
    start = [p.detach().clone() for p in model.parameters()]
    sizes = [p.numel() for p in start]
    axes = [
        [part.view_as(p) for part, p in zip(torch.as_tensor(d, dtype=torch.float32).split(sizes), start, strict=True)]
        for d in directions
    ]
    work = copy.deepcopy(model)
    loader = DataLoader(TensorDataset(X, y), batch_size=128)

    def moved(a: float, b: float) -> list[Tensor]:
        return [p + a * u + b * v for p, u, v in zip(start, *axes, strict=True)]

    def bare(a: float, b: float) -> float:
        return F.cross_entropy(model(X), y).item()

    def functional(a: float, b: float) -> float:
        return F.cross_entropy(functional_call(model, dict(zip(names, moved(a, b), strict=True)), (X,)), y).item()

    def assigned(net: nn.Module, a: float, b: float) -> nn.Module:
        for parameter, value in zip(net.parameters(), moved(a, b), strict=True):
            parameter.data = value
        return net

    def copied(a: float, b: float) -> float:
        return F.cross_entropy(assigned(copy.deepcopy(model), a, b)(X), y).item()

    def reloaded(a: float, b: float) -> float:
        net, total = assigned(work, a, b), 0.0
        for inputs, target in loader:
            total += F.cross_entropy(net(inputs), target).item() * len(target)
        return total / len(y)

    def stepped(a: float, b: float) -> float:
        values = [p.clone() for p in start]
        for coordinate, axis in ((a, axes[0]), (b, axes[1])):
            for _ in range(round(abs(coordinate) * 25)):
                for value, step in zip(values, axis, strict=True):
                    value += step * (np.sign(coordinate) / 25)
        for parameter, value in zip(work.parameters(), values, strict=True):
            parameter.data = value
        return F.cross_entropy(work(X), y).item()

    return {
        "bare forward loop": bare,
        "functional_call, resident data": functional,
        "deepcopy a point": copied,
        "unit steps from the centre": stepped,
        "fresh DataLoader a point": reloaded,
    }


def installed_peers(model: nn.Module, data: Data) -> dict[str, Callable[[int], object] | None]:
    """Return how the packages that are installed evaluate a random plane of side × side points, or `None` where they fail."""
    X, y = data

    def loss_landscapes(side: int, model: nn.Module) -> object:
        from loss_landscapes import random_plane
        from loss_landscapes.metrics import Loss

        return random_plane(model, Loss(F.cross_entropy, X, y), distance=1, steps=side, normalization="filter")

    def gradfield(side: int, model: nn.Module) -> object:
        from gradfield.torch_adapter import model_loss_fn

        at = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side))
        return model_loss_fn(model, F.cross_entropy, X, y)(*at)

    def loss_landscape_3d(side: int, model: nn.Module) -> object:
        from loss_landscape_3d.calculator import LossLandscapeCalculator
        from loss_landscape_3d.directions import generate_random_directions

        axis = np.linspace(-1, 1, side)
        calculator = LossLandscapeCalculator(model, DataLoader(TensorDataset(X, y), batch_size=len(X)), F.cross_entropy)
        return calculator.calculate(axis, axis, *generate_random_directions(model), copy.deepcopy(model.state_dict()))

    def nngeom(side: int, model: nn.Module) -> object:
        from nngeom.lossland import plane_slice_2d
        from nngeom.models import TorchAdapter

        adapter = TorchAdapter(model, lambda net, batch: F.cross_entropy(net(batch[0]), batch[1]))
        drawn = np.random.default_rng(0).standard_normal((2, adapter.parameters_flat().size))
        return plane_slice_2d(adapter, (X, y), steps=side, directions=list(drawn))

    found: dict[str, Callable[[int], object] | None] = {}
    for run in (loss_landscapes, gradfield, loss_landscape_3d, nngeom):
        package = run.__name__.replace("_", "-")
        evaluate = partial(run, model=copy.deepcopy(model))  # one of them freezes the model it is given
        try:
            name = f"{package} {version(package)}"
            quietly(evaluate, 2)
        except PackageNotFoundError:
            continue
        except Exception:  # a package that fails is reported, not hidden
            found[name] = None
            continue
        found[name] = evaluate
    return found


def quietly(evaluate: Callable[[int], object], side: int) -> float:
    """Run a package's plane without its messages and return CPU seconds per point."""
    started = time.process_time()
    with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        evaluate(side)
    return (time.process_time() - started) / side**2


def seconds_a_point(evaluate: Evaluate, points: int) -> float:
    """Return the time of a point over some points of a circle."""
    angles = np.linspace(0, 2 * np.pi, points)
    started = time.process_time()
    with torch.no_grad():
        for angle in angles:
            evaluate(float(np.cos(angle)), float(np.sin(angle)))
    return (time.process_time() - started) / points


def measured(model: nn.Module, data: Data, side: int, *, rounds: int, compiled: bool) -> dict[str, float]:
    """Return seconds per point by scheme, ours for a whole plane of side × side points."""
    objective = ls.Objective(model.eval(), data, "cross_entropy", batch_size=len(data[0]))
    directions = ls.random_directions(objective, 2)
    vectors = np.asarray(directions.vectors)
    points = max(3, side**2 // 100)
    best: dict[str, float] = {}

    def note(name: str, value: float) -> None:
        best[name] = min(value, best.get(name, np.inf))

    alternatives = schemes(model, data, vectors)
    for evaluate in alternatives.values():
        seconds_a_point(evaluate, 2)
    peers = installed_peers(model, data)
    for _ in range(rounds):
        for name, evaluate in alternatives.items():
            note(name, seconds_a_point(evaluate, points))
        for name, peer in peers.items():
            note(name, np.nan if peer is None else quietly(peer, max(3, side // 7)))
        started = time.process_time()
        surface = ls.plane(objective, directions, points=side)
        note("landscape: plane(), everything included", (time.process_time() - started) / side**2)
        engines = {"landscape: rows alone": False, **({"landscape: rows alone, compiled": True} if compiled else {})}
        for name, with_inductor in engines.items():
            with Engine({"train": objective}, vectors, points=side**2, compiled=with_inductor) as engine:
                engine.row(surface.x, [0.0])
                started = time.process_time()
                engine.row(surface.x, [0.5])
                note(name, (time.process_time() - started) / side)
    plain = alternatives["functional_call, resident data"]
    with torch.no_grad():
        corner = plain(float(surface.x[0]), float(surface.y[0]))
    difference = abs(corner - surface.loss[0, 0]) / max(abs(corner), 1.0)
    print(f"{surface.evaluation}; difference from functional_call at a corner {difference:.1e}")
    return best


def table(title: str, best: dict[str, float]) -> str:
    """Return times and ratios as Markdown."""
    bare = best["bare forward loop"]
    rows = [
        f"| {name} | {1e3 * value:.2f} | {value / bare:.2f} |" if np.isfinite(value) else f"| {name} | fails | |"
        for name, value in best.items()
    ]
    return "\n".join([f"### {title}", "", "| scheme | ms per point | over the bare loop |", "|---|---|---|", *rows, ""])


def topology_milliseconds() -> str:
    """Return the time of minima and merge tree of two surfaces of 51 × 51."""
    side = np.linspace(-1, 1, 51)
    surfaces = {"smooth bowl": np.add.outer(side**2, side**2), "noise": np.random.default_rng(0).random((51, 51))}
    rows = []
    for name, values in surfaces.items():
        times = []
        for _ in range(10):
            started = time.process_time()
            topology(values)
            times.append(time.process_time() - started)
        rows.append(f"| {name} | {1e3 * min(times):.1f} |")
    return "\n".join(["### Topology, 51 × 51", "", "| surface | ms |", "|---|---|", *rows, ""])


def main() -> None:
    """Run all comparisons and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller grids, for a try")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=["mlp", "resnet", "topology"], help="print one part, write nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "slices.md")
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randn(2048, 784, generator=generator), torch.randint(10, (2048,), generator=generator)
    images = torch.randn(256, 3, 32, 32, generator=generator), torch.randint(10, (256,), generator=generator)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    side, small = (21, 5) if options.quick else (51, 11)
    parts = {
        "mlp": lambda: table(
            f"MLP 784-256-10, 2,048 examples, {side} × {side}",
            measured(mlp((784, 256, 10)), pixels, side, rounds=options.rounds, compiled=False),
        ),
        "resnet": lambda: table(
            f"ResNet-20, 256 images, {small} × {small}",
            measured(resnet(), images, small, rounds=options.rounds, compiled=True),
        ),
        "topology": topology_milliseconds,
    }
    if options.only:
        print(parts[options.only]())
        return
    heading = (
        f"`python benchmarks/slices.py{' --quick' if options.quick else ''}`, PyTorch {torch.__version__}, "
        f"{platform.machine()}, {torch.get_num_threads()} thread(s), CPU time, best of {options.rounds} rounds."
    )
    text = "\n".join(["# Cost of a grid point", "", heading, "", *(part() for part in parts.values())])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    run_settled(main)
