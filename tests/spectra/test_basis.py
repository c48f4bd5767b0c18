"""The basis: chunks and slices are invisible."""

import numpy as np
import pytest
import torch

import landscape as ls
import landscape.spectra.basis as module
from landscape.spectra.basis import Basis, planned
from landscape.spectra.protocol import Products


@pytest.mark.parametrize("count", [1, 15, 16, 17, 40])
def test_chunks_are_invisible(count):
    rows = torch.linalg.qr(torch.randn(50, count, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0].T
    basis = Basis(50)
    basis.append(rows)
    other = torch.arange(100.0, dtype=torch.float64).reshape(2, 50)
    assert len(basis) == count
    assert torch.equal(basis.rows(), rows)
    np.testing.assert_allclose(basis.project(other), rows @ other.T)
    np.testing.assert_allclose(basis.subtract(other, basis.project(other)), other - other @ rows.T @ rows, atol=1e-12)
    np.testing.assert_allclose(basis.combine(torch.eye(count, dtype=torch.float64)), rows)


@pytest.mark.parametrize("kept", [1, 16, 20])
def test_rotation_in_slices_keeps_the_chosen_combinations(monkeypatch, kept):
    monkeypatch.setattr(module, "SLICE", 7)
    generator = torch.Generator().manual_seed(0)
    rows = torch.linalg.qr(torch.randn(50, 40, dtype=torch.float64, generator=generator))[0].T
    turn = torch.linalg.qr(torch.randn(40, kept, dtype=torch.float64, generator=generator))[0]
    basis = Basis(50)
    basis.append(rows)
    basis.rotate(turn)
    np.testing.assert_allclose(basis.rows(), turn.T @ rows, atol=1e-14)
    basis.append(rows[:1])
    assert torch.equal(basis.rows()[-1], rows[0])


def test_an_empty_basis_changes_nothing():
    basis = Basis(3)
    rows = torch.ones(2, 3)
    assert basis.project(rows).shape == (0, 2)
    assert torch.equal(basis.subtract(rows, basis.project(rows)), rows)
    assert basis.rows().shape == (0, 3)


@pytest.mark.parametrize("where", ["device", "cpu", "disk"])
def test_eigenpairs_do_not_depend_on_where_the_basis_lies(where, monkeypatch):
    monkeypatch.setattr("landscape.spectra.basis.CHUNK_BYTES", 3 * 4 * 200)  # three rows at a time
    root = torch.randn(200, 200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = ls.top_eigenpairs(root @ root.T, k=3, tol=1e-9, max_basis=14, basis=where)
    np.testing.assert_allclose(found.values, torch.linalg.eigvalsh(root @ root.T).flip(0)[:3], rtol=1e-9)
    assert found.restarts > 0


def test_a_basis_that_does_not_fit_is_refused_before_anything_is_multiplied(monkeypatch):
    monkeypatch.setattr("landscape.spectra.basis.free_bytes", lambda device: 40 * 8 * 200)
    products = Products(torch.eye(200, dtype=torch.float64))
    assert planned(products, 40, "cpu") == "basis up to 6.4e-05 GB on cpu"
    with pytest.raises(ls.LandscapeError, match="pass max_basis=32, or basis='cpu' or 'disk'"):
        planned(products, 41, "device")
    with pytest.raises(ls.LandscapeError, match="basis is 'tape', expected 'device', 'cpu' or 'disk'"):
        ls.top_eigenpairs(torch.eye(200), k=1, max_basis=20, basis="tape")
