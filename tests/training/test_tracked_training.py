"""The tracker where people train: other libraries' loops, loggers, several processes, kills, and whatever goes wrong."""

import json
import os
import re
import subprocess
import sys
import types
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import landscape as ls
from landscape.training.callbacks import lightning_callback, transformers_callback

X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
Y = torch.arange(64) % 3
CHEAP = {"every": 2, "budget": None, "measure": ["lambda_max", "loss"]}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def tracked(model=None, **options):
    """Return a network with its optimiser and a tracker of it."""
    model = model or network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    given = {"loss": "cross_entropy", "data": (X, Y), "optimizer": optimizer} | CHEAP | options
    return model, optimizer, ls.Tracker(model, given.pop("loss"), given.pop("data"), **given)


# --- ways to train ----------------------------------------------------------------------------------------------------


def plainly(model, optimizer, tracker):
    for rows in torch.arange(64).split(8):
        optimizer.zero_grad()
        F.cross_entropy(model(X[rows]), Y[rows]).backward()
        optimizer.step()
        tracker()


def compiled(model, optimizer, tracker):
    plainly(torch.compile(model, backend="eager"), optimizer, tracker)


def in_bfloat16(model, optimizer, tracker):
    with torch.autocast("cpu", dtype=torch.bfloat16):  # the tracker is called inside
        plainly(model, optimizer, tracker)


def accumulated(model, optimizer, tracker):
    for number, rows in enumerate(torch.arange(64).split(8), start=1):
        F.cross_entropy(model(X[rows]), Y[rows]).backward()
        if number % 2 == 0:
            optimizer.step()
            optimizer.zero_grad()
            tracker()


def averaged(model, optimizer, tracker):
    average = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.9))

    def step():
        average.update_parameters(model)
        tracker()

    plainly(model, optimizer, step)
    model.register_buffer("average", torch.cat([p.detach().flatten() for p in average.module.parameters()]))


def from_a_shuffling_loader(model, optimizer, tracker):
    for x, y in model.loader:
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        tracker()


@pytest.mark.parametrize("way", [compiled, in_bfloat16, accumulated, averaged, from_a_shuffling_loader])
def test_training_is_the_same_to_the_last_bit(way):
    plain, model = network(), network()
    for one in (plain, model):
        one.loader = DataLoader(TensorDataset(X, Y), 8, shuffle=True, generator=torch.Generator().manual_seed(1))
        optimizer = torch.optim.Adam(one.parameters(), lr=0.01)
        data = one.loader if way is from_a_shuffling_loader else (X, Y)
        tracker = tracked(model, optimizer=optimizer, data=data)[-1] if one is model else None
        torch.manual_seed(2)
        way(one, optimizer, tracker.step if tracker else lambda: None)
    assert same(plain, model)
    track = tracker.close()
    assert not track.missed
    exact = ls.Objective(model, (X, Y), "cross_entropy")
    assert track.step[-1] == track.steps
    assert track.values["loss"][-1] == pytest.approx(exact.loss(), rel=1e-6)
    largest = float(torch.linalg.eigvalsh(ls.Hessian(exact).dense().double())[-1])
    assert track.values["lambda_max"][-1] == pytest.approx(largest, rel=0.02)


# --- what goes wrong --------------------------------------------------------------------------------------------------


class Closed:
    def log(self, values, step):
        raise OSError("the writer is closed")


def of_the_model(outputs, targets, model):
    return F.cross_entropy(outputs, targets) + model.penalty()


def no_such_thing(objective):
    raise RuntimeError("no such thing\nand a second line")


