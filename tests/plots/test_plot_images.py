"""A few figures against reference images.

``LANDSCAPE_WRITE_IMAGES=1`` writes the references anew: look at them before committing.
"""

import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.testing.compare import compare_images

from landscape import plots
from landscape.results import Directions, Line, Plane, Trajectory, Trials
from landscape.slices import topology

REFERENCES = Path(__file__).parent / "images"
TOLERANCE = 4.0
"""Root mean square over pixel values 0 … 255; a missing colour bar label gives more."""


def spiky(curvature, *, walls):
    """A bowl of 27 × 19 points with ripples; with walls, parts of it are infinite, NaN or not computed."""
    x, y = np.linspace(-1, 1, 27), np.linspace(-0.8, 0.8, 19)
    X, Y = np.meshgrid(x, y)
    loss = 0.01 + curvature * (X**2 + 1.7 * Y**2 + 0.5 * X * Y) * (1.3 + 0.3 * np.sin(7 * X) * np.cos(5 * Y))
    computed = np.ones(loss.shape, dtype=np.uint8)
    if walls:
        loss[X + Y > 1.3] = np.inf
        loss[(X < -0.7) & (Y < -0.5)] = np.nan
        computed[:3, -5:] = 0
    directions = Directions(
        norms=np.array([10.0, 8.0]), cosines=np.eye(2), direction_kind="gaussian", normalize="filter"
    )
    return Plane(x=x, y=y, values={"train/loss": loss}, computed=computed, directions=directions)


def lines(curvature):
    x = np.linspace(-1, 1, 31)
    for turn in range(4):
        loss = 0.01 + curvature * (1 + 0.2 * turn) * x**2 + 0.03 * curvature * np.sin(5 * x + turn) ** 2 * abs(x)
        values = {
            "train/loss": loss,
            "test/loss": loss + 0.2,
            "train/accuracy": np.exp(-loss / 2),
            "test/accuracy": np.exp(-loss),
        }
        yield Line(x=x, values=values)


def three(**options):
    planes = {
        "SGD": spiky(1.5, walls=False), "momentum": spiky(4.0, walls=False), "random labels": spiky(40.0, walls=True),
    }  # fmt: skip
    return plots.grid(planes, **options)


def run():
    turn = np.linspace(0, 1, 15)
    points = np.column_stack([0.9 * (1 - turn), 0.5 * np.sin(3 * turn) * (1 - turn)])
    return Trajectory(
        directions=None, points=points, off_plane=np.sin(np.pi * turn), explained=np.array([0.81, 0.12]), values={}
    )


def arms():
    """Three scores of two arms over four seeds: one that differs, one that ties, one control."""
    seeds = np.array([-0.03, 0.0, 0.01, 0.04])
    return {
        "trace": {"sgd": 3 * 10**seeds, "random labels": 40 * 10**-seeds},
        "lambda-max": {"sgd": 0.5 * 10**seeds, "random labels": 0.52 * 10**-seeds},
        "margin": {"sgd": 4 + seeds, "random labels": 4.2 - seeds},
    }


def compared():
    for score, by_arm in arms().items():
        first, second = (np.log10(values) for values in by_arm.values())
        middle, half = second.mean() - first.mean(), 2 * np.hypot(first.std(), second.std())
        yield SimpleNamespace(
            a="sgd", b="random labels", score=score, scale="log10", primary=score == "trace", difference=middle,
            low=middle - half, high=middle + half,
        )  # fmt: skip


def runs():
    rows = [
        {"recipe": recipe, "seed": seed, "score": value, "step": 600.0 * (1 + 9 * (recipe == "sgd")) + seed}
        for recipe, values in arms()["lambda-max"].items()
        for seed, value in enumerate(values)
    ]
    return Trials.of(rows, factors=("recipe", "seed"))


FIGURES = {
    "scores": lambda: plots.scores(arms(), join=True),
    "effects": lambda: plots.effects(list(compared()), margin=0.05),
    "trials": lambda: runs().plot(
        x="recipe", hue="recipe", y=["score", "step"], join="seed", margin={"score": 0.05}, level={"score": 0.6}
    ),
    "layers": lambda: plots.layers(
        {"sgd": {"conv": 0.2, "fc": 5.0}, "momentum": {"conv": 0.1, "fc": 90.0}}, label="trace"
    ),
    "merge_tree": lambda: plots.merge_tree(topology(np.sin(np.arange(60.0)) + np.abs(np.arange(60.0) - 25) / 15)),
    "trajectory": lambda: plots.trajectory(run(), plane=spiky(1.5, walls=False)),
    "contour": lambda: plots.contour(spiky(30.0, walls=True), limit=20.0),
    "grid": lambda: three(),
    "grid_surface": lambda: three(kind="surface", limit=20.0),
    "lines_grid": lambda: plots.lines_grid({"SGD": list(lines(1.0)), "random labels": list(lines(6.0))}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figures_look_like_their_references(name, tmp_path):
    (made,) = plots.save(FIGURES[name](), tmp_path / name, formats=("png",), dpi=80)
    expected = REFERENCES / made.name
    if os.environ.get("LANDSCAPE_WRITE_IMAGES"):
        shutil.copy(made, expected)
    difference = compare_images(shutil.copy(expected, tmp_path / f"{name}-expected.png"), str(made), tol=TOLERANCE)
    assert difference is None, difference
