"""What writing costs: planes of 51 × 51 points that are saved row by row, over the same planes that are not; and bytes
written when 24 score tables come into a large study.

Run ``python benchmarks/writing.py`` (``--quick`` for smaller planes); the tables go to ``benchmarks/results/writing.md``.
Both ways are timed in turn, wall-clock, several times over. Their difference is small beside what a busy machine does to
them, so the time within the calls that write is measured as well: opening the run, each row with its wait for the
disk, and storing the result in the study. Bytes are those that the system counts for this process.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from settings import run_settled

import landscape as ls
from landscape.models import mlp
from landscape.results import Estimate
from landscape.store import batch

CASES = ((2048, 1), (8192, 1), (8192, 100))
"""Examples of the network's data, and megabytes that the study holds before."""
CALLS = {
    "opening": (ls.Run, "__enter__"),
    "rows": (ls.Run, "keep"),
    "merge": (ls.Run, "finish"),
    "disk": (os, "fsync"),
}


@contextmanager
def stopwatch() -> Iterator[dict[str, list[float]]]:
    """Yield the seconds of every call that writes, by name; waits for the disk are part of the others."""
    spent: dict[str, list[float]] = {name: [] for name in CALLS}

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[name].append(time.perf_counter() - started)

        return call

    before = {name: getattr(owner, attribute) for name, (owner, attribute) in CALLS.items()}
    for name, (owner, attribute) in CALLS.items():
        setattr(owner, attribute, timed(name, before[name]))
    try:
        yield spent
    finally:
        for name, (owner, attribute) in CALLS.items():
            setattr(owner, attribute, before[name])


def filled(path: Path, megabytes: int) -> Path:
    """Write a study that holds noise of some size already, as eigenvectors would be."""
    noise = np.random.default_rng(0).standard_normal((megabytes, 125_000))
    one = Estimate(value=0.0, standard_error=0.0, matvecs=0, method="hutchinson", quantity="trace")
    with batch(path) as writer:
        for index, samples in enumerate(noise):
            writer.save(one.replace(samples=samples), f"other-{index}/noise")
    return path


def compared(examples: int, megabytes: int, side: int, rounds: int, path: Path) -> str:
    """Return a row of the table: times with and without writing, and what the calls took."""
    generator = torch.Generator().manual_seed(0)
    data = torch.randn(examples, 784, generator=generator), torch.randint(10, (examples,), generator=generator)
    objective = ls.Objective(mlp((784, 256, 10)).eval(), data, "cross_entropy", batch_size=len(data[0]))
    directions = ls.random_directions(objective, 2)
    ls.plane(objective, directions, points=5)

    def seconds(save: tuple[Path, str] | None) -> float:
        started = time.perf_counter()
        ls.plane(objective, directions, points=side, save=save)
        return time.perf_counter() - started

    filled(path, megabytes)
    plain, saved, inside, waits = [], [], [], []
    for turn in range(rounds):
        plain.append(seconds(None))
        with stopwatch() as spent:
            saved.append(seconds((path, f"sgd-{turn}/plane")))
        inside.append({name: sum(times) for name, times in spent.items()})
        waits += spent["disk"][2 : side + 2]  # the first two are the file's header and its folder
    base = statistics.median(plain)
    difference = statistics.median(b / a - 1 for a, b in zip(plain, saved, strict=True))
    mine = {name: statistics.median(one[name] for one in inside) for name in CALLS}
    writing = mine["opening"] + mine["rows"] + mine["merge"]
    return (
        f"| {base:.1f} s | {megabytes} MB | {1e3 * mine['opening']:.0f} ms | {1e3 * mine['rows'] / side:.2f} ms | "
        f"{1e3 * statistics.median(waits):.2f} ms | {1e3 * mine['merge']:.0f} ms | {writing / base:.2%} | "
        f"{difference:+.1%} |"
    )


def written() -> int:
    """Return the bytes that this process has handed to the file system so far."""
    return int(Path("/proc/self/io").read_text().split("wchar: ")[1].split()[0])


def bytes_of(name: str, act: Callable[[Path], None], megabytes: int, folder: Path) -> str:
    """Return a row of the table: what is written when score tables come into a study of some size."""
    path = filled(folder / f"{name.replace(' ', '-')}.h5", megabytes)
    size, before = path.stat().st_size, written()
    act(path)
    spent = written() - before
    held = sum("scores" in entry for entry in ls.open_study(path).kinds)
    path.unlink()
    return f"| {name} | {held} | {size / 1e6:.0f} MB | {spent / 1e6:.1f} MB | {spent / size:.2f} |"


def score_tables(megabytes: int, folder: Path) -> Iterator[str]:
    """Yield the rows of the table of bytes."""
    data = torch.randn(40, 8, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3
    networks = [ls.Checkpoint(mlp((8, 8, 3), seed=seed), loss="cross_entropy", train=data) for seed in range(24)]
    objectives = [network.objective("train") for network in networks]
    asked = ["margin", "weight-norm"]

    def compared(path: Path) -> None:
        ls.compare({"first": networks[:12], "second": networks[12:]}, scores=asked, save=path)

    def together(path: Path) -> None:
        with batch(path):
            each(path)

    def each(path: Path) -> None:
        for index, objective in enumerate(objectives):
            ls.sharpness(objective, asked, save=(path, f"sgd-{index}/scores"))

    yield bytes_of("compare of 24 checkpoints", compared, megabytes, folder)
    yield bytes_of("24 sharpness in a batch", together, megabytes, folder)
    yield bytes_of("24 sharpness one by one", each, megabytes, folder)


def main() -> None:
    """Run all comparisons and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller planes, for a try")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "writing.md")
    options = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    side = 21 if options.quick else 51
    rows = []
    with tempfile.TemporaryDirectory(dir=Path(__file__).parent) as folder:  # other places may lie in memory
        for examples, megabytes in CASES:
            path = Path(folder) / f"{examples}-{megabytes}.h5"
            rows.append(compared(examples, megabytes, side, options.rounds, path))
            print(rows[-1], flush=True)
        tables = list(score_tables(10 if options.quick else 100, Path(folder)))
    text = "\n".join(
        [
            "# What writing costs",
            "",
            f"`python benchmarks/writing.py{' --quick' if options.quick else ''}`, PyTorch {torch.__version__}, "
            f"{platform.machine()}, {torch.get_num_threads()} thread(s), wall-clock, median of {options.rounds} rounds.",
            "",
            f"Planes of {side} × {side} points of an MLP 784-256-10 on 2,048 and 8,192 examples, saved into a small study "
            "and into one that holds 100 MB already.",
            "",
            "| plane | in the study | opening | a row | of it the disk | merge | writing / plane | with / without saving |",
            "|---|---|---|---|---|---|---|---|",
            *rows,
            "",
            "A row is kept with one `fsync`; the merge copies the study, adds the plane, and waits for the disk twice. The last "
            "column is the same share by difference of whole runs, and mostly noise.",
            "",
            "Score tables that come into a large study; a copy is the size of the study before.",
            "",
            "| how | score tables | in the study | written | whole copies |",
            "|---|---|---|---|---|",
            *tables,
            "",
            "One by one, each save rewrites the study: what a reader or a kill finds is complete at every moment.",
            "",
        ]
    )
    options.out.write_text(text)
    print(text)


if __name__ == "__main__":
    run_settled(main)
