"""Does the board of scores say what is true? Simulated zoos whose truth is known: ``python benchmarks/evidence.py``.

Each has the design of the shipped zoo: 1,440 networks in 360 cells of four independent seeds, of which one in seven missed
its target; test errors are counted on 597 examples, so that they tie. Writes ``results/evidence.md``; about
four minutes on one core.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
from settings import run_settled

import landscape as ls
from landscape.results import Trials
from landscape.results.evidence import DESIGN, NO, YES
from landscape.tables import format_table

SIMULATIONS = 100
FACTORS = {
    "network": ("mlp", "resnet8-bn", "patch-transformer"),
    "data": ("digits", "mnist1d"),
    "effective_step": (0.015, 0.05, 0.15, 0.5, 1.5),
    "momentum": (0.0, 0.9),
    "label_noise": (0.0, 0.2, 1.0),
    "examples": (250, 1000),
    "seed": (0, 1, 2, 3),
}
TRUTHS = {
    "independent of the gap": NO,
    "the share of wrong labels": DESIGN,
    "a curve through step, noise and examples, noisy": DESIGN,
    "weight norm, which tells seeds apart, and noise of its own": f"{NO}, or {DESIGN}",
    "sees a quarter of what tells seeds of a cell apart": YES,
}


def zoo(seed: int) -> tuple[Trials, dict[str, np.ndarray]]:
    """Return trials without a score, and the scores of known truth."""
    rng = np.random.default_rng(seed)
    rows = [dict(zip(FACTORS, levels, strict=True)) for levels in product(*FACTORS.values())]
    level = {name: np.array([row[name] for row in rows]) for name in FACTORS}
    step, noise, few = np.log10(level["effective_step"]), level["label_noise"], level["examples"] == 250
    hidden, known, own, other = rng.normal(size=(4, len(rows)))
    mean = 0.08 + 0.1 * (level["data"] == "mnist1d") + 0.6 * noise**1.5 + 0.05 * few - 0.02 * step
    error = mean + 0.02 * (1 + few) * (hidden + known)
    error = rng.binomial(597, np.clip(error, 0.01, 0.95)) / 597
    table = {
        "reached": rng.random(len(rows)) > 1 / 7,
        "train_loss": 0.01 + 1e-4 * rng.normal(size=len(rows)),
        "test_error": error,
    }
    table |= {
        "weight-norm": 10 * np.exp(0.2 * known - 0.5 * step),
        "margin": np.exp(rng.normal(size=len(rows)) - noise),
    }
    names = list(TRUTHS)
    scores = {
        names[0]: np.exp(own),
        names[1]: 1 + noise,
        names[2]: np.exp(3 * noise**2 + few - step * noise + 0.3 * own),
        names[3]: np.exp(known + 0.5 * own),
        names[4]: np.exp(2 * noise + hidden + np.sqrt(3) * other),
    }
    return Trials.of(
        [{**row, **{k: v[i] for k, v in table.items()}} for i, row in enumerate(rows)], factors=tuple(FACTORS)
    ), scores


def verdict(trials: Trials, score: np.ndarray) -> str:
    """Return the board's verdict on one score alone, with the baseline of the published board."""
    alone = trials.replace(measures={**trials.measures, "of ours": score})
    options = {"scores": ["of ours"], "strata": ("network", "data"), "resamples": 9}
    return ls.evidence(alone, baseline=("train_loss", "margin", "weight-norm"), **options)["of ours"].verdict


def main() -> None:
    started, said = time.process_time(), {name: Counter() for name in TRUTHS}
    for seed in range(SIMULATIONS):
        trials, scores = zoo(seed)
        for name, score in scores.items():
            said[name][verdict(trials, score)] += 1
    words = (NO, DESIGN, YES)
    body = [(name, truth, *(str(said[name][word]) for word in words)) for name, truth in TRUTHS.items()]
    table = format_table(("score", "truth", *words), body, "markdown")
    spent = (time.process_time() - started) / SIMULATIONS / len(TRUTHS)
    path = Path(__file__).parent / "results" / "evidence.md"
    machine = f"NumPy {np.__version__}, one thread of an {platform.machine()} CPU"
    path.write_text(
        f"## What the board says where the truth is known\n\n`python benchmarks/evidence.py`; {machine}.\n\n"
        f"Verdicts of `landscape.evidence` on {SIMULATIONS} simulated zoos of 1,440 networks, in the design of the shipped one; "
        f"{spent:.1f} processor seconds per verdict.\n\n{table}\n"
    )
    print(path.read_text())


if __name__ == "__main__":
    run_settled(main)
