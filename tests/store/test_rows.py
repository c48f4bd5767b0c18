"""A slice that is still being computed is shown with its finished rows, and never with others."""

import numpy as np
import pytest
from study_examples import estimate

import landscape as ls
from landscape import store
from landscape.errors import LandscapeError
from landscape.results import Line, Plane
from landscape.store import reader
from landscape.store.rows import COMPUTED, TEMPLATE, filled
from landscape.store.run import partial_file

NX, NY = 11, 7
SAVE, IDENTITY = "sgd-0/plane", {"seed": 0}


def blank():
    nan = np.full((NY, NX), np.nan)
    return Plane(
        x=np.linspace(-1, 1, NX), y=np.linspace(0, 1, NY), values={"train/loss": nan, "train/accuracy": nan},
        computed=np.zeros((NY, NX), np.uint8), provenance={"device": "cpu"},
    )  # fmt: skip


def row(j):
    return {"train/loss": np.linspace(-1, 1, NX) ** 2 + j, "train/accuracy": np.full(NX, 1 / (j + 1))}


def assert_same(a, b):
    assert np.array_equal(a.computed, b.computed)
    for key in b.values:
        assert a.values[key].tobytes() == b.values[key].tobytes()


def test_a_reader_sees_finished_rows_and_a_mask(path):
    with ls.Run((path, SAVE), IDENTITY) as run, ls.Run((path, "sgd-0/other"), IDENTITY) as other:
        run.keep(TEMPLATE, blank())
        other.keep("a", 1)
        for j in (4, 1):
            run.keep(j, row(j))
            seen = ls.open_study(path)[SAVE]  # there is no study file yet
            assert_same(seen, filled(blank(), {k: row(k) for k in run.done if k != TEMPLATE}))
        opened = ls.open_study(path)
        assert (opened.names, opened.unfinished) == ((SAVE,), ("sgd-0/other", SAVE))
        assert seen.computed.any(axis=1).tolist() == [False, True, False, False, True, False, False]
        assert np.isnan(seen.loss[0]).all()
        assert seen.provenance == {"device": "cpu"}
        assert "unfinished: sgd-0/plane" in repr(opened)
        with pytest.raises(LandscapeError, match="is unfinished, and of a kind that cannot be shown"):
            opened["sgd-0/other"]
    estimate().save(path, "sgd-0/trace")
    assert ls.open_study(path).names == (SAVE, "sgd-0/trace")
    assert store.validate(path) == []


def test_a_deleted_study_is_no_empty_one(path):
    estimate().save(path, "sgd-0/trace")
    opened = ls.open_study(path)
    path.unlink()
    for look in (lambda: opened.names, lambda: opened["sgd-0/trace"], lambda: len(opened)):
        with pytest.raises(LandscapeError, match=r"there is no file study\.h5"):
            look()


def test_a_study_is_found_from_another_folder(path, monkeypatch, tmp_path_factory):
    estimate().save(path, "sgd-0/trace")
    monkeypatch.chdir(path.parent)
    opened = ls.open_study("study.h5")
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    assert opened["sgd-0/trace"].value == 1.0


@pytest.mark.parametrize(
    ("index", "arrays"),
    [
        (NY, row(0)),
        (-1, row(0)),
        (0, {"train/loss": np.zeros(NX)}),
        (0, {**row(0), "extra": np.zeros(NX)}),
        (0, {"train/loss": np.zeros(NX), "train/accuracy": np.zeros(NX + 1)}),
        (0, {}),
    ],
)
def test_rows_of_another_shape_are_refused(index, arrays):
    with pytest.raises(LandscapeError, match="expected"):
        filled(blank(), {index: arrays})


def test_a_result_that_is_finished_while_a_reader_looks_at_its_rows(path, monkeypatch):
    whole = filled(blank(), {j: row(j) for j in range(NY)})
    with ls.Run((path, SAVE), IDENTITY) as run:
        run.keep(TEMPLATE, blank())
        run.keep(0, row(0))
        opened, real = ls.open_study(path), reader.read_rows

        def late(*where):
            run.finish(whole)
            return real(*where)

        monkeypatch.setattr(reader, "read_rows", late)
        assert_same(opened[SAVE], whole)


def test_points_of_a_line_and_rows_that_grow_in_parts():
    line = Line(x=np.arange(3.0), values={"train/loss": np.full(3, np.nan)})
    seen = filled(line, {1: {"train/loss": np.array(5.0)}})
    assert np.array_equal(seen.loss, [np.nan, 5.0, np.nan], equal_nan=True)
    part = np.arange(NX) % 2 == 0
    seen = filled(blank(), {2: {**row(2), COMPUTED: part}})
    assert np.array_equal(seen.computed[2], part)
    assert seen.computed.sum() == part.sum()


def test_a_class_without_arrays_by_name_has_no_rows():
    with pytest.raises(LandscapeError, match="not computed row by row"):
        filled(estimate(), {})


def test_a_damaged_row_is_computed_again(path):
    with ls.Run((path, SAVE), IDENTITY) as run:
        run.keep(TEMPLATE, blank())
        for j in range(4):
            run.keep(j, row(j))
    file = partial_file(path, SAVE)
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    with ls.Run((path, SAVE), IDENTITY) as run:
        assert list(run.done) == [TEMPLATE, 0, 1, 2]
