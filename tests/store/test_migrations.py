"""Files of earlier schemas open, say what they were, and read as what they hold; studies of schema 1 as trials."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

import landscape as ls
from landscape import store
from landscape.comparison.trend import noise_trends
from landscape.errors import LandscapeError
from landscape.results import Comparison, Estimate, Score, Scores, Trials
from landscape.store.migrations import MIGRATIONS, Migration, Old

OLD = Path(__file__).parent / "data" / "schema-1.h5"
"""Written by the last version with schema 1: one result of every family, and values that JSON has no word for."""
SHIPPED = Path(__file__).parents[2] / "data" / "randomisation.h5"
AXES = ("recipe", "noise", "seed", "stage")


def test_a_file_of_schema_1_opens_and_every_result_is_what_was_saved():
    opened = ls.open_study(OLD)
    assert repr(opened).startswith("schema-1.h5: 9 results, schema 1")
    assert {name: opened[name].kind for name in opened} == dict(opened.kinds)  # each compared with its fingerprint
    assert store.validate(OLD) == []
    assert opened.checkpoints["sgd-0"] == {"long_name": "plain SGD", "lr": 0.1}
    odd = opened["odd/estimate"]
    assert np.isnan(odd.value)
    assert odd.provenance["tuple"] == (1, [2, (3, None)])
    assert odd.provenance["list"] == [(1, 2)]
    assert odd.provenance["keys"] == {1: 2}
    assert odd.provenance["long"] == "x" * 70_000
    np.testing.assert_array_equal(odd.provenance["array"], np.arange(3.0))
    assert [(row.name, row.radius) for row in opened["sgd-0/scores"].rows][-2:] == [
        ("adaptive-worst-linf", 0.001),
        ("adaptive-worst-linf", 0.002),
    ]


def test_a_file_of_schema_1_is_added_to(path):
    shutil.copy(OLD, path)
    before = ls.open_study(OLD)
    before["sgd-0/trace"].save(path, "sgd-1/trace")
    opened = ls.open_study(path)
    assert set(opened) == {*before, "sgd-1/trace"}
    assert store.validate(path) == []
    with h5py.File(path) as file:
        versions = [int(file[f"checkpoints/sgd-{i}/estimates/trace"].attrs["schema_version"]) for i in (0, 1)]
    assert versions == [1, store.SCHEMA_VERSION]


def as_scores(old):
    """Make a panel of the old eigenpairs, to see everything that a migration is given."""
    assert old.kind == "eigenpairs"
    assert old.attributes["which"] == "LA"
    return Scores(rows=tuple(Score(name=f"pair-{i}", value=v) for i, v in enumerate(old.arrays["values"].tolist())))


def as_estimate(old):
    names, values = old.columns["name"], old.columns["value"]
    assert old.attributes["rows"] == len(names) == len(values)
    assert old.columns["radius"][names.index("trace")] is None
    trace = values[names.index("trace")]
    return Estimate(value=trace, standard_error=0.0, matvecs=0, method="x", quantity="trace")


def test_kinds_that_changed_go_through_their_migration(monkeypatch):
    before = ls.open_study(OLD)
    pairs, panel = before["sgd-0/top3"], before["sgd-0/scores"]
    changes = {"eigenpairs": Migration("scores", as_scores), "scores": Migration("estimate", as_estimate)}
    monkeypatch.setitem(MIGRATIONS, 1, changes)
    opened = ls.open_study(OLD)
    assert opened.kinds["checkpoints/sgd-0/eigen/top3"] == "scores"  # its place is not that of a panel
    assert [row.value for row in opened["checkpoints/sgd-0/eigen/top3"].rows] == pairs.values.tolist()
    [trace] = panel.all("trace")
    assert opened["checkpoints/sgd-0/scores/scores"].value == trace.value


@pytest.mark.parametrize(
    ("version", "message"), [(99, "this package reads up to 2: update it"), (0, "was not written by")]
)
@pytest.mark.parametrize("place", ["/", "checkpoints/sgd-0/estimates/trace"])
def test_other_versions_are_refused_in_a_line(path, version, message, place):
    shutil.copy(OLD, path)
    with h5py.File(path, "r+") as file:
        file[place].attrs["schema_version"] = version
    with pytest.raises(LandscapeError, match=message):
        ls.open_study(path)["sgd-0/trace"]


@pytest.fixture(scope="module")
def table():
    return ls.open_study(SHIPPED)["randomisation-table"]


def test_the_shipped_table_says_what_it_was(table):
    assert isinstance(table, Trials)
    assert table.study == "randomisation-table"
    assert table.provenance["schema"] == "1, kind randomisation-table"
    assert table.provenance["torch"] == "2.13.0+cpu"
    assert dict(table.summary())["rows"] == "840: 3 recipe × 7 noise × 8 seed × 5 stage"
    assert store.validate(SHIPPED) == []
    assert [ax.get_ylabel() for ax in table.plot().axes][:2] == ["test error", "step"]


def test_every_number_of_the_shipped_table_is_there(table):
    with h5py.File(SHIPPED) as file:
        old = file["experiments/randomisation-table"]
        for name in ("train/loss", "train/accuracy", "test/loss", "test/error", "epoch", "step", "reached"):
            np.testing.assert_array_equal(table.array(name, *AXES), old[f"metrics/{name}"])
        for name in table.geometric:
            for mine, theirs in ((table.measures[name], "scores"), (table.errors.get(name), "errors")):
                kept = old[f"{theirs}/{name}"][...]
                if mine is None:
                    assert np.isnan(kept).all()
                    continue
                found = table.array(mine, *AXES)
                found = found[..., None] if found.ndim == 4 else found
                np.testing.assert_array_equal(found, kept[..., : found.shape[-1]])
                assert np.isnan(kept[..., found.shape[-1] :]).all()
        curves = table.array("training loss", *AXES)
        kept = np.isfinite(curves).any(axis=4)
        assert (kept.sum(axis=3) == 1).all()  # a run has one curve, at the last place that it got to
        np.testing.assert_array_equal(curves[kept], old["curves/train/loss"][...].reshape(168, -1))
        steps = table.array("steps to accuracy 1", *AXES)
        np.testing.assert_array_equal(steps, np.repeat(old["lengths/steps to accuracy 1"][...][..., None], 5, axis=3))
        for column, name in (("change", "difference"), ("spread", "sd"), ("tau", "tau"), ("p_value", "p_value")):
            theirs = old[f"trends/{column}"][...]
            mine = np.array([getattr(effect, name) for effect in table.effects], dtype=float)
            np.testing.assert_array_equal(mine, np.where(np.isfinite(theirs), theirs, np.nan))
        assert [f.verdict for f in table.findings if f.verdict] == [v.decode() for v in old["verdicts/verdict"]]
        np.testing.assert_array_equal(table.placebo.called, old["placebo/called"])
        assert len(table.audited) == 42


def test_trends_are_computed_from_it_as_they_were(table):
    part = table.where(recipe="momentum", stage="loss-0.001")
    again = noise_trends(part, list(table.geometric))
    assert [row.measure for row in again] == [row.measure for row in part.effects]
    for name in ("difference", "tau", "p_value", "p_holm"):
        assert [getattr(row, name) for row in again] == [getattr(row, name) for row in part.effects]


def test_runs_that_were_rows_with_curves_beside_them():
    old = Old(
        kind="edge-of-stability",
        attributes={"runs": 2, "settings": {"every": 25}, "seconds": 1.0},
        arrays={"step": np.array([[0.0, 25.0], [0.0, np.nan]]), "batch_sharpness": np.ones((2, 2))},
        columns={
            "runs/problem": ["one", "two"], "runs/descent": ["SGD, η = 0.1"] * 2, "runs/rule": ["sgd"] * 2,
            "runs/seed": [0, 1], "runs/late_batch": [0.5, np.nan], "runs/lr": [0.1, 0.1],
        },
        results={},
    )  # fmt: skip
    trials = MIGRATIONS[1]["edge-of-stability"].read(old)
    assert trials.levels("descent") == ("one, SGD, η = 0.1", "two, SGD, η = 0.1")
    np.testing.assert_array_equal(trials["batch"], [0.5, np.nan])
    np.testing.assert_array_equal(trials.arrays["step"], old.arrays["step"])
    assert trials.settings == {"every": 25}


def test_optimisers_keep_their_comparison():
    values = np.arange(8.0).reshape(2, 2, 1, 2)
    comparison = Comparison(
        recipes=("a", "b"), long_names=("A", "B"), scores=("adaptive-average",), radii=np.array([[0.1, 0.2]]), values=values,
        standard_errors=np.full_like(values, np.nan), metrics={}, gates=(), tests=(), verdicts=(),  audited=(),
    )  # fmt: skip
    old = Old(
        kind="optimisers",
        attributes={"recipes": ("a", "b"), "long_names": ("A", "B")},
        arrays={
            "seeds": np.array([3, 4]), "lr": np.array([0.1, 0.2]), "momentum": np.zeros(2), "batch_size": np.array([8, 8]),
            "thresholds": np.array([20.0, 10.0]), "metrics/reached": np.ones((2, 2)), "relative/lambda-max": np.eye(2),
        },
        columns={},
        results={"comparison": comparison},
    )  # fmt: skip
    trials = MIGRATIONS[1]["optimisers"].read(old)
    np.testing.assert_array_equal(trials.array("adaptive-average", "recipe", "seed"), values[:, :, 0])
    np.testing.assert_array_equal(trials.array("lambda-max", "recipe", "seed"), np.eye(2))
    assert trials.where(recipe="b")["η"].tolist() == [0.2, 0.2]
    assert trials.comparison is comparison