@pytest.mark.parametrize(
    ("options", "message", "measured"),
    [
        ({"optimizer": torch.optim.SGD(network().parameters(), lr=0.1)}, r"the optimiser does not hold 0\.weight", 0),
        ({"optimizer": None}, "could not measure here", 0),
        ({"loss": of_the_model}, "missing 1 required positional argument: 'model'", 0),
        ({"data": None}, "the data is NoneType", 0),
        ({"every": 0}, "every=0; expected at least 1", 0),
        ({"every": None}, "neither every= nor budget=", 0),
        ({"budget": -1.0}, "budget=-1.0", 0),
        ({"measure": "sharpnes"}, "'sharpnes' is unknown", 0),
        ({"log": 3}, "log is int", 0),
        ({"save": ("/dev/null/run.h5", "a/track")}, "could not measure here", 0),
        ({"log": Closed()}, "'log': the writer is closed", 4),
        ({"measure": [no_such_thing, "loss"]}, "'no_such_thing': no such thing$", 4),
        ({"measure": ["batch_sharpness", "loss"]}, "pass batch_size=", 4),
        ({"measure": ["cosine", "loss"]}, "measure lambda_max before it", 4),
        ({"measure": ["relative_critical_sharpness", "loss"]}, "pass relative=", 4),
    ],
)
def test_what_is_wrong_is_said_once_in_one_line_and_training_goes_on(options, message, measured):
    plain = network()
    torch.manual_seed(2)
    plainly(plain, torch.optim.SGD(plain.parameters(), lr=0.1), lambda: None)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        model, optimizer, tracker = tracked(**options)
        torch.manual_seed(2)
        plainly(model, optimizer, tracker.step)
        track = tracker.close()
    (line,) = (str(warning.message) for warning in said)
    assert re.search(message, line)
    assert "\n" not in line
    assert same(plain, model)
    assert (len(track.step), track.steps, len(track.missed)) == (measured, 8, 1)
    assert "not measured" in str(track) or "log" in track.missed
    track.plot()


# --- other libraries' loops -------------------------------------------------------------------------------------------


def standing_in(monkeypatch, name, **members):
    """Put a module in the place of a library that need not be installed."""
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        module = types.ModuleType(".".join(parts[:depth]))
        module.__dict__.update(members if depth == len(parts) else {})
        monkeypatch.setitem(sys.modules, module.__name__, module)


def test_callbacks_where_lightning_and_transformers_are_stand_ins(monkeypatch):
    standing_in(monkeypatch, "lightning.pytorch.callbacks", Callback=object)
    standing_in(monkeypatch, "transformers", TrainerCallback=object)
    lightning, hugging = (
        make("cross_entropy", (X, Y), **CHEAP) for make in (lightning_callback, transformers_callback)
    )
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    wrapped = types.SimpleNamespace(optimizer=optimizer)  # as Accelerate hands it over
    lightning.on_train_start(types.SimpleNamespace(optimizers=[optimizer], global_step=0), model)
    hugging.on_train_begin(
        None, types.SimpleNamespace(global_step=100), None, model=model, optimizer=wrapped
    )  # resumed
    plainly(model, optimizer, lambda: None)
    lightning.on_exception(None, model, RuntimeError())
    lightning.on_train_end(None, model)
    hugging.on_train_end(None, None, None)
    plainly(model, optimizer, lambda: None)  # no hook is left
    assert lightning.tracker.track.step.tolist() == [2, 4, 6, 8]
    assert hugging.tracker.track.step.tolist() == [102, 104, 106, 108]
    assert (lightning.tracker.track.steps, hugging.tracker.track.steps) == (8, 108)
    bare = lightning_callback("cross_entropy", (X, Y), **CHEAP)
    with pytest.warns(UserWarning, match="could not measure here"):
        bare.on_train_start(types.SimpleNamespace(optimizers=[], global_step=0), network())
    bare.on_train_end(None, None)


