"""Settings every test shares: one thread, double precision left to each test, no progress bars."""

import os

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
