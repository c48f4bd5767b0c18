"""Draw the figures of the experiments whose studies are stored: ``python docs/make_figures.py [NAME …]``, seconds.

An experiment draws the same when it is run. What a file stored before today's labels lacks is given here.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

import landscape as ls
from landscape import plots
from landscape.results import Trials

ROOT = Path(__file__).resolve().parents[1]
SCORES = ("adaptive-worst-linf", "adaptive-average", "inverse-sigma-mag")
WORDS = {
    "basin-volume": {"radius": "basin radius", "log10 volume": "log₁₀ volume", "log10 mass": "log₁₀ mass"},
    "large-batch": {
        "small": "small batch",
        "large": "large batch",
        "keskar/0.001": "ε-sharpness, ε = 10⁻³",
        "keskar/0.0005": "ε-sharpness, ε = 5·10⁻⁴",
        "lambda-max": "λmax",
    },
    "randomisation-table": {
        "noise": "share of labels redrawn, p",
        "step": "steps to loss 0.001",
        "own": "own labels",
        "clean": "clean part",
        "corrupted": "corrupted part",
        "own/lambda-max": "λmax",
        "own/trace": "trace",
        "own/weight-norm": "‖θ‖",
        "label-free/kl-radius": "KL radius",
    },
}
VIEWS = {
    "basin-volume": {"hue": "poison"},
    "large-batch": {"join": "seed"},
    "randomisation-table": {
        "y": [
            "test/error",
            "step",
            *([f"{part}/{name}" for part in ("own", "clean", "corrupted")] for name in SCORES),
            "label-free/kl-radius",
            "own/lambda-max",
            "own/trace",
            "own/weight-norm",
        ]
    },
}
DATA = ROOT / "data"
FILES = {path.stem: path for path in sorted((DATA / "experiments").glob("*.h5"))}
FILES |= {"randomisation-table": DATA / "randomisation.h5"}


THRESHOLDS = {"sgd": 40.0, "momentum": 76.0, "momentum-matched": 760.0}  # (2 + 2β)/η


def optimisers() -> Trials:
    """Return the networks of the experiment optimisers, which the noise table trained too: no noise, loss 0.001, six seeds."""
    every = ls.open_study(ROOT / "data/randomisation.h5")["randomisation-table"]
    found = every.where(noise=0.0, stage="loss-0.001")
    found = found.take(np.flatnonzero(found["seed"] < 6))
    threshold = np.array([THRESHOLDS[name] for name in found["recipe"].tolist()])
    kept = {name: found[f"own/{name}"] for name in (*SCORES, "lambda-max")}
    return found.replace(
        measures={**found.measures, **kept, "ratio": kept["lambda-max"] / threshold},
        words={**found.words, "lambda-max": "λmax", "ratio": "λmax / threshold", "step": "steps to loss 0.001"},
        view={
            "x": "recipe",
            "hue": "recipe",
            "y": [*SCORES, "lambda-max", "ratio", "step"],
            "join": "seed",
            "margin": dict.fromkeys((*SCORES, "lambda-max"), 0.05),
            "level": {"ratio": 1.0},
        },
    )


def draw(name: str) -> Path:
    """Draw one experiment's figure into ``figures``."""
    result = optimisers() if name == "optimisers" else ls.open_study(FILES[name])[name]
    if name in WORDS:
        result = result.replace(words={**result.words, **WORDS[name]})
    (made,) = plots.save(result.plot(**VIEWS.get(name, {})), ROOT / "docs/figures" / name, formats=("png",), dpi=150)
    Image.open(made).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(made, optimize=True)
    return made


if __name__ == "__main__":
    for name in sys.argv[1:] or [*FILES, "optimisers"]:
        print(draw(name).name)
