"""Probes: identity second moment, numbered, independent of the device, of the block and of the global generator."""

import numpy as np
import pytest
import torch

from landscape.spectra.protocol import Probes


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
