"""A study file is complete and valid, or absent: overwriting, batches, locks, full disks, killed writers."""

import resource
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
from study_examples import estimate

import landscape as ls
from landscape import store
from landscape.errors import LandscapeError
from landscape.results import Line, Plane
from landscape.store.files import locked


def leftovers(path):
    return sorted(p.name for p in path.parent.iterdir() if p != path)


def test_saving_the_same_again_changes_nothing(path):
    estimate(seconds=1.0).save(path, "sgd-0/trace")
    before = path.stat().st_mtime_ns, path.read_bytes()
    estimate(seconds=2.0, provenance={"run": 2}).save(path, "sgd-0/trace")
    assert (path.stat().st_mtime_ns, path.read_bytes()) == before
    assert leftovers(path) == []


@pytest.mark.parametrize("other", [estimate(2.0), Line(x=np.arange(2.0), values={}), estimate(provenance={"run": 2})])
def test_something_different_needs_overwrite(path, other):
    estimate(1.0).save(path, "sgd-0/a")
    if not other.provenance:
        with pytest.raises(LandscapeError, match=r"already holds a different result.*overwrite=True"):
            other.save(path, "sgd-0/a")
    assert ls.open_study(path)["sgd-0/a"].value == 1.0
    other.save(path, "sgd-0/a", overwrite=True)
    assert repr(ls.open_study(path)["sgd-0/a"]) == repr(other)
    assert ls.open_study(path)["sgd-0/a"].provenance == other.provenance
    assert ls.open_study(path).kinds == {"sgd-0/a": other.kind}


def test_overwriting_again_and_again_does_not_let_the_file_grow(path):
    plane = {"y": np.arange(90.0), "values": {"train/loss": np.random.default_rng(0).standard_normal((90, 90))}}
    sizes = []
    for i in range(6):
        Plane(x=np.arange(90.0) + i, computed=np.ones((90, 90)), **plane).save(path, "sgd-0/p", overwrite=True)
        estimate().save(path, "sgd-0/trace")
        sizes.append(path.stat().st_size)
    assert sizes[-1] < sizes[1] + 20_000  # what was deleted leaves room for what comes; texts leave 4 kB each time
    assert store.validate(path) == []
    with h5py.File(path) as file:  # with its scales
        loss = file["checkpoints/sgd-0/slices/p/train/loss"]
        assert [loss.dims[0].keys(), loss.dims[1].keys()] == [["y"], ["x"]]
        assert loss.dims[1][0][0] == 5.0


@pytest.mark.parametrize(
    "name", ["trace", "a/b/c", "SGD/trace", "sgd 0/trace", "../trace", "/trace", "", "sgd-0/", 3, None]
)
def test_names_are_slugs(path, name):
    with pytest.raises(LandscapeError, match="name"):
        estimate().save(path, name)
    assert not path.exists()


def test_a_batch_is_stored_as_a_whole(path):
    with store.batch(path) as writer:
        for i in range(5):
            writer.save(estimate(float(i)), f"sgd-{i}/trace")
        writer.describe_checkpoint("sgd-0", {"lr": 0.1, "long_name": "SGD"})
        estimate(5.0).save(path, "sgd-5/trace")  # saved within, stored with the others
        writer.save(estimate(5.0), "sgd-5/trace")
        with pytest.raises(LandscapeError, match="different result"):
            estimate(6.0).save(path, "sgd-5/trace")
        with pytest.raises(LandscapeError, match="not a dict"):
            store.save({"value": 1.0}, path, "sgd-0/trace")
        assert not path.exists()
    opened = ls.open_study(path)
    assert [opened[f"sgd-{i}/trace"].value for i in range(6)] == [0, 1, 2, 3, 4, 5]
    assert opened.checkpoints["sgd-0"] == {"lr": 0.1, "long_name": "SGD"}


def save_all_then_fail(path):
    with store.batch(path) as writer:
        writer.save(estimate(), "sgd-1/trace")
        raise ZeroDivisionError


def test_a_batch_that_fails_stores_nothing(path):
    estimate().save(path, "sgd-0/trace")
    before = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        save_all_then_fail(path)
    assert path.read_bytes() == before
    assert leftovers(path) == []


