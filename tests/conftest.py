"""Settings every test shares: one thread, double precision left to each test, no progress bars."""

import os
import sys

os.environ.setdefault("LANDSCAPE_PROGRESS", "0")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def random_state_untouched():
    """No call of the package may move the global generator: a test that draws from it seeds it for itself."""
    before = torch.random.get_rng_state()
    yield
    torch.random.set_rng_state(before)


@pytest.fixture(autouse=True)
def register_untouched():
    """A score that a test defines is gone after it: other tests count the register's."""
    register = sys.modules.get("landscape.scores.register")
    before = dict(register.REGISTRY) if register else None
    yield
    if before is not None:
        register.REGISTRY.clear()
        register.REGISTRY.update(before)
