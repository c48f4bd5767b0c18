import json
import os
from functools import partial

import numpy as np
import pytest
import torch

from landscape.datasets import digits
from landscape.errors import LandscapeError
from landscape.experiments import evaluate, get_recipe, load_run, save_run, train
from landscape.models import mlp
from landscape.training.runs import describe_model

SMALL = partial(mlp, (64, 16, 10))


def own_factory(width=8, seed=0):
    return mlp((64, width, 10), seed=seed)


@pytest.fixture(scope="module")
def split():
    return digits(train=100)


@pytest.fixture(scope="module")
def run(split):
    return train(get_recipe("random-labels", lr=0.2, target=0.5, examples=40), split, SMALL, seed=2)


@pytest.mark.parametrize("init", [True, False])
def test_a_run_comes_back_as_it_was_saved(run, tmp_path, init):
    loaded = load_run(save_run(run, tmp_path, init=init))
    for name in run.weights:
        assert torch.equal(loaded.weights[name], run.weights[name])
        assert torch.equal(loaded.init[name], run.init[name])
    assert loaded.recipe == run.recipe
    assert torch.equal(loaded.data.y, run.data.y)
    assert torch.equal(loaded.data.changed, run.data.changed)
    assert np.array_equal(loaded.history.loss, run.history.loss)
    assert (loaded.steps, loaded.train_loss, loaded.overshoot) == (run.steps, run.train_loss, run.overshoot)
    assert evaluate(loaded.network(), loaded.data.X, loaded.data.y)[0] == run.train_loss


def test_the_same_run_gives_the_same_bytes_and_no_folders(run, split, tmp_path):
    again = train(run.recipe, split, SMALL, seed=2)
    save_run(run, tmp_path / "a")
    save_run(again, tmp_path / "b")
    assert len(os.listdir(tmp_path / "a")) == 3
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert str(tmp_path) not in (tmp_path / "a" / "random-labels-2.json").read_text()


def test_the_manifest_is_json_with_what_a_reader_needs(run, split, tmp_path):
    manifest = json.loads(save_run(run, tmp_path).read_text())
    assert manifest["model"] == {"name": "mlp", "arguments": {"sizes": [64, 16, 10]}}
    assert manifest["data"]["fingerprint"] == split.fingerprint
    assert manifest["data"]["arguments"]["seed"] == 0
    assert manifest["data"]["changed_labels"] == len(run.data.changed)
    assert manifest["parameters"] == 64 * 16 + 16 + 160 + 10
    assert manifest["recipe"]["label_noise"] == 1.0


def edit(path, **changes):
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | changes))


def flipped(path):
    content = bytearray(path.with_suffix(".safetensors").read_bytes())
    content[-1] ^= 1
    path.with_suffix(".safetensors").write_bytes(content)


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (flipped, r"random-labels-2\.safetensors: differs from what its manifest says"),
        (lambda path: path.with_suffix(".safetensors").unlink(), "expected it beside its manifest"),
        (lambda path: path.unlink(), r"random-labels-2\.json: cannot be read as a manifest"),
        (lambda path: path.write_text(""), "cannot be read as a manifest"),
        (lambda path: path.write_text("[" * 10**5), "cannot be read as a manifest"),
        (lambda path: path.write_text("[1]"), "is not a manifest"),
        (lambda path: path.write_text('{"format": "other"}'), "is not a manifest"),
        (lambda path: path.write_text('{"format": "landscape-run"}'), "lacks or misnames 'recipe'"),
        (lambda path: edit(path, recipe={"name": "x", "long_name": "X", "warmup": 3}), "warmup"),
        (lambda path: edit(path, seed=3), "cannot be drawn again"),
        (lambda path: edit(path, init_fingerprint="0"), "initial weights are not those"),
    ],
)
def test_what_was_altered_or_is_no_manifest_is_refused(run, tmp_path, alter, message):
    path = save_run(run, tmp_path, init=False)
    alter(path)
    with pytest.raises(LandscapeError, match=message):
        load_run(path)


@pytest.mark.parametrize("value", [5, -1, None, "x", [1], {"a": 1}, {"name": "mlp", "arguments": 5}])
@pytest.mark.parametrize("field", ["recipe", "seed", "model", "data", "files", "history", "init_fingerprint"])
def test_a_garbled_manifest_is_refused_in_one_line(run, tmp_path, field, value):
    path = save_run(run, tmp_path)
    edit(path, **{field: value})
    with pytest.raises(LandscapeError) as told:
        load_run(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "model",
    [
        {"name": "mlp", "arguments": {"sizes": [64, 10**6, 10**6, 10]}},
        {"name": "mlp", "arguments": {"sizes": [64, 1000, 1000, 10]}},
        {"name": "resnet", "arguments": {"depth": 6 * 10**9 + 2}},
        {"name": "mlp", "arguments": {"sizes": [64, -16, 10]}},
    ],
)
def test_a_manifest_that_asks_for_more_than_its_weights_takes_no_memory(run, tmp_path, model):
    path = save_run(run, tmp_path)
    edit(path, model=model)
    with pytest.raises(LandscapeError, match=r"are not those of the|misnames|sizes"):
        load_run(path)


def test_data_that_are_not_in_the_package_must_be_passed(run, split, tmp_path):
    path = save_run(run, tmp_path)
    data = json.loads(path.read_text())["data"]
    edit(path, data=data | {"name": "mine"})
    with pytest.raises(LandscapeError, match="pass split="):
        load_run(path)
    assert load_run(path, split=split).train_loss == run.train_loss
    with pytest.raises(LandscapeError, match="trained on another split"):
        load_run(path, split=digits(train=101))


def test_a_file_never_names_code_to_run(split, tmp_path):
    factory = partial(own_factory, 5)
    run = train(get_recipe("sgd", lr=0.2, target=1.0, target_accuracy=0.0), split, factory)
    assert run.model["name"].endswith(":own_factory")
    assert run.model["arguments"] == {"width": 5}
    path = save_run(run, tmp_path, init=False)
    with pytest.raises(LandscapeError, match="a file never names code to run; pass the factory"):
        load_run(path)
    loaded = load_run(path, factory=factory)
    assert evaluate(loaded.network(factory), *split.test)[0] == run.test_loss
    with pytest.raises(LandscapeError, match="pass the factory"):
        loaded.network()


def test_arguments_that_json_cannot_hold_are_refused_before_training():
    with pytest.raises(LandscapeError, match="cannot be recorded"):
        describe_model(partial(own_factory, object()))


def test_a_folder_that_cannot_be_written_leaves_nothing(run, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(LandscapeError, match=r"cannot write random-labels-2\.safetensors: Not a directory"):
        save_run(run, blocked / "runs")
    assert blocked.read_text() == ""


def test_an_interrupted_write_leaves_the_old_file_and_no_temporary(run, tmp_path, monkeypatch):
    path = save_run(run, tmp_path)
    before = {entry.name: entry.read_bytes() for entry in tmp_path.iterdir()}

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save_run(run, tmp_path)
    assert {entry.name: entry.read_bytes() for entry in path.parent.iterdir()} == before
