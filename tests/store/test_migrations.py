"""Files of earlier schemas open, say what they were, and read as what they hold."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

import landscape as ls
from landscape import store
from landscape.errors import LandscapeError
from landscape.results import Estimate, Score, Scores
from landscape.store.migrations import MIGRATIONS, Migration

OLD = Path(__file__).parent / "data" / "schema-1.h5"
"""Written by the last version with schema 1: one result of every family, and values that JSON has no word for."""


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
