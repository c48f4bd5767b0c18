"""Rows of a running computation are safe as they finish, shown to readers, resumed, and never mixed with others."""

import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest

import landscape as ls
from landscape import store
from landscape.errors import LandscapeError
from landscape.results import Estimate, Line, Plane
from landscape.store.journal import read_journal
from landscape.store.rows import journal_of

NX, NY = 11, 7


def blank():
    nan = np.full((NY, NX), np.nan)
    return Plane(
        x=np.linspace(-1, 1, NX), y=np.linspace(0, 1, NY), values={"train/loss": nan, "train/accuracy": nan},
        computed=np.zeros((NY, NX), np.uint8), provenance={"device": "cpu"},
    )  # fmt: skip


def row(j):
    return {"train/loss": np.linspace(-1, 1, NX) ** 2 + j, "train/accuracy": np.full(NX, 1 / (j + 1))}


def compute(path, settings=None, stop=NY, **options):
    with store.open_rows(path, "sgd-0/plane", blank(), settings or {"seed": 0}, **options) as rows:
        if rows.stored is not None:
            return rows.stored, []
        todo = [j for j in range(NY) if j not in rows.finished][:stop]
        for j in todo:
            rows.append(j, row(j))
        return (rows.merge() if len(rows.finished) == NY else rows.result()), todo


def whole():
    values = {key: np.stack([row(j)[key] for j in range(NY)]) for key in row(0)}
    return blank().replace(values=values, computed=np.ones((NY, NX), np.uint8))


def assert_same(a, b):
    assert np.array_equal(a.computed, b.computed)
    for key in b.values:
        assert a.values[key].tobytes() == b.values[key].tobytes()


def test_all_rows_then_merged(path):
    result, done = compute(path)
    assert done == list(range(NY))
    assert_same(result, whole())
    assert_same(ls.open_study(path)["sgd-0/plane"], whole())
    assert store.validate(path) == []
    assert [p.name for p in path.parent.iterdir()] == ["study.h5"]  # no journal, no lock


def test_an_interrupted_run_resumes_where_it_was(path):
    partial, _ = compute(path, stop=3)
    assert partial.computed.sum() == 3 * NX
    result, done = compute(path)
    assert done == [3, 4, 5, 6]
    assert_same(result, whole())


def test_a_finished_run_is_found_again(path):
    compute(path)
    result, done = compute(path)
    assert done == []
    assert_same(result, whole())


def test_a_reader_sees_finished_rows_and_a_mask(path):
    with store.open_rows(path, "sgd-0/plane", blank(), {"seed": 0}) as rows:
        for j in (4, 1):
            rows.append(j, row(j))
            seen = ls.open_study(path)["sgd-0/plane"]  # there is no study file yet
            assert_same(seen, rows.result())
        opened = ls.open_study(path)
        assert (opened.names, opened.unfinished) == (("sgd-0/plane",), ("sgd-0/plane",))
        assert seen.computed.any(axis=1).tolist() == [False, True, False, False, True, False, False]
        assert np.isnan(seen.loss[0]).all()
        assert seen.provenance == {"device": "cpu"}
        assert "unfinished: sgd-0/plane" in repr(opened)
    Estimate(value=1.0, standard_error=0.0, matvecs=1, method="x", quantity="trace").save(path, "sgd-0/trace")
    assert ls.open_study(path).names == ("sgd-0/plane", "sgd-0/trace")


def test_other_settings_are_refused_and_named(path):
    compute(path, {"seed": 0, "points": 11}, stop=2)
    with pytest.raises(LandscapeError, match="seed: 0 there, 1 here"):
        compute(path, {"seed": 1, "points": 11})
    compute(path, {"seed": 0, "points": 11})
    with pytest.raises(LandscapeError, match=r"other settings.*overwrite=True"):
        compute(path, {"seed": 1, "points": 11})
    assert compute(path, {"seed": 1, "points": 11}, overwrite=True)[1] == list(range(NY))
    assert compute(path, {"seed": 1, "points": 11})[1] == []


def test_two_runs_of_one_result_do_not_mix(path):
    with store.open_rows(path, "sgd-0/plane", blank(), {"seed": 0}) as rows:
        rows.append(0, row(0))
        with pytest.raises(LandscapeError, match="is being written by another process"):
            compute(path)
        other = store.open_rows(path, "sgd-1/plane", blank(), {"seed": 0})
        other.append(0, row(0))
        other.close()
    assert ls.open_study(path).unfinished == ("sgd-0/plane", "sgd-1/plane")


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
def test_rows_of_another_shape_are_refused(path, index, arrays):
    with store.open_rows(path, "sgd-0/plane", blank(), {}) as rows:
        with pytest.raises(LandscapeError, match="expected"):
            rows.append(index, arrays)
        assert rows.finished == {}
    assert read_journal(journal_of(path, "sgd-0/plane"))[2] == []


def test_rows_that_are_merged_while_a_reader_looks_at_them(path, monkeypatch):
    from landscape.store import reader

    with store.open_rows(path, "sgd-0/plane", blank(), {"seed": 0}) as rows:
        for j in range(NY):
            rows.append(j, row(j))
        opened = ls.open_study(path)
        real = reader.read_rows

        def late(*where):
            rows.merge()
            return real(*where)

        monkeypatch.setattr(reader, "read_rows", late)
        assert_same(opened["sgd-0/plane"], whole())


