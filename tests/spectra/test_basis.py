"""The basis, whose chunks and slices are invisible; Gram–Schmidt, W = C·Q + R·X exactly; probes, whose second moment is 1."""

from itertools import count

import numpy as np
import pytest
import torch

import landscape as ls
import landscape.spectra.basis as module
from landscape.spectra.basis import Basis, orthonormalise, planned
from landscape.spectra.protocol import Probes, Products


@pytest.mark.parametrize("number", [1, 15, 16, 17, 40])
def test_chunks_are_invisible(number):
    rows = torch.linalg.qr(torch.randn(50, number, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[
        0
    ].T
    basis = Basis(50)
    basis.append(rows)
    other = torch.arange(100.0, dtype=torch.float64).reshape(2, 50)
    assert len(basis) == number
    assert torch.equal(basis.rows(), rows)
    np.testing.assert_allclose(basis.project(other), rows @ other.T)
    np.testing.assert_allclose(basis.subtract(other, basis.project(other)), other - other @ rows.T @ rows, atol=1e-12)
    np.testing.assert_allclose(basis.combine(torch.eye(number, dtype=torch.float64)), rows)


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


# --- Gram–Schmidt -------------------------------------------------------------------------------------------------------


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


DRAWN = Probes(30, 1, "gaussian", dtype=torch.float64).rows(0, 3)


@pytest.mark.parametrize(
    ("rows", "fresh", "error"),
    [
        (lambda inside: DRAWN[:1], 0, 1e-13),
        (lambda inside: DRAWN, 0, 1e-13),
        (lambda inside: inside[:2] + 1e-9 * DRAWN[:2], 0, 1e-15),
        (lambda inside: 3 * inside[:1], 1, 1e-13),
        (lambda inside: 3 * inside[:2], 2, 1e-13),
        (lambda inside: torch.stack([DRAWN[0], 2 * DRAWN[0], inside[0], 0 * inside[0]]), 3, 1e-13),
    ],
    ids=["one", "several", "almost inside", "inside", "both inside", "dependent"],
)
def test_rows_that_bring_nothing_new_are_replaced(basis, rows, fresh, error):
    rows = rows(basis.rows())
    result, off = split(rows, basis)
    assert (result.rows.shape, result.fresh) == (rows.shape, fresh)
    assert off < error
    if fresh == len(rows):
        assert np.abs(result.triangle).max() < 1e-15


@pytest.mark.parametrize("room", [0, 1])
def test_a_full_space_gives_fewer_rows(basis, room):
    rows = 1e-3 * basis.rows()[:2]
    result, error = split(rows, basis, room=room)
    assert result.rows.shape == (room, 30)
    assert error < 1e-15


# --- probes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gaussian", "rademacher", "sphere"])
def test_second_moment_is_the_identity(kind):
    rows = Probes(5, 0, kind, dtype=torch.float64).rows(0, 4000)
    np.testing.assert_allclose((rows.T @ rows / 4000).numpy(), np.eye(5), atol=0.12)


def test_each_kind_is_what_it_says():
    assert Probes(30, 0, "rademacher").rows(0, 3).abs().unique().tolist() == [1]
    norms = torch.linalg.vector_norm(Probes(30, 0, "sphere", dtype=torch.float64).rows(0, 3), dim=1)
    np.testing.assert_allclose(norms.numpy(), 30**0.5)


def test_numbered_rows_do_not_depend_on_how_they_are_drawn():
    probes = Probes(7, 3, "gaussian")
    before = torch.random.get_rng_state()
    together = probes.rows(0, 6)
    assert torch.equal(together[2:4], probes.rows(2, 4))
    assert torch.equal(before, torch.random.get_rng_state())
    assert not torch.equal(together, Probes(7, 4, "gaussian").rows(0, 6))
    assert len(torch.unique(together)) == 42