def by_lightning(net, callbacks, _folder):
    import lightning.pytorch as L

    class Module(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = net

        def training_step(self, batch, index):
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.Adam(self.net.parameters(), lr=0.01)

    L.seed_everything(1, verbose=False)
    options = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    options |= {"enable_progress_bar": False, "max_epochs": 2, "accumulate_grad_batches": 4}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        L.Trainer(callbacks=callbacks, **options).fit(Module(), DataLoader(TensorDataset(X, Y), 8, shuffle=True))


def by_transformers(net, callbacks, folder):
    import transformers as hf

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x, labels=None):
            logits = self.net(x)
            return {"logits": logits} | ({} if labels is None else {"loss": F.cross_entropy(logits, labels)})

    arguments = hf.TrainingArguments(
        output_dir=str(folder), num_train_epochs=2, per_device_train_batch_size=8, gradient_accumulation_steps=4,
        use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True, seed=1, logging_strategy="no",
    )  # fmt: skip
    rows = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]
    hf.Trainer(Net(), arguments, train_dataset=rows, callbacks=callbacks).train()


@pytest.mark.parametrize(
    ("library", "loop", "make"),
    [("lightning", by_lightning, lightning_callback), ("transformers", by_transformers, transformers_callback)],
)
def test_the_library_itself_trains_the_same_to_the_last_bit(library, loop, make, tmp_path):
    pytest.importorskip(library)
    plain, model = network(), network()
    callback = make("cross_entropy", (X, Y), model=model, **CHEAP)
    for one, callbacks in ((plain, []), (model, [callback])):
        loop(one, callbacks, tmp_path)
    assert same(plain, model)
    assert callback.tracker.track.step.tolist() == [2, 4]
    assert not callback.tracker.track.missed


# --- loggers ----------------------------------------------------------------------------------------------------------


def test_values_go_to_what_each_library_offers():
    seen = []
    writer = types.SimpleNamespace(add_scalar=lambda name, value, step: seen.append((name, step)))
    mlflow = types.SimpleNamespace(log_metrics=lambda values, step: seen.extend((name, step) for name in values))
    wandb = types.SimpleNamespace(log=lambda values, step: seen.extend((name, step) for name in values))
    for log in (writer, mlflow, wandb):
        *_, tracker = tracked(log=log, every=1, measure="loss")
        tracker.step(7)
        assert seen == [(f"landscape/{name}", 7) for name in ("lr", "threshold", "loss")]
        seen.clear()


def into_tensorboard(folder):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder) as writer:
        yield writer
    read = EventAccumulator(str(folder)).Reload()
    yield {event.step: event.value for event in read.Scalars("landscape/lambda_max")}


def into_mlflow(folder):
    mlflow = pytest.importorskip("mlflow")
    mlflow.set_tracking_uri(folder.as_uri())
    mlflow.set_experiment("test")
    with mlflow.start_run() as run:
        yield mlflow
    history = mlflow.MlflowClient().get_metric_history(run.info.run_id, "landscape/lambda_max")
    yield {metric.step: metric.value for metric in history}


