"""Table and figure of the zoo from its file, and what its networks give when they are measured again.

Run ``python benchmarks/zoo.py``: from ``data/zoo.h5`` it writes ``benchmarks/results/zoo.md`` and ``docs/figures/zoo.png``. With
``--again 20`` as many networks, drawn at random, are measured again, and compared with their rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from settings import run_settled

import landscape as ls
from landscape.studies.registry import markdown
from landscape.studies.zoo import SCORES, STUDY

ROOT = Path(__file__).parents[1]


def again(zoo: Any, count: int) -> str:
    """Measure networks again; return the largest relative difference from their rows, by network and by score."""
    rows = sorted(np.random.default_rng(0).choice(zoo.kept, count, replace=False).tolist())
    apart: dict[str, float] = {}
    for row, new in zip(rows, zoo.measure(rows, SCORES), strict=True):
        for name in SCORES:
            old, found = np.asarray(zoo.trials.measures[name][row]), np.asarray(new[name])
            same = (np.isnan(old) & np.isnan(found)) | (old == found)
            gap = np.where(same, 0.0, np.abs(found - old) / np.maximum(np.abs(old), 1e-300))
            apart[name] = max(apart.get(name, 0.0), float(gap.max()))
    worst = sorted(apart, key=apart.__getitem__)[::-1]
    told = ", ".join(f"{name} {apart[name]:.1g}" for name in worst[:3])
    return f"{count} networks measured again, {len(SCORES)} scores each: the largest relative differences are {told}."


def main() -> None:
    """Write table and figure."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--again", type=int, default=0)
    count = options.parse_args().again
    zoo = ls.zoo()
    result = ROOT / "benchmarks" / "results" / "zoo.md"
    kept = [
        line for line in (result.read_text("utf-8").splitlines() if result.exists() else []) if "measured again" in line
    ]
    said = [again(zoo, count)] if count else kept
    result.write_text("\n\n".join([markdown(STUDY, zoo.trials).rstrip(), *said, ""]), encoding="utf-8")
    ls.plots.save(zoo.trials.plot(), ROOT / "docs" / "figures" / "zoo", formats=("png",), dpi=150)
    print(*said, sep="\n")


if __name__ == "__main__":
    run_settled(main)
