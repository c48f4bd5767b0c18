"""Several processes with parts of the data find what one process finds, and the same bits as each other."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


def measured(folder, counts, *wanted):
    """Return {processes: [what each found]}; the processes are started once for all assertions."""
    place, script = folder / "found", Path(__file__).with_name("processes.py")
    arguments = pickle.dumps((str(place), counts, wanted)).hex()
    subprocess.run([sys.executable, str(script), arguments], check=True, timeout=550)
    found = pickle.loads(place.read_bytes())
    assert not (failed := [one for every in found.values() for one in every if isinstance(one, str)]), failed[0]
    return found


ROUNDED = {"curvature-at-scale 0.001": 1e-7, "curvature-at-scale 0.01": 1e-9} | dict.fromkeys(
    ["adaptive-average 0.1", "adaptive-average 0.2", "adaptive-average 0.8", "lpf 0.01", "local-entropy 10000.0"], 1e-11
)
"""Differences of nearly equal losses, or those divided by the square of a step."""


def require_equal(found, count):
    """Compare what several processes found with each other bit for bit, and with one process to 1e-12."""
    for name, expected in found[1][0].items():
        for key, value in expected.items():
            every = [one[name][key] for one in found[count]]
            if isinstance(value, str):
                assert every == [value] * count, key
                continue
            assert all(np.array_equal(every[0], other, equal_nan=True) for other in every), key
            size = np.abs(value).max(initial=0.0, where=np.isfinite(value))
            np.testing.assert_allclose(
                every[0], value, atol=max(ROUNDED.get(key, 1e-12) * size, 1e-15), rtol=0, err_msg=key
            )


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Return what one and two processes found, and what two refused."""
    wanted = [("products", 33), ("spectra", 33), ("refusals", 33), ("sharded_refusals", 33)]
    return measured(tmp_path_factory.mktemp("group"), (1, 2), *wanted, *(("sharded_products", 33, how) for how in HOW))


HOW = ("fsdp", "tensor-parallel")


def test_two_processes_find_what_one_finds(found):
    require_equal(found, 2)


REFUSALS = {
    "refusals": {
        "models": "different weights; all must make the same objects",
        "architectures": "different models",
        "seeds": "different seeds (0 and 1)",
        "few": "1 examples for 2 processes; use at most 1",
        "group": "expected a torch.distributed process group, or True",
    },
    "sharded_refusals": {
        "batches": "processes 0 and 1 have different numbers of batches (3 and 4)",
        "single": "process 0 has a batch of one example, others have more; give every process two at least",
        "types": "processes 0 and 1 have different types",
        "no mesh": "the model's shards have no mesh (FullyShardedDataParallel flattens them); shard it with",
        "score": "keskar is not defined for a sharded model",
        "block": "a block by name is not defined for a sharded model; pass parameters= to the objective",
        "dense": "has its rows in several processes: use products",
    },
}


@pytest.mark.parametrize(
    ("function", "name"), [(function, name) for function in REFUSALS for name in REFUSALS[function]]
)
def test_what_cannot_be_done_is_said_by_all(found, function, name):
    first, second = (one[function][name] for one in found[2])
    assert REFUSALS[function][name] in first
    assert first == second


def test_an_error_of_one_process_is_raised_by_all_and_each_may_have_its_own_data(found):
    first, second = (one["refusals"] for one in found[2])
    assert first["labels"] == "LandscapeError: process 1: " + second["labels"].removeprefix("LandscapeError: ")
    assert first["own data"] == second["own data"] == "9"


@pytest.mark.slow
@pytest.mark.parametrize("examples", [33, 1797])
@pytest.mark.parametrize("how", ["fully", *HOW])
def test_shards_in_two_and_three_processes(tmp_path, examples, how):
    found = measured(tmp_path, (1, 2, 3), ("sharded_products", examples, how), ("sharded", examples, how))
    for count in (2, 3):
        require_equal(found, count)


@pytest.mark.parametrize(
    ("wrote", "reads"),
    [
        (1, 2),
        pytest.param(3, 2, marks=pytest.mark.slow),
        pytest.param(3, 3, marks=pytest.mark.slow),
    ],
)
def test_every_process_reads_its_own_shards_of_a_checkpoint(tmp_path, wrote, reads):
    measured(tmp_path, (wrote,), ("saved", str(tmp_path / "step")))
    for one in measured(tmp_path, (reads,), ("restored", str(tmp_path / "step")))[reads]:
        found = one["restored"]
        assert found["whole"]
        assert found["held"] <= found["read"] < found["held"] + 100_000
        assert found["held"] < 1.1 * 4 * (512 * 4096 + 4096 + 40970) / reads
        assert (
            "'linear1.weight' has shape (4096, 512), the model's (1024, 512); build the model it was" in found["other"]
        )


@pytest.mark.slow
@pytest.mark.parametrize("how", HOW)
def test_scores_and_comparisons_of_sharded_networks(tmp_path, how):
    found = measured(tmp_path, (1, 2), ("sharded_panel", 33, how), ("sharded_comparison", 33, how))
    require_equal(found, 2)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["fsdp × tensor-parallel", "hybrid"])
def test_shards_on_a_mesh_of_two_dimensions(tmp_path, how):
    found = measured(tmp_path, (1, 4), ("sharded_products", 33, how), ("sharded", 33, how))
    require_equal(found, 4)


@pytest.mark.slow
@pytest.mark.parametrize("examples", [33, 1797])
def test_every_measurement_in_two_and_three_processes(tmp_path, examples):
    wanted = [(name, examples) for name in ("products", "spectra", "panel", "comparison")]
    wanted[2] += ("all",) if examples == 33 else ()
    found = measured(tmp_path, (1, 2, 3), *wanted)
    for count in (2, 3):
        require_equal(found, count)


@pytest.mark.slow
def test_a_process_that_ends_or_hangs_is_named(tmp_path):
    found = measured(tmp_path, (3,), ("loss_of_life", 33))[3]
    for survivor in (0, 2):
        said = found[survivor]["loss_of_life"]
        assert said["hangs"].startswith("LostProcessError: process 1 of 3 did not come to an exchange in time;")
        assert said["ends"].startswith("LostProcessError: process 1 of 3 has ended;")


@pytest.mark.slow
def test_one_of_three_killed_at_ten_moments_and_gone_on_with_two():
    script = Path(__file__).with_name("kills.py")
    done = subprocess.run([sys.executable, str(script), "10"], check=True, timeout=590, capture_output=True, text=True)
    assert "of 10 killed with a part kept" in done.stdout  # most of them, or the script fails
