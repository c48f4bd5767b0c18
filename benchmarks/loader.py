"""What reading a loader once costs beside iterating over it, and that no batch is held twice.

Run ``python benchmarks/loader.py``; the table goes to ``benchmarks/results/loader.md``. A thousand batches of 32 examples: from a
data set of rows, as images are, whose loader collates them; from a data set of tensors; and from a list, where nothing is
computed. Times are of the processor, medians of ratios of runs side by side.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from settings import run_settled
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

from landscape.function.data import read
from landscape.tables import format_table

RESULTS = Path(__file__).parent / "results"
BATCHES, SIZE, FEATURES = 1000, 32, (3, 16, 16)


class Rows(Dataset[Any]):
    """One image at a time, scaled when it is asked for."""

    def __init__(self, X: Tensor, y: Tensor):
        self.X, self.y = X, y

    def __len__(self) -> int:
        return len(self.X)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        return self.X[i].float() / 255, self.y[i]


def seconds(what: Callable[[], Any]) -> float:
    """Return the processor's time."""
    start = time.process_time()
    what()
    return time.process_time() - start


def ratio(data: Iterable[Any], repeats: int) -> tuple[float, float, float]:
    """Return seconds of iterating over the data and keeping the batches, of reading them, and the median ratio."""
    pairs = []
    for _ in range(repeats):
        iterated = seconds(lambda: list(data))
        pairs.append((iterated, seconds(lambda: read(data, None, torch.device("cpu"), None, None))))
    return *(median(column) for column in zip(*pairs)), median(b / a for a, b in pairs)  # type: ignore[return-value]


def main() -> None:
    """Measure and write the table."""
    X = torch.randint(0, 256, (BATCHES * SIZE, *FEATURES), dtype=torch.uint8)
    y = torch.arange(len(X)) % 10
    floats = X.float() / 255
    kinds: dict[str, tuple[Iterable[Any], int]] = {
        "images of a data set, collated": (DataLoader(Rows(X, y), batch_size=SIZE), 7),
        "TensorDataset, collated": (DataLoader(TensorDataset(floats, y), batch_size=SIZE), 7),
        "a list of batches": (list(zip(floats.split(SIZE), y.split(SIZE))), 15),
    }
    rows = []
    for name, (data, repeats) in kinds.items():
        iterated, reading, off = ratio(data, repeats)
        each = (reading - iterated) / BATCHES * 1e6
        shown = f"{off:.3f}" if iterated > each * BATCHES / 1e6 else "—"  # a list is there already
        rows.append((name, f"{iterated:.3f}", f"{reading:.3f}", shown, f"{each:.1f}"))
        print(*rows[-1], sep=" | ", flush=True)
    header = ("1,000 batches of 32", "iterating (s)", "reading (s)", "ratio", "µs per batch")
    page = f"# Reading a loader\n\n`python benchmarks/loader.py`\n\n{format_table(header, rows, 'markdown')}\n"
    (RESULTS / "loader.md").write_text(page)


if __name__ == "__main__":
    run_settled(main)
