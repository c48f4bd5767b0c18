"""Spectra do not depend on how vectors are multiplied: in blocks, or by processes (threads here) that each see their own rows."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.function.world import ALONE, World

P, PARTS = 130, (50, 80)
ROOT = torch.randn(P, P, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
MATRIX = (ROOT.T @ torch.diag(torch.logspace(1, -3, P, dtype=torch.float64)) @ ROOT) / P


class Part(World):
    """One of several threads; what they exchange goes through a common list."""

    def __init__(self, rank, table, barrier):
        self.rank, self.table, self.barrier = rank, table, barrier

    def gather(self, value):
        self.table[self.rank] = value.clone()
        self.barrier.wait(20)
        found = list(self.table)
        self.barrier.wait(20)
        return found

    def over_parts(self, partial):
        return sum(self.gather(partial))

    def length(self, size):
        return PARTS[self.rank] if size == P else size

    def part(self, rows):
        return rows.split(PARTS, dim=-1)[self.rank]

    def draw(self, row, fill):
        drawn = row.new_empty(P)
        fill(drawn)
        return row.copy_(self.part(drawn))

    def whole(self, rows):
        return torch.cat(self.gather(rows), dim=-1)

    def norm(self, rows, *, dtype=None):
        return self.over_parts(torch.linalg.vector_norm(rows, dim=-1, dtype=dtype).square()).sqrt()

    def largest(self, rows):
        return ALONE.largest(self.whole(rows))

    def factor(self, rows, *, vectors=True):
        orthonormal, triangle = ALONE.factor(self.whole(rows), vectors=vectors)
        return self.part(orthonormal) if vectors else orthonormal, triangle


class Sharded:
    """The matrix, of which every thread multiplies and keeps its own rows."""

    shape, dtype, device, name = (P, P), torch.float64, torch.device("cpu"), "matrix"

    def __init__(self, world):
        self.world = world

    def __matmul__(self, v):
        return self.world.part(self.world.whole(v.mT if v.ndim == 2 else v) @ MATRIX).movedim(-1, 0)


QUANTITIES = {
    "eigenpairs": lambda op: ls.top_eigenpairs(op, k=3, tol=1e-8).values,
    "eigenvectors": lambda op: ls.top_eigenpairs(op, k=2, tol=1e-10, method="block", block_size=3).vectors,
    "density": lambda op: ls.spectral_density(op, probes=2, steps=12).nodes,
    "xtrace": lambda op: ls.trace(op, matvecs=20).samples,
    "xnystrace": lambda op: ls.trace(op, matvecs=20, method="xnystrace").samples,
    "hutch++": lambda op: ls.trace(op, matvecs=40, method="hutch++").samples,
    "hutchinson": lambda op: ls.trace(op, matvecs=20, method="hutchinson").samples,
    "exact": lambda op: ls.trace(op, matvecs=200).value,
    "norm": lambda op: ls.frobenius_norm(op, matvecs=20).value,
    "diagonal": lambda op: ls.diagonal(op, matvecs=20).values,
    "xdiag": lambda op: ls.diagonal(op, matvecs=20, method="xdiag").standard_errors,
}


@pytest.mark.parametrize("quantity", QUANTITIES.values(), ids=QUANTITIES)
def test_every_part_finds_what_one_process_finds(quantity):
    expected = quantity(MATRIX)
    table, barrier = [None] * len(PARTS), threading.Barrier(len(PARTS))
    with ls.progress(False), ThreadPoolExecutor(len(PARTS)) as pool:
        found = list(pool.map(lambda rank: quantity(Sharded(Part(rank, table, barrier))), range(len(PARTS))))
    assert np.array_equal(found[0], found[1])
    np.testing.assert_allclose(found[0], expected, atol=1e-7 * np.abs(expected).max(), rtol=1e-6)


@pytest.mark.parametrize("quantity", QUANTITIES.values(), ids=QUANTITIES)
def test_blocks_of_vectors_change_nothing(quantity, counting):
    operator = counting(MATRIX)
    operator.block_size = 3
    expected = quantity(MATRIX)
    np.testing.assert_allclose(quantity(operator), expected, atol=1e-7 * np.abs(expected).max(), rtol=1e-6)
