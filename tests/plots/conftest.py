"""Results to draw, and the promise of every figure: nothing shown, nothing left open, no setting changed."""

import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot

from landscape.results import Directions, Plane


@pytest.fixture(autouse=True)
def settings_untouched(monkeypatch):
    def shown(*args, **kwargs):
        raise AssertionError("a plot called show()")

    monkeypatch.setattr(pyplot, "show", shown)
    before = {key: value for key, value in matplotlib.rcParams.items() if key != "backend"}
    yield
    after = {key: value for key, value in matplotlib.rcParams.items() if key != "backend"}
    pyplot.close("all")
    assert after == before


@pytest.fixture
def ax():
    with matplotlib.rc_context():
        yield pyplot.figure().add_subplot()


def _directions(norms=(2.0, 3.0), cosine=0.0, kind="gaussian"):
    cosines = np.array([[1.0, cosine], [cosine, 1.0]])
    return Directions(norms=np.asarray(norms), cosines=cosines, direction_kind=kind, normalize="filter")


def _plane(function, nx=11, ny=7, span=1.0, computed=None, spanned=None):
    x, y = np.linspace(-span, span, nx), np.linspace(-span, span, ny)
    values = np.asarray(function(*np.meshgrid(x, y)), dtype=float)
    computed = np.ones((ny, nx), dtype=np.uint8) if computed is None else computed
    return Plane(x=x, y=y, values={"train/loss": values}, computed=computed, directions=spanned)


@pytest.fixture
def directions():
    return _directions


@pytest.fixture
def make_plane():
    return _plane


@pytest.fixture
def valley(make_plane):
    """(x − 0.5)² + 3y² on 11 × 7 points: the smallest, (0.5, 0), is in column 6 and row 3."""
    x, y = np.linspace(-1, 1.5, 11), np.linspace(-1, 1, 7)
    return make_plane(lambda *_: (x - 0.5) ** 2 + 3 * y[:, None] ** 2 + 0.01).replace(x=x)
