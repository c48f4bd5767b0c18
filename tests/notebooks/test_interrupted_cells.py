"""Interrupting a cell of a real kernel keeps what was finished and leaves network and random state as they were."""

import time

import pytest

manager = pytest.importorskip("jupyter_client.manager")
pytest.importorskip("ipykernel")

SETUP = """
import hashlib, time, torch, landscape as ls

class Slow(torch.nn.Linear):
    def forward(self, x):
        time.sleep(0.05)
        return super().forward(x)

torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), Slow(5, 3)).train()
X, y = torch.randn(30, 4), torch.arange(30) % 3
torch.nn.functional.cross_entropy(model(X), y).backward()
objective = ls.Objective(model, (X, y), "cross_entropy")

def state():
    kept = [*model.state_dict().values(), *(p.grad for p in model.parameters()), torch.get_rng_state()]
    modes = str([(m.training, [p.requires_grad for p in m.parameters()]) for m in model.modules()])
    return hashlib.sha256(b"".join(t.numpy().tobytes() for t in kept) + modes.encode()).hexdigest()

before = state()
"""
PLANE = "plane = ls.plane(objective, ls.random_directions(objective), points={}, save=('study.h5', 'net/plane'))"
SCORES = "panel = ls.sharpness(objective, ['margin', 'weight-norm', 'trace'], save=('study.h5', 'net/scores'))"


class Kernel:
    def __init__(self, folder):
        self.manager = manager.KernelManager(kernel_name="python3")
        self.manager.start_kernel(cwd=str(folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(60)

    def run(self, code, interrupt_when=lambda: False):
        """The cell's text and traceback; it is interrupted once when the condition holds."""
        asked, said, sent, begun = self.client.execute(code), "", False, time.monotonic()
        while time.monotonic() < begun + 120:
            if not sent and interrupt_when():
                self.manager.interrupt_kernel()
                sent = True
            try:
                message = self.client.get_iopub_msg(timeout=0.1)
            except Exception:  # nothing was said for a moment
                continue
            if message["parent_header"].get("msg_id") != asked:
                continue
            content = message["content"]
            if content.get("execution_state") == "idle":
                return said
            said += content.get("text", "") if content.get("name") == "stdout" else ""
            said += "\n".join(content.get("traceback", ()))
        raise TimeoutError(code)

    def close(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    opened = Kernel(folder)
    opened.folder = folder
    assert opened.run(SETUP) == ""
    yield opened
    opened.close()


def left_beside(kernel, pattern, least):
    """Whether a file of that name holds so many bytes: something was finished."""
    return lambda: any(path.stat().st_size > least for path in kernel.folder.rglob(pattern) if path.is_file())


@pytest.mark.slow
def test_an_interrupted_plane_keeps_its_rows_and_goes_on(kernel):
    told = kernel.run(PLANE.format(9), interrupt_when=left_beside(kernel, "*.journal", 3000))
    assert "KeyboardInterrupt" in told
    assert "what is finished of 'net/plane' is kept beside study.h5; the same call goes on" in told
    assert kernel.run("print(state() == before)") == "True\n"
    assert kernel.run("print(ls.open_study('study.h5').unfinished)") == "('net/plane',)\n"
    assert kernel.run(PLANE.format(9)) == ""
    assert kernel.run("print(plane.loss.shape, (plane.computed == 1).all())") == "(9, 9) True\n"


@pytest.mark.slow
def test_an_interrupted_panel_keeps_its_scores_and_goes_on(kernel):
    told = kernel.run(SCORES, interrupt_when=left_beside(kernel, "*.journal", 900))
    assert "KeyboardInterrupt" in told
    assert "what is finished of 'net/scores' is kept beside study.h5; the same call goes on" in told
    assert kernel.run("print(state() == before)") == "True\n"
    assert kernel.run(SCORES) == ""
    assert kernel.run("print(panel.names)") == "('margin', 'weight-norm', 'trace')\n"