def into_wandb(folder):
    wandb = pytest.importorskip("wandb")
    with wandb.init(mode="offline", project="test", dir=folder, settings=wandb.Settings(console="off")) as run:
        yield run
    (file,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    reader = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(file)]
    lines = subprocess.run(reader, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
    rows = [json.loads(line)["history"]["item"] for line in lines if '"type":"history"' in line]
    yield {row["_step"]: row["landscape/lambda_max"] for row in rows}


@pytest.mark.parametrize("library", [into_tensorboard, into_mlflow, into_wandb])
def test_what_a_library_has_written_reads_back(library, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    written = library(tmp_path)
    model, optimizer, tracker = tracked(log=next(written))
    plainly(model, optimizer, tracker.step)
    track = tracker.close()
    assert not track.missed
    assert next(written) == pytest.approx(dict(zip(track.step.tolist(), track.values["lambda_max"], strict=True)))


def test_the_track_stands_in_the_notebook_while_it_grows(monkeypatch):
    pytest.importorskip("IPython")
    shown = []
    handle = types.SimpleNamespace(update=shown.append)
    monkeypatch.setattr("IPython.get_ipython", object)
    monkeypatch.setattr("IPython.display.display", lambda track, display_id: shown.append(track) or handle)
    model, optimizer, tracker = tracked(live=True)
    plainly(model, optimizer, tracker.step)
    assert [len(track.step) for track in shown] == [1, 2, 3, 4]


# --- processes --------------------------------------------------------------------------------------------------------

HEAD = """
import json, os, random, signal, sys, time, torch
import landscape as ls
from torch import distributed as dist, nn
from torch.nn import functional as F
X = torch.randn(64, 6, generator=torch.Generator().manual_seed(0)); Y = torch.arange(64) % 3
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Dropout(0.2), nn.Linear(8, 3))
def forked(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid
"""

KILLS = """
def tracker(name="run.h5"):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return ls.Tracker(model, "cross_entropy", (X, Y), optimizer=optimizer, every=1, budget=None,
                      measure=["lambda_max", "loss"], save=(name, "killed/track"))
def train():
    one = tracker()
    for step in range(max(one.track.step, default=0) + 1, 100_000):
        one.step(step)
        os.write(out, f"{step} ".encode())
first = tracker("other.h5"); first.step(); first.close()  # what loads once is loaded
random.seed(0)
reported = []
for _ in range(10):
    into, out = os.pipe()
    pid = forked(train)
    os.close(out)
    time.sleep(random.uniform(0.1, 0.5))
    os.kill(pid, signal.SIGKILL); os.waitpid(pid, 0)
    reported += map(int, b"".join(iter(lambda: os.read(into, 65536), b"")).split())
one = tracker()
kept = one.track.step.tolist()
one.step(kept[-1] + 1)
one.close()
stored = ls.open_study("run.h5")["killed/track"]
whole = bool((stored.values["lambda_max"] > 0).all())
print(json.dumps({"reported": reported, "kept": kept, "stored": stored.step.tolist(), "whole": whole}))
"""

TOGETHER = """
def train(rank, tracked):
    dist.init_process_group("gloo", init_method=f"file://{os.getcwd()}/store-{tracked}", rank=rank, world_size=2)
    model = nn.parallel.DistributedDataParallel(network())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    logged = []
    if tracked:
        one = ls.Tracker(model, "cross_entropy", (X, Y), optimizer=optimizer, every=2, budget=None, measure=["lambda_max"],
                         log=lambda values, step: logged.append(step))
    torch.manual_seed(rank)
    for rows in torch.arange(64).view(-1, 2, 8)[:, rank]:
        optimizer.zero_grad(); F.cross_entropy(model(X[rows]), Y[rows]).backward(); optimizer.step()
        tracked and one.step()
    weights = torch.cat([p.detach().flatten() for p in model.parameters()])
    points = len(one.close().step) if tracked else 0
    torch.save((weights, logged, points), f"{rank}-{tracked}.pt")
for tracked in (0, 1):
    pids = [forked(lambda: train(rank, tracked)) for rank in range(2)]
    [os.waitpid(pid, 0) for pid in pids]
found = {(rank, tracked): torch.load(f"{rank}-{tracked}.pt") for rank in range(2) for tracked in range(2)}
print(json.dumps({"same": [torch.equal(found[r, 0][0], found[r, 1][0]) for r in range(2)],
                  "logged": [found[r, 1][1] for r in range(2)], "points": [found[r, 1][2] for r in range(2)]}))
"""


def run_script(script, folder):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LANDSCAPE_PROGRESS": "0"}
    done = subprocess.run(
        [sys.executable, "-c", HEAD + script], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_ten_kills_at_random_moments_lose_no_finished_point(tmp_path):
    found = run_script(KILLS, tmp_path)
    assert len(found["reported"]) > 10
    assert set(found["reported"]) <= set(found["kept"])
    assert found["kept"] == list(range(1, len(found["kept"]) + 1))
    assert found["stored"] == [*found["kept"], len(found["kept"]) + 1]
    assert found["whole"]


@pytest.mark.slow
def test_of_two_processes_that_train_together_the_first_measures(tmp_path):
    found = run_script(TOGETHER, tmp_path)
    assert found == {"same": [True, True], "logged": [[2, 4], []], "points": [2, 0]}
