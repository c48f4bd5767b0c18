"""Settings every test shares: one thread, double precision left to each test, no progress bars."""

import os
import signal
import sys

os.environ.setdefault("LANDSCAPE_PROGRESS", "0")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch
import torch.nn.functional as F
import torch.utils.checkpoint
from torch.autograd import forward_ad
from torch.utils import _python_dispatch

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def random_state_untouched():
    """Every test draws from the global generator what it draws alone, whatever ran before it."""
    before = torch.random.get_rng_state()
    torch.default_generator.manual_seed(0)
    yield
    torch.random.set_rng_state(before)


@pytest.fixture(autouse=True)
def figures_closed():
    """Matplotlib warns of many open figures: whether a test meets that must not depend on the tests before it."""
    yield
    if pyplot := sys.modules.get("matplotlib.pyplot"):
        pyplot.close("all")


@pytest.fixture(autouse=True)
def register_untouched():
    """A score that a test defines is gone after it: other tests count the register's."""
    register = sys.modules.get("landscape.scores.register")
    before = dict(register.REGISTRY) if register else None
    yield
    if before is not None:
        register.REGISTRY.clear()
        register.REGISTRY.update(before)


def _settings():
    """What the package sets for a while and puts back, of the whole process and of this thread."""
    cuda, cudnn, mkldnn = torch.backends.cuda, torch.backends.cudnn, torch.backends.mkldnn
    return {
        "cudnn": cudnn.enabled,
        "benchmark": cudnn.benchmark,
        "deterministic": cudnn.deterministic,
        "cudnn tf32": cudnn.allow_tf32,
        "matmul tf32": cuda.matmul.allow_tf32,
        "mkldnn": mkldnn.enabled,
        "fast path": torch.backends.mha.get_fastpath_enabled(),
        "flash": cuda.flash_sdp_enabled(),
        "efficient": cuda.mem_efficient_sdp_enabled(),
        "math": cuda.math_sdp_enabled(),
        "checkpoint": torch.utils.checkpoint.CheckpointFunction,
        "embedding": F.embedding,
        "gradients": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "forward mode": forward_ad._current_level,
        "transforms": torch._C._functorch.maybe_current_level(),
        "dispatch modes": len(_python_dispatch._get_current_dispatch_mode_stack()),
        "function modes": torch._C._len_torch_function_stack(),
        "saved tensors": torch._C._autograd._top_saved_tensors_default_hooks(False),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)],
    }


@pytest.fixture
def settings():
    """What the package sets for a while and puts back: a function that reads it."""
    return _settings


@pytest.fixture(autouse=True)
def settings_untouched():
    """A test that leaves a setting of the process changed fails, not the one after it."""
    before = _settings()
    yield
    changed = {key: value for key, value in _settings().items() if value != before[key]}
    assert not changed, f"left changed: {changed}"
