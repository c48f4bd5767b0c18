"""Resident memory while a loader of 10 GB, made on the fly, is read for a gradient and two Hessian products.

python benchmarks/streaming.py            # writes results/streaming.md; 10 minutes
"""

import argparse
import time
from pathlib import Path

import torch
from large import memory

import landscape as ls

RESULTS = Path(__file__).with_name("results") / "streaming.md"


class Made:
    """Batches of 4,096 examples of 1,024 numbers, 16.8 MB each, drawn from the number of the batch."""

    def __init__(self, batches):
        self.batches = batches

    def __len__(self):
        return self.batches

    def __iter__(self):
        for number in range(self.batches):
            generator = torch.Generator().manual_seed(number)
            yield torch.randn(4096, 1024, generator=generator), torch.randint(10, (4096,), generator=generator)


def main():
    """Measure and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--batches", type=int, default=600)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seen = []

    class Watched(Made):
        """Notes the resident memory at every batch."""

        def __iter__(self):
            for batch in super().__iter__():
                seen.append(1024 * memory("VmRSS"))
                yield batch

    model, started = ls.models.mlp((1024, 16, 10)), time.process_time()
    v = torch.randn(16 * 1024 + 16 + 170)
    L = ls.Objective(model, Watched(arguments.batches), "cross_entropy", stream=True)
    rows, passes = [], {"first pass": lambda: None, "gradient": L.gradient}
    H = ls.Hessian(L, program="kept", memory=1)  # no graph is kept from one product to the next
    passes |= {"plan": lambda: H.plan, "Hessian product": lambda: H @ v, "another": lambda: H @ v}
    for name, run in passes.items():
        if name != "first pass":
            seen.clear()
        run()
        if seen:
            settled = seen[min(10, len(seen) - 1) :]
            rows.append(
                f"| {name} | {len(seen)} | {min(settled):.0f} | {max(settled):.0f} | {max(settled) - min(settled):.0f} |"
            )
    size = arguments.batches * 4096 * 1024 * 4 / 1e9
    lines = [
        "# Data that do not fit in memory",
        "",
        f"A loader of {size:.1f} GB in {arguments.batches} batches, made on the fly, and an MLP 1024-16-10, one thread. "
        f"`python benchmarks/streaming.py`, {time.strftime('%d %B %Y')}, PyTorch {torch.__version__}, "
        f"{time.process_time() - started:.0f} s of processor time.",
        "",
        "| pass | batches read | least resident memory after 10 batches, MB | most | span |",
        "|---|---|---|---|---|",
        *rows,
    ]
    arguments.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
