"""A run that was killed goes on where it was and gives the same eigenpairs."""

import numpy as np
import pytest
import torch

from landscape.errors import LandscapeError
from landscape.spectra import top_eigenpairs
from landscape.store import Run, open_study

SPECTRUM = np.concatenate([[-9.0, -4.0, 7.0, 6.0, 5.0], np.linspace(-4.5, 4.5, 195)])
OPTIONS = {"k": 4, "which": "LM", "tol": 1e-7, "max_basis": 20}


class Stop(Exception):
    pass


def stop_at(number, error):
    def act(count, product):
        if count == number:
            raise error
        return product

    return act


@pytest.mark.parametrize("block_size", [1, 2])
@pytest.mark.parametrize("moment", [1, 7, 23, 40])
def test_resumed_from_any_state_gives_the_same_digits(matrix_with, counting, moment, block_size):
    matrix = matrix_with(SPECTRUM)
    whole = top_eigenpairs(counting(matrix), block_size=block_size, **OPTIONS)
    states = []
    with pytest.raises(Stop):
        top_eigenpairs(
            counting(matrix, stop_at(moment * block_size, Stop())),
            block_size=block_size,
            checkpoint=states.append,
            **OPTIONS,
        )
    assert len(states) == moment - 1
    resumed = top_eigenpairs(counting(matrix), block_size=block_size, resume=states[-1] if states else None, **OPTIONS)
    np.testing.assert_array_equal(resumed.values, whole.values)
    np.testing.assert_array_equal(resumed.vectors, whole.vectors)
    assert resumed.matvecs == whole.matvecs
    assert resumed.restarts == whole.restarts > 0
    np.testing.assert_array_equal(resumed.history, whole.history)


@pytest.mark.parametrize("kept", ["checkpoint", "save"])
def test_the_same_call_goes_on_after_an_interrupt(matrix_with, counting, tmp_path, kept):
    matrix, study = matrix_with(SPECTRUM), tmp_path / "study.h5"
    place = {"checkpoint": tmp_path / "run.npz"} if kept == "checkpoint" else {"save": (study, "sgd-0/top4")}
    left = "run.npz" if kept == "checkpoint" else "sgd-0+top4.journal"
    whole = top_eigenpairs(counting(matrix), **OPTIONS)
    with pytest.raises(KeyboardInterrupt) as ended:
        top_eigenpairs(counting(matrix, stop_at(25, KeyboardInterrupt())), **place, **OPTIONS)
    assert "the same call goes on from there" in ended.value.__notes__[0]
    assert [file.name for file in tmp_path.rglob("*.*") if file.is_file()] == [left]
    operator = counting(matrix)
    resumed = top_eigenpairs(operator, **place, **OPTIONS)
    assert operator.count == whole.matvecs - 23 + 1  # what does not say what it is, is told by one product more
    assert [file.name for file in tmp_path.iterdir()] == ([] if kept == "checkpoint" else ["study.h5"])
    for found in [resumed] if kept == "checkpoint" else [resumed, open_study(study)["sgd-0/top4"]]:
        for name in ("values", "vectors", "history", "history_matvecs"):
            np.testing.assert_array_equal(getattr(found, name), getattr(whole, name))


def test_an_interrupt_without_a_file_names_the_remedy(matrix_with, counting):
    with pytest.raises(KeyboardInterrupt) as ended:
        top_eigenpairs(counting(matrix_with(SPECTRUM), stop_at(25, KeyboardInterrupt())), **OPTIONS)
    assert "pass save=('study.h5', name)" in ended.value.__notes__[0]


def test_a_file_of_another_run_is_refused(matrix_with, counting, tmp_path):
    matrix, path = matrix_with(SPECTRUM), tmp_path / "run.npz"

    def of(weights, act=None):
        operator = counting(matrix, act)
        operator.provenance = {"weights_sha256": weights}
        return operator

    with pytest.raises(KeyboardInterrupt):
        top_eigenpairs(of("first", stop_at(25, KeyboardInterrupt())), checkpoint=path, **OPTIONS)
    with pytest.raises(LandscapeError, match="which: 'LM' there, 'SA' here"):
        top_eigenpairs(of("first"), checkpoint=path, **{**OPTIONS, "which": "SA"})
    with pytest.raises(LandscapeError, match="weights_sha256: 'first' there, 'second' here"):
        top_eigenpairs(of("second"), checkpoint=path, **OPTIONS)
    path.write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(LandscapeError, match="not a journal of this package"):
        top_eigenpairs(of("first"), checkpoint=path, **OPTIONS)


def test_a_stored_run_is_found_again_by_what_was_multiplied(matrix_with, counting, tmp_path):
    matrix, save = matrix_with(SPECTRUM), (tmp_path / "study.h5", "sgd-0/top4")
    whole = top_eigenpairs(counting(matrix), save=save, **OPTIONS)
    operator = counting(matrix)
    np.testing.assert_array_equal(top_eigenpairs(operator, save=save, **OPTIONS).vectors, whole.vectors)
    assert operator.count == 1  # it does not say what it is: one product tells
    for other, options in ((counting(2 * matrix), OPTIONS), (matrix, OPTIONS), (counting(matrix), {**OPTIONS, "k": 3})):
        with pytest.raises(LandscapeError, match="already holds a result of another computation"):
            top_eigenpairs(other, save=save, **options)
    top_eigenpairs(matrix, save=save, overwrite=True, **OPTIONS)
    with pytest.raises(LandscapeError, match="matrix: '"):
        top_eigenpairs(2 * matrix, save=save, **OPTIONS)


def test_a_full_disk_costs_the_keeping_and_not_the_computation(matrix_with, counting, tmp_path, monkeypatch):
    def full(run, key, value):
        raise LandscapeError("cannot write sgd-0+top4.journal: No space left on device")

    monkeypatch.setattr(Run, "keep", full)
    save = (tmp_path / "study.h5", "sgd-0/top4")
    with pytest.warns(UserWarning, match="No space left on device; the computation goes on") as told:
        pairs = top_eigenpairs(counting(matrix_with(SPECTRUM)), save=save, checkpoint_seconds=0.0, **OPTIONS)
    assert len(told) == 1
    assert open_study(save[0])["sgd-0/top4"].matvecs == pairs.matvecs


def test_where_a_run_is_saved_is_checked_before_the_first_product(matrix_with, counting, tmp_path):
    operator = counting(matrix_with(SPECTRUM))
    with pytest.raises(LandscapeError, match="owner/entry"):
        top_eigenpairs(operator, save=(tmp_path / "study.h5", "top4"), **OPTIONS)
    with pytest.raises(LandscapeError, match="leave out checkpoint="):
        top_eigenpairs(operator, save=(tmp_path / "study.h5", "a/b"), checkpoint=tmp_path / "c.npz", **OPTIONS)
    assert operator.count == 0


@pytest.mark.parametrize("moment", range(2, 8))
def test_resumed_in_the_middle_of_an_invariant_subspace(counting, moment):
    matrix = torch.diag(torch.tensor([5.0, 5.0, 5.0] + [1.0] * 97, dtype=torch.float64))
    whole = top_eigenpairs(counting(matrix), 4)
    states = []
    with pytest.raises(Stop):
        top_eigenpairs(counting(matrix, stop_at(moment, Stop())), 4, checkpoint=states.append)
    resumed = top_eigenpairs(counting(matrix), 4, resume=states[-1])
    np.testing.assert_array_equal(resumed.vectors, whole.vectors)
    assert (resumed.matvecs, resumed.restarts) == (whole.matvecs, whole.restarts)
