"""Two-pass Gram–Schmidt: W = C·Q + R·X exactly, X orthonormal to Q, whatever W is."""

from itertools import count

import numpy as np
import pytest
import torch

from landscape.spectra.basis import Basis, orthonormalise
from landscape.spectra.protocol import Probes


@pytest.fixture
def basis():
    filled = Basis(30)
    filled.append(torch.linalg.qr(Probes(30, 0, "gaussian", dtype=torch.float64).rows(0, 10).T)[0].T.contiguous())
    return filled


def split(rows, basis, room=20, negligible=1e-13):
    numbers = count(100)
    probes = Probes(30, 0, "gaussian", dtype=torch.float64)
    result = orthonormalise(
        rows, basis, room=room, negligible=negligible, draw=lambda: probes.rows(n := next(numbers), n + 1)[0]
    )
    together = torch.cat([basis.rows(), result.rows])
    np.testing.assert_allclose(together @ together.T, np.eye(len(together)), atol=1e-13)
    rebuilt = result.coefficients.T @ basis.rows().numpy() + result.triangle.T @ result.rows.numpy()
    return result, float(np.abs(rebuilt - rows.numpy()).max())


@pytest.mark.parametrize("block", [1, 3])
def test_generic_rows(basis, block):
    result, error = split(Probes(30, 1, "gaussian", dtype=torch.float64).rows(0, block), basis)
    assert result.rows.shape == (block, 30)
    assert result.fresh == 0
    assert error < 1e-13


def test_rows_almost_inside_the_basis_stay_orthogonal(basis):
    rows = basis.rows()[:2] + 1e-9 * Probes(30, 1, "gaussian", dtype=torch.float64).rows(0, 2)
    result, error = split(rows, basis)
    assert result.fresh == 0
    assert error < 1e-15


@pytest.mark.parametrize("block", [1, 2])
def test_rows_inside_the_basis_are_replaced(basis, block):
    result, error = split(3 * basis.rows()[:block], basis)
    assert result.fresh == block
    assert np.abs(result.triangle).max() < 1e-15
    assert error < 1e-13


def test_dependent_rows_are_replaced_one_by_one(basis):
    row = Probes(30, 1, "gaussian", dtype=torch.float64).rows(0, 1)[0]
    result, error = split(torch.stack([row, 2 * row, basis.rows()[0], torch.zeros(30, dtype=torch.float64)]), basis)
    assert result.fresh == 3
    assert result.rows.shape == (4, 30)
    assert error < 1e-13


@pytest.mark.parametrize("room", [0, 1])
def test_a_full_space_gives_fewer_rows(basis, room):
    rows = 1e-3 * basis.rows()[:2]
    result, error = split(rows, basis, room=room)
    assert result.rows.shape == (room, 30)
    assert error < 1e-15