def test_a_batch_goes_on_after_a_refused_result_without_half_of_it(path):
    bad = Plane(x=np.arange(2.0), y=np.arange(2.0), values={"train/loss": np.ones((2, 2))}, computed=np.ones(3))
    with store.batch(path) as writer:
        writer.save(estimate(), "sgd-0/trace")
        with pytest.raises(LandscapeError, match="dimensions"):
            writer.save(bad, "sgd-0/trace", overwrite=True)
        writer.save(estimate(), "sgd-1/trace")
    assert ls.open_study(path).kinds == {"sgd-0/trace": "estimate", "sgd-1/trace": "estimate"}
    assert store.validate(path) == []


def test_the_root_tells_how_the_file_was_made(path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/home/ada/secret/train.py", "--out=/home/ada/secret/x.h5", "0.1"])
    estimate(provenance={"device": "cpu", "seed": 3}).save(path, "sgd-0/trace")
    about = ls.open_study(path).attributes
    assert about["command"] == "train.py --out=x.h5 0.1"
    assert about["format"] == "landscape-study"
    assert (about["device"], about["seed"]) == ("cpu", 3)
    assert about["created"].endswith("+00:00")
    assert b"secret" not in path.read_bytes()


def test_a_link_to_the_file_stays_a_link_and_permissions_are_kept(path, tmp_path):
    estimate().save(path, "sgd-0/trace")
    link = tmp_path / "link.h5"
    link.symlink_to(path)
    path.chmod(0o640)
    estimate().save(link, "sgd-1/trace")
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert ls.open_study(path).names == ("sgd-0/trace", "sgd-1/trace")


def test_another_writer_is_named_and_readers_go_on(path):
    estimate().save(path, "sgd-0/trace")
    with locked(path):
        started, busy = time.monotonic(), r"study\.h5 is being written by another process"
        with pytest.raises(LandscapeError, match=busy), store.batch(path, wait=0.1):
            pass
        assert time.monotonic() - started < 5
        assert ls.open_study(path)["sgd-0/trace"].value == 1.0
    assert leftovers(path) == []


def test_a_second_writer_waits_for_the_first(path):
    def write(i):
        estimate(float(i)).save(path, f"sgd-{i}/trace")

    threads = [threading.Thread(target=write, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert ls.open_study(path).names == tuple(f"sgd-{i}/trace" for i in range(6))


def test_the_lock_of_a_dead_writer_does_not_hold(path):
    path.with_name("study.h5.lock").write_text("process 1 on elsewhere")
    path.with_name(".study.h5.deadbeef.tmp").write_bytes(b"half")
    estimate().save(path, "sgd-0/trace")
    assert leftovers(path) == []


@pytest.mark.parametrize("driver", ["sec2", "stdio"])
def test_a_file_that_h5py_reads_meanwhile_is_read_and_written(path, driver):
    estimate().save(path, "sgd-0/trace")
    with h5py.File(path, driver=driver) as beside:
        assert ls.open_study(path)["sgd-0/trace"].value == 1.0
        estimate().save(path, "sgd-1/trace")
        estimate(2.0).save(path, "sgd-0/trace", overwrite=True)
        assert beside["checkpoints/sgd-0/estimates/trace"].attrs["value"] == 1.0
    assert ls.open_study(path)["sgd-0/trace"].value == 2.0


def test_a_file_that_h5py_writes_meanwhile_is_told_from_a_damaged_one(path):
    estimate().save(path, "sgd-0/trace")
    with h5py.File(path, "r+") as beside:
        beside.attrs["note"] = "mine"
        for use in (ls.open_study, lambda p: estimate().save(p, "sgd-1/trace")):
            with pytest.raises(LandscapeError, match="is open for writing in another program; close it there first"):
                use(path)
    estimate().save(path, "sgd-1/trace")
    assert ls.open_study(path).attributes["note"] == "mine"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "none" / "study.h5", "No such file or directory; choose a folder"),
        (lambda p: p, "is a folder"),
        (lambda p: (p / "file").write_text("x") and p / "file" / "study.h5", "Not a directory"),
        (lambda p: Path("/proc/study.h5"), "cannot write"),
    ],
)
def test_places_that_cannot_be_written(tmp_path, make, message):
    with pytest.raises(LandscapeError, match=message):
        estimate().save(make(tmp_path), "sgd-0/trace")