def test_points_of_a_line(path):
    line = Line(x=np.arange(3.0), values={"train/loss": np.full(3, np.nan)})
    with store.open_rows(path, "sgd-0/line", line, {}) as rows:
        rows.append(1, {"train/loss": np.array(5.0)})
    assert np.array_equal(ls.open_study(path)["sgd-0/line"].loss, [np.nan, 5.0, np.nan], equal_nan=True)


def test_a_class_without_arrays_by_name_has_no_rows(path):
    estimate = Estimate(value=1.0, standard_error=0.0, matvecs=1, method="x", quantity="trace")
    with pytest.raises(LandscapeError, match="not computed row by row"):
        store.open_rows(path, "sgd-0/trace", estimate, {})
    with pytest.raises(LandscapeError, match="JSON values"):
        store.open_rows(path, "sgd-0/plane", blank(), {"model": object()})
    assert not path.parent.joinpath("study.h5.rows").exists() or ls.open_study(path).names == ()


def test_closed_rows_take_no_more(path):
    rows = store.open_rows(path, "sgd-0/plane", blank(), {})
    rows.close()
    with pytest.raises(LandscapeError, match="are closed"):
        rows.append(0, row(0))


def test_a_damaged_row_is_computed_again(path):
    compute(path, stop=4)
    journal = journal_of(path, "sgd-0/plane")
    content = bytearray(journal.read_bytes())
    content[-20] ^= 1
    journal.write_bytes(content)
    assert compute(path)[1] == [3, 4, 5, 6]
    assert_same(ls.open_study(path)["sgd-0/plane"], whole())


SWEEP = """
    import sys, time
    sys.path.insert(0, sys.argv[2])
    import test_rows as t
    from landscape import store
    print("ready", flush=True)
    with store.open_rows(sys.argv[1], "sgd-0/plane", t.blank(), {"seed": 0}) as rows:
        if rows.stored is None:
            for j in [j for j in range(t.NY) if j not in rows.finished]:
                time.sleep(0.01)
                rows.append(j, t.row(j))
            rows.merge()
"""


def kill_while_sweeping(path, kills, seed):
    """Kill a run at random moments, then finish it: as an uninterrupted one, with no row marked that was not written."""
    rng = np.random.default_rng(seed)
    for _ in range(kills):
        command = [sys.executable, "-c", textwrap.dedent(SWEEP), str(path), str(__file__).rsplit("/", 1)[0]]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        time.sleep(float(rng.uniform(0, 0.2)))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        if path.exists() or journal_of(path, "sgd-0/plane").exists():
            assert store.validate(path) == [] or not path.exists()
            if "sgd-0/plane" in (opened := ls.open_study(path)):
                seen = opened["sgd-0/plane"]
                for j in range(NY):
                    marked = seen.computed[j].all()
                    assert marked == seen.computed[j].any()
                    expected = row(j)["train/loss"] if marked else np.full(NX, np.nan)
                    assert seen.loss[j].tobytes() == expected.tobytes()
        if path.exists():
            assert_same(ls.open_study(path)["sgd-0/plane"], whole())
            path.unlink()
    assert_same(compute(path)[0], whole())
    assert_same(ls.open_study(path)["sgd-0/plane"], whole())


def test_killed_runs_resume(path):
    kill_while_sweeping(path, kills=3, seed=0)


@pytest.mark.slow
def test_a_hundred_killed_runs_resume(path):
    kill_while_sweeping(path, kills=100, seed=1)


def test_journalling_a_51_by_51_plane_costs_little(path):
    values = {"train/loss": np.full((51, 51), np.nan), "train/accuracy": np.full((51, 51), np.nan)}
    template = Plane(x=np.arange(51.0), y=np.arange(51.0), values=values, computed=np.zeros((51, 51), np.uint8))
    started = time.process_time()
    with store.open_rows(path, "sgd-0/plane", template, {"seed": 0}) as rows:
        for j in range(51):
            rows.append(j, {key: np.zeros(51) for key in values})
        rows.merge()
    # 2 % of a plane that takes 10 s; waits for the disk are not counted here but in benchmarks/writing.py
    assert time.process_time() - started < 0.2


def test_a_row_may_grow_in_parts_and_says_which(path):
    part = np.arange(NX) % 2 == 0
    with store.open_rows(path, "sgd-0/plane", blank(), {"seed": 0}) as rows:
        rows.append(2, {key: np.where(part, value, np.nan) for key, value in row(2).items()}, part)
        seen = ls.open_study(path)["sgd-0/plane"]
    assert np.array_equal(seen.computed[2], part)
    assert seen.computed.sum() == part.sum()
    with store.open_rows(path, "sgd-0/plane", blank(), {"seed": 0}) as rows:
        assert np.array_equal(rows.finished[2]["computed"], part)
        rows.append(2, row(2))
        assert rows.result().computed[2].all()


def test_what_a_run_begins_with_is_made_once(path):
    made = []

    def template():
        made.append(1)
        return blank().replace(x=np.linspace(-1, 1, NX) ** len(made))

    for _ in range(2):
        with store.open_rows(path, "sgd-0/plane", template, {"seed": 0}) as rows:
            rows.append(0, row(0))
            assert np.array_equal(rows.result().x, blank().x)
    assert len(made) == 1


def test_overwriting_starts_afresh_on_rows_of_other_settings_and_goes_on_with_its_own(path):
    compute(path)
    compute(path, {"seed": 1}, stop=3, overwrite=True)
    assert compute(path, {"seed": 1}, stop=1, overwrite=True)[1] == [3]
    assert compute(path, {"seed": 2}, overwrite=True)[1] == list(range(NY))
