"""A run keeps its parts, goes on where it was, and ends complete, whatever happens on the way."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from study_examples import bits, estimate

import landscape as ls
from landscape import store
from landscape.errors import LandscapeError
from landscape.results import Estimate, Line
from landscape.store import files, journal
from landscape.store.run import partial_file

IDENTITY = {"seed": 0, "of": {"weights_sha256": "12ab"}}


def interrupted(save, parts, identity=IDENTITY, error=KeyboardInterrupt):
    """Keep some parts and stop; return the exception."""

    def compute():
        with ls.Run(save, identity) as run:
            for key, value in parts.items():
                run.keep(key, value)
            raise error

    with pytest.raises(error) as told:
        compute()
    return told.value


PARTS = {
    "number": 1 / 3,
    "text": "é\n\0",
    0: None,
    ("a", 1): (1, [2, (3, None)], {"x": {4: "five"}}),
    "arrays": {"a": np.arange(6.0).reshape(2, 3), "b": (np.array([np.nan, -0.0]), np.array(["x", "yz"]))},
    "odd": [np.empty((0, 3), np.float32), np.array(True), np.asfortranarray(np.arange(6).reshape(2, 3))],
    "numpy": np.float64(2.5),
    "result": Line(x=np.arange(2.0), values={"train/loss": np.ones(2)}, provenance={"n": (1, [2])}),
}


@pytest.mark.parametrize("place", [lambda path: (path, "mine/x"), lambda path: path.with_name("parts")])
def test_parts_come_back_as_they_were(path, place):
    interrupted(place(path), PARTS)
    with ls.Run(place(path), IDENTITY) as run:
        assert list(run.done) == list(PARTS)
        for key, value in PARTS.items():
            expected = value.item() if isinstance(value, np.generic) else value
            assert bits(run.done[key]) == bits(expected), key
        assert run.result is None
        run.done["arrays"]["a"][:] = 0  # arrays can be written to
        run.finish()
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("value", [object(), {1, 2}, np.array([object()]), store.run])
def test_what_cannot_be_kept_is_refused(path, value):
    with ls.Run((path, "mine/x"), IDENTITY) as run:
        with pytest.raises(LandscapeError, match="cannot be stored"):
            run.keep("a", value)
        assert "a" not in run.done


def test_without_a_place_the_loop_is_the_same(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ls.Run(None, IDENTITY) as run:
        run.keep("a", 1)
        assert run.done == {"a": 1}
        assert run.finish(estimate(2.0)).value == run.result.value == 2.0
    assert interrupted(None, {"a": 1}).__notes__ == [
        "nothing is kept; pass save=('study.h5', name) to a computation that is to be resumed"
    ]
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_found_and_leaves_one_file(path):
    with ls.Run((path, "mine/x"), IDENTITY) as run:
        run.keep("a", 1)
        run.finish(estimate())
    assert [file.name for file in path.parent.iterdir()] == ["study.h5"]
    with ls.Run((path, "mine/x"), IDENTITY) as run:
        assert run.result.value == 1.0
        assert run.done == {}
    with ls.Run((path, "mine/x"), IDENTITY, overwrite=True) as run:
        assert run.result is None
        run.finish(estimate(3.0))
    assert ls.open_study(path)["mine/x"].value == 3.0


def test_the_note_of_an_interruption_says_where_it_goes_on(path):
    note = "what is finished of 'mine/x' is kept beside study.h5; the same call goes on from there"
    assert interrupted((path, "mine/x"), {"a": 1}).__notes__ == [note]
    assert interrupted((path, "mine/x"), {}, error=ZeroDivisionError).__notes__ == [note]
    assert not hasattr(interrupted((path, "mine/y"), {}), "__notes__")
    assert [file.name for file in path.parent.glob("*/*")] == ["mine+x.journal"]


@pytest.mark.parametrize("finished", [False, True])
def test_another_computation_is_refused_in_a_line_that_says_what_differs(path, finished):
    if finished:
        with ls.Run((path, "mine/x"), IDENTITY) as run:
            run.finish(estimate())
    else:
        interrupted((path, "mine/x"), {"a": 1})
    other = {"of": {"weights_sha256": "34cd"}, "seed": 0}
    start, remedy = (
        ("of", "") if finished else (r"mine\+x\.journal in study\.h5\.partial belongs to", "repeat that one, ")
    )
    message = (
        rf"{start} another computation \(of\.weights_sha256: '12ab' there, '34cd' here\); {remedy}choose another name"
    )
    with pytest.raises(LandscapeError, match=message), ls.Run((path, "mine/x"), other):
        pass
    with ls.Run((path, "mine/x"), other, overwrite=True) as run:
        assert run.done == {}
        run.finish(estimate(2.0))
    assert ls.open_study(path)["mine/x"].value == 2.0


def test_what_was_saved_by_hand_is_not_replaced(path):
    estimate().save(path, "mine/x")
    with pytest.raises(LandscapeError, match=r"'mine/x' in study\.h5 already holds a result from elsewhere"):
        ls.Run((path, "mine/x"), IDENTITY).__enter__()


@pytest.mark.parametrize(
    ("save", "message"),
    [
        ("study.h5", "does not say what to call the result"),
        (("study.h5",), "does not say what to call the result"),
        ((3, "mine/x"), "does not say what to call the result"),
        (("study.h5", "x"), "owner/entry"),
        (("study.h5", "../x"), "is no slug"),
        (("no/study.h5", "mine/x"), "there is no folder 'no' for study.h5; make it first"),
    ],
)
def test_places_are_checked_first(tmp_path, monkeypatch, save, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(LandscapeError, match=message):
        ls.Run(save, IDENTITY, kind=Estimate)


def test_a_relative_place_is_that_of_the_call(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = ls.Run(("study.h5", "mine/x"), IDENTITY)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with run:
        run.keep("a", 1)
        run.finish(estimate())
    assert (tmp_path / "study.h5").exists()
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("code", [None, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_two_cannot_compute_one_result_also_without_locks_of_the_file_system(path, monkeypatch, code):
    def no_locks(fd, operation):
        raise OSError(code, os.strerror(code))

    if code is not None:
        monkeypatch.setattr("fcntl.flock", no_locks)
    with ls.Run((path, "mine/x"), IDENTITY) as run:
        with pytest.raises(LandscapeError, match="is being written by another process"):
            ls.Run((path, "mine/x"), IDENTITY).__enter__()
        run.keep("a", 1)
        run.finish(estimate())
    assert [file.name for file in path.parent.iterdir()] == ["study.h5"]


def test_a_part_that_is_kept_again_and_again_takes_its_room_once(path):
    state, file = np.zeros(10_000), partial_file(path, "mine/x")
    with ls.Run((path, "mine/x"), IDENTITY) as run:
        run.keep("small", "first")
        for step in range(5):
            run.keep("state", state + step)
            assert file.stat().st_size < 1.1 * state.nbytes
        run.keep("last", 1)
    with ls.Run((path, "mine/x"), IDENTITY) as run:
        assert dict(run.done).keys() == {"small", "state", "last"}
        assert run.done["state"][0] == 4


def test_a_full_disk_keeps_what_was_there(path, monkeypatch):
    real = os.write

    def write(fd, data):
        if len(data) > 1000:
            real(fd, data[:10])
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data)

    with ls.Run((path, "mine/x"), IDENTITY) as run:
        run.keep("a", 1)
        with monkeypatch.context() as patch:
            patch.setattr(journal.os, "write", write)
            for key in "ab":
                with pytest.raises(LandscapeError, match=r"No space left on device; what was finished before is kept"):
                    run.keep(key, np.zeros(1000))
        assert run.done == {"a": 1}
        run.keep("c", 3)
    with ls.Run((path, "mine/x"), IDENTITY) as run:
        assert run.done == {"a": 1, "c": 3}


def test_a_last_save_that_fails_discards_nothing(path, monkeypatch):
    def no_room(*arguments, **options):
        raise LandscapeError("cannot write study.h5: No space left on device; it is as it was before")

    def compute():
        with ls.Run((path, "mine/x"), IDENTITY) as run:
            run.keep("a", 1)
            run.finish(estimate(5.0))

    with monkeypatch.context() as patch:
        patch.setattr(store.run, "batch", no_room)
        with pytest.raises(LandscapeError, match="No space left") as told:
            compute()
    assert told.value.__notes__[0].endswith("the same call stores it")
    with ls.Run((path, "mine/x"), IDENTITY) as run:
        assert run.result.value == 5.0
    assert [file.name for file in path.parent.iterdir()] == ["study.h5"]
    assert ls.open_study(path)["mine/x"].value == 5.0


def test_killed_between_storing_the_result_and_removing_the_parts(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(ls.Run, "_drop", lambda run: None)
        with ls.Run((path, "mine/x"), IDENTITY) as run:
            run.keep("a", 1)
            run.finish(estimate(5.0))
    assert partial_file(path, "mine/x").exists()
    with ls.Run((path, "mine/x"), IDENTITY) as run:
        assert run.result.value == 5.0
    assert [file.name for file in path.parent.iterdir()] == ["study.h5"]


def finish_many(path, fail):
    with store.batch(path):
        for index in range(3):
            with ls.Run((path, f"sgd-{index}/x"), IDENTITY) as run:
                run.keep("a", index)
                run.finish(estimate(float(index)))
        assert not path.exists()
        if fail:
            raise ZeroDivisionError


def test_runs_within_a_batch_are_stored_together_and_lost_with_none(path):
    with pytest.raises(ZeroDivisionError):
        finish_many(path, fail=True)
    assert not path.exists()
    assert len(list(path.parent.glob("*/*.journal"))) == 3
    for index in range(3):
        with ls.Run((path, f"sgd-{index}/x"), IDENTITY) as run:
            assert run.result.value == index
    finish_many(path.with_name("other.h5"), fail=False)
    assert sorted(file.name for file in path.parent.iterdir()) == ["other.h5", "study.h5"]


def test_every_part_is_on_the_disk_when_keep_returns(path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_size))
    with ls.Run((path, "mine/x"), IDENTITY) as run:
        for i in range(4):
            run.keep(i, "x" * i)
            assert synced[-1] == partial_file(path, "mine/x").stat().st_size
    assert len(synced) == 6  # the file, its folder, and each part once
    assert files.os is os


KILLED = """
    import sys, time
    import numpy as np
    import landscape as ls
    from landscape.results import Estimate
    with ls.Run((sys.argv[1], "mine/x"), {"seed": 0}) as run:
        if run.result is None:
            for i in range(40):
                if i not in run.done:
                    run.keep(i, np.random.default_rng(i).standard_normal(500))
                    run.keep("state", np.full(3000, i))
                print(i, flush=True)
                time.sleep(0.002)
            total = sum(run.done[i] for i in range(40))
            assert run.done["state"][0] == 39
            run.finish(Estimate(value=0.0, standard_error=0.0, matvecs=0, method="x", quantity="trace", samples=total))
"""


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_runs_end_as_if_they_had_not_been(path, kills):
    rng, script = np.random.default_rng(kills), textwrap.dedent(KILLED)
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        time.sleep(float(rng.uniform(0, 0.08)))
        process.send_signal(signal.SIGKILL)
        process.communicate()
    subprocess.run([sys.executable, "-c", script, str(path)], check=True, stdout=subprocess.DEVNULL)
    assert [file.name for file in path.parent.iterdir()] == ["study.h5"]
    assert store.validate(path) == []
    expected = sum(np.random.default_rng(i).standard_normal(500) for i in range(40))
    assert np.array_equal(ls.open_study(path)["mine/x"].samples, expected)
