"""The recurrence: A Qᵀ = Qᵀ T + Xᵀ C and Q Qᵀ = I, whatever the block, the restarts and the spectrum."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landscape.errors import LandscapeError, NumericalError
from landscape.spectra.lanczos import Lanczos
from landscape.spectra.protocol import Probes, Products


def recurrence_errors(matrix, run):
    """Return (loss of orthogonality, error of the recurrence relative to the norm)."""
    state = run.state()
    basis, candidates = torch.as_tensor(state.basis).double(), torch.as_tensor(state.candidates).double()
    together = torch.cat([basis, candidates])
    orthogonality = (together @ together.T - torch.eye(len(together), dtype=matrix.dtype)).abs().max()
    right = torch.as_tensor(state.projected) @ basis + torch.as_tensor(state.coupling).T @ candidates
    return float(orthogonality), float((basis @ matrix - right).abs().max() / matrix.abs().max().clamp_min(1e-300))


def start_rows(size, block, seed=0):
    return Probes(size, seed, "gaussian", dtype=torch.float64).rows(0, block)


@pytest.mark.parametrize("block", [1, 3])
def test_recurrence_and_orthogonality_hold_to_1e10(matrix_with, block):
    matrix = matrix_with(np.concatenate([[1e4, 1e3, -1e3], np.linspace(-1, 1, 197)]))
    run = Lanczos(Products(matrix), start_rows(200, block), capacity=100, seed=0)
    for _ in range(90 // block):
        run.step()
    orthogonality, recurrence = recurrence_errors(matrix, run)
    assert orthogonality < 1e-10
    assert recurrence < 1e-10


@pytest.mark.parametrize("block", [1, 2])
def test_recurrence_survives_thick_restarts(matrix_with, block):
    matrix = matrix_with(np.linspace(-3, 5, 60))
    run = Lanczos(Products(matrix), start_rows(60, block), capacity=16, seed=0)
    for _ in range(5):
        while not run.full:
            run.step()
        values, coefficients, _ = run.ritz()
        run.restart(values[-8:], coefficients[:, -8:])
        assert max(recurrence_errors(matrix, run)) < 1e-10
        run.step()
    assert max(recurrence_errors(matrix, run)) < 1e-10


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.sampled_from([0.0, 1.0, -1.0, 2.0, 1e-9, 1e6]), min_size=1, max_size=9),
    block=st.integers(1, 4),
    seed=st.integers(0, 5),
)
def test_a_basis_of_the_whole_space_gives_every_eigenvalue_with_its_multiplicity(values, block, seed):
    matrix = torch.diag(torch.tensor(values, dtype=torch.float64))
    size = len(values)
    block = min(block, size)
    run = Lanczos(Products(matrix), start_rows(size, block, seed), capacity=size, seed=seed)
    while not run.exhausted:
        run.step()
    assert run.size == size
    np.testing.assert_allclose(run.ritz()[0], np.sort(values), atol=1e-12 * max(map(abs, values), default=1) + 1e-300)
    assert recurrence_errors(matrix, run)[0] < 1e-10


def test_float32_basis_stays_orthogonal_to_its_own_rounding(matrix_with):
    matrix = matrix_with(np.geomspace(1e-6, 1e3, 300), dtype=torch.float32)
    run = Lanczos(Products(matrix), start_rows(300, 1).float(), capacity=120, seed=0)
    for _ in range(100):
        run.step()
    assert recurrence_errors(matrix.double(), run)[0] < 5e-6


def test_locked_directions_stay_out_of_the_basis(matrix_with):
    matrix = matrix_with([9.0, 8.0, 1.0, 2.0, 3.0, 4.0])
    locked = torch.linalg.eigh(matrix)[1].T[-2:]
    run = Lanczos(Products(matrix), start_rows(6, 1), capacity=4, seed=0, locked=locked.contiguous())
    while not run.exhausted:
        run.step()
    np.testing.assert_allclose(run.ritz()[0], [1, 2, 3, 4], atol=1e-12)


def test_one_host_transfer_a_block_whatever_the_size_of_the_basis(matrix_with, monkeypatch):
    matrix = matrix_with(np.linspace(0, 1, 100))
    run = Lanczos(Products(matrix), start_rows(100, 1), capacity=100, seed=0)
    transfers = []
    original = torch.Tensor.cpu
    monkeypatch.setattr(
        torch.Tensor, "cpu", lambda self, *a, **k: transfers.append(self.numel()) or original(self, *a, **k)
    )
    counts = []
    for _ in range(40):
        transfers.clear()
        run.step()
        counts.append(len(transfers))
    assert max(counts) == min(counts) <= 2


def test_a_state_of_another_operator_is_refused(matrix_with):
    small = Lanczos(Products(matrix_with([1.0, 2.0])), start_rows(2, 1), capacity=2, seed=0)
    large = Lanczos(Products(matrix_with([1.0, 2.0, 3.0])), start_rows(3, 1), capacity=3, seed=0)
    with pytest.raises(LandscapeError, match="resume with the operator"):
        large.resume(small.state())


def test_an_operator_that_changed_between_save_and_resume_is_noticed(matrix_with):
    first = Lanczos(Products(matrix_with(np.arange(20.0))), start_rows(20, 1), capacity=20, seed=0)
    for _ in range(3):
        first.step()
    other = Lanczos(Products(matrix_with(np.arange(20.0), seed=1)), start_rows(20, 1), capacity=20, seed=0)
    other.resume(first.state())
    with pytest.raises(NumericalError, match="not symmetric"):
        other.step()
