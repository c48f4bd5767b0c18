"""A study as a mapping, a tree, and labelled arrays."""

import subprocess
import sys

import numpy as np
import pytest
from study_examples import Maker, estimate

import landscape as ls
from landscape import store
from landscape.errors import LandscapeError
from landscape.results import KINDS, Directions, Path, Plane, Score, Scores


def directions():
    return Directions(
        vectors=np.ones((2, 5)), norms=np.ones(2), cosines=np.eye(2), direction_kind="gaussian", normalize="filter"
    )


def plane():
    y, x = np.linspace(-1, 2, 7), np.linspace(-1, 1, 11)
    loss = (x - 0.5) ** 2 + 3 * y[:, None] ** 2
    return Plane(x=x, y=y, values={"train/loss": loss}, computed=np.ones((7, 11), np.uint8), directions=directions())


@pytest.fixture
def filled(path):
    panel = Scores(rows=(Score(name="trace", value=2.0, seed=4), Score(name="keskar", value=0.1, radius=0.5)))
    with store.batch(path) as writer:
        writer.save(plane(), "sgd-0/plane")
        writer.save(panel, "sgd-0/scores")
        writer.save(estimate(2.0), "momentum-0/trace")
        writer.save(Path(x=np.arange(3.0), values={"train/loss": np.zeros(3)}), "sgd-momentum")
        writer.describe_checkpoint("sgd-0", {"long_name": "plain SGD", "lr": 0.1})
    return path


def test_a_study_is_a_mapping(filled):
    opened = ls.open_study(filled)
    assert list(opened) == ["momentum-0/trace", "sgd-0/plane", "sgd-0/scores", "sgd-momentum"]
    assert len(opened) == 4
    assert "sgd-0/plane" in opened
    assert "sgd-0/plane/directions" not in opened
    assert 3 not in opened
    assert opened.kinds["sgd-momentum"] == "path"
    assert opened["sgd-0/plane"].directions.normalize == "filter"
    assert opened.checkpoints == {"momentum-0": {}, "sgd-0": {"long_name": "plain SGD", "lr": 0.1}}


def test_parts_of_results_are_no_results_of_their_own(path):
    with store.batch(path) as writer:
        for name in ("sgd-0/a", "sgd-0/b", "sgd-1/a"):  # siblings: what is inside one comes after the next
            writer.save(plane(), name)
    assert ls.open_study(path).names == ("sgd-0/a", "sgd-0/b", "sgd-1/a")


def test_a_wrong_name_lists_the_right_ones(filled):
    with pytest.raises(LandscapeError, match=r"holds no 'sgd-0/plan'; it holds momentum-0/trace, sgd-0/plane"):
        ls.open_study(filled)["sgd-0/plan"]


def test_the_tree(filled):
    text = repr(ls.open_study(filled))
    assert text == store.info(filled)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "study.h5: 4 results, schema 2"
    assert "sgd-0 long_name plain SGD, lr 0.1" in lines
    assert any(line.startswith("plane plane computed (7, 11)") for line in lines)
    assert "train/loss (7, 11)" in " ".join(lines)
    assert max(map(len, text.splitlines())) <= 120
    assert any(line.startswith("scores scores") and "columns" in line for line in lines)
    assert "<pre>study.h5" in ls.open_study(filled)._repr_html_()


def test_the_tree_counts_the_arrays_of_large_groups(path):
    values = {f"train/{what}": np.zeros(3) for what in ("loss", "accuracy", "error", "margin")}
    Path(x=np.arange(3.0), values=values).save(path, "sgd-momentum")
    assert "train/ 4 arrays" in store.info(path)
    Path(x=np.arange(3.0), values=dict([*values.items()][:2])).save(path, "short")
    assert "train/accuracy (3,), train/loss (3,)" in store.info(path)


def test_info_does_not_wait_for_torch(filled):
    code = "import sys; from landscape.store import info; info(sys.argv[1]); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code, str(filled)], check=True, timeout=60)


def test_validate_names_what_is_in_the_wrong_place(filled):
    import h5py

    with h5py.File(filled, "r+") as file:
        file.move("checkpoints/sgd-0/slices/plane", "checkpoints/sgd-0/eigen/plane")
    assert store.validate(filled) == ["'checkpoints/sgd-0/eigen/plane' is a plane in a place that is not a plane's"]


def test_without_xarray_it_is_said_how_to_get_it(filled, monkeypatch):
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(LandscapeError, match=r"pip install landscape-sharpness\[xarray\]"):
        ls.open_study(filled).to_xarray()


def test_as_labelled_arrays(filled):
    pytest.importorskip("xarray")
    tree = ls.open_study(filled).to_xarray()
    loss = tree["sgd-0/plane/train/loss"]
    assert loss.dims == ("y", "x")
    best = loss.where(loss == loss.min(), drop=True)
    assert abs(float(best.x[0]) - 0.5) < 0.11
    assert abs(float(best.y[0])) < 1e-12
    assert tree["sgd-0/plane/directions/cosines"].dims == ("direction", "direction'")
    assert tree["sgd-0/plane"].attrs["kind"] == "plane"
    assert tree["sgd-0/scores/value"].values.tolist() == [2.0, 0.1]


def test_every_kind_as_labelled_arrays(path):
    pytest.importorskip("xarray")
    maker = Maker(sizes=(2, 3))
    with store.batch(path) as writer:
        for kind, cls in KINDS.items():
            writer.save(maker.result(cls), f"a/{kind}" if "{owner}" in cls.location else kind)
    tree = ls.open_study(path).to_xarray()
    assert {node.attrs["kind"] for node in tree.subtree if "kind" in node.attrs} == set(KINDS)


def test_xarray_opens_a_group_with_its_coordinates(filled):
    xarray = pytest.importorskip("xarray")
    pytest.importorskip("h5netcdf")
    group = "checkpoints/sgd-0/slices/plane"
    with xarray.open_dataset(filled, group=group, engine="h5netcdf") as data:
        assert list(data.coords) == ["x", "y"]
        assert data["computed"].dims == ("y", "x")
    with xarray.open_datatree(filled, group="checkpoints/sgd-0", engine="h5netcdf") as tree:
        dims = {dim for node in tree.subtree for variable in node.variables.values() for dim in variable.dims}
        assert {"row", "x", "y", "direction", "direction'", "P"} <= dims
        assert not any(dim.startswith("phony") for dim in dims)
        tree = tree["slices/plane"]
        assert tree["train/loss"].dims == ("y", "x")
        assert float(tree["train/loss"].sel(x=0.4, y=0.0, method="nearest")) == pytest.approx(0.01)