def test_files_of_others_are_not_written(tmp_path):
    (tmp_path / "text.h5").write_text("hello")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    for name in ("text.h5", "other.h5"):
        before = (tmp_path / name).read_bytes()
        with pytest.raises(LandscapeError, match=r"no HDF5 file|no study"):
            estimate().save(tmp_path / name, "sgd-0/trace", overwrite=True)
        assert (tmp_path / name).read_bytes() == before


def run(code, *arguments, **options):
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)], **options)


FULL = """
    import resource, signal, sys
    import numpy as np
    from landscape.errors import LandscapeError
    from landscape.results import Estimate
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    noise = np.random.default_rng(0).standard_normal(100_000)
    result = Estimate(value=1.0, standard_error=0.1, matvecs=3, method="x", quantity="trace", samples=noise)
    try:
        result.save(sys.argv[1], "sgd-1/trace")
    except LandscapeError as error:
        print(error)
"""


@pytest.mark.parametrize("limit", [10_000, 100_000, 500_000])
def test_a_full_disk_leaves_the_old_file(path, limit):
    estimate().save(path, "sgd-0/trace")
    before = path.read_bytes()
    process = run(FULL, path, max(limit, len(before)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = process.communicate(timeout=60)
    assert out.startswith("cannot write study.h5: File too large; it is as it was before"), (out, err)
    assert err == ""  # HDF5 does not complain a second time
    assert process.returncode == 0
    assert path.read_bytes() == before
    assert leftovers(path) == []


KILLED = """
    import sys
    from landscape import store
    from landscape.results import Estimate
    import numpy as np
    path, start = sys.argv[1], int(sys.argv[2])
    for i in range(start, 10_000):
        noise = np.random.default_rng(i).standard_normal(5_000)
        result = Estimate(value=float(i), standard_error=0.0, matvecs=1, method="x", quantity="trace", samples=noise)
        store.save(result, path, f"sgd-{i % 7}/trace", overwrite=True)
        print(i, flush=True)
"""


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_after_a_kill_at_any_moment_the_file_holds_everything_reported_as_saved(path, kills):
    rng, last = np.random.default_rng(kills), -1
    for _ in range(kills):
        process = run(KILLED, path, last + 1, stdout=subprocess.PIPE, text=True)
        line = process.stdout.readline()  # from here on it is saving
        time.sleep(float(rng.uniform(0, 0.3)))
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        process.wait()
        process.stdout.close()
        last = int(rest[-1] if rest else line)
        opened = ls.open_study(path)
        assert store.validate(path) == []
        values = {name: opened[name] for name in opened}
        for i in range(max(0, last - 6), last + 1):
            name = f"sgd-{i % 7}/trace"
            assert values[name].value in (i, last + 1)
            kept = int(values[name].value)
            assert np.array_equal(values[name].samples, np.random.default_rng(kept).standard_normal(5_000))
        last = max(last, *(int(value.value) for value in values.values()))
    estimate().save(path, "sgd-0/last")
    assert leftovers(path) == []


def test_readers_beside_a_writer_always_see_a_whole_file(path):
    estimate().save(path, "sgd-0/first")
    process = run(KILLED, path, 0, stdout=subprocess.DEVNULL)
    try:
        opened, ends, seen = ls.open_study(path), time.monotonic() + 60.0, set()
        while time.monotonic() < ends and len(seen) < 5:
            for name in opened:
                seen.add(opened[name].value)
    finally:
        process.kill()
        process.wait()
    assert len(seen) >= 2


def test_saving_does_not_need_more_memory_than_the_result(path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    estimate(samples=np.random.default_rng(0).standard_normal(4_000_000)).save(path, "sgd-0/trace")  # 32 MB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000
