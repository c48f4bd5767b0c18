"""Grids that are not square, with a minimum that must be found again after every detour."""

from pathlib import Path

import numpy as np
import pytest

from landscape.results import Directions, Line, Plane

AT = (7, 2)
"""Indices (i along x, j along y) of the smallest value, which differ on purpose."""


def bowl(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (x - x[AT[0]]) ** 2 + 3 * (y[:, None] - y[AT[1]]) ** 2


@pytest.fixture
def plane() -> Plane:
    x, y = np.linspace(-1, 1, 11), np.linspace(-1, 1, 7)
    loss = bowl(x, y)
    vectors = np.random.default_rng(0).normal(size=(2, 10))
    return Plane(
        x=x,
        y=y,
        values={"train/loss": loss, "train/accuracy": 1 / (1 + loss), "test/loss": loss + 1, "train/margin": -loss},
        computed=np.ones((7, 11)),
        directions=Directions(
            vectors=vectors, norms=np.linalg.norm(vectors, axis=1), cosines=np.eye(2), direction_kind="gaussian",
            normalize="filter", seed=3, info={"explained_variance_ratio": [0.9, 0.06]},
        ),
        provenance={"weights_sha256": "abc", "gap": float("nan")},
    )  # fmt: skip


@pytest.fixture
def line() -> Line:
    x = np.linspace(-1, 1, 11)
    return Line(x=x, values={"train/loss": x**2, "train/accuracy": 1 - x**2 / 2, "test/loss": x**2 + 0.1})


@pytest.fixture
def minimum():
    """Return a check: the smallest of values (ny, nx) is where it was put."""

    def check(values: np.ndarray) -> None:
        assert np.shape(values) == (7, 11)
        assert np.unravel_index(np.argmin(values), (7, 11)) == (AT[1], AT[0])

    return check


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "made" / "on demand"
