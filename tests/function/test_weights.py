"""Weights are read from every usual layout, and no file runs code."""

import collections
import contextlib
import copyreg
import datetime
import decimal
import enum
import functools
import importlib
import itertools
import json
import os
import pickle
import subprocess
import sys
import types
import warnings
import zipfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from landscape.errors import LandscapeError
from landscape.function.fitting import fit_weights
from landscape.function.weights import load_weights


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


class Call:
    """Pickles as a call of a function, which would make a folder when the file is read as pickles are."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments

    def __call__(self):
        """Only what can be called may be the function of another call."""


class Build(Call):
    """Sets an attribute of a class of the process, where a reader hands it out."""

    def __reduce__(self):
        return Call(getattr, torch.Tensor, "detach"), (), (None, {"__doc__": "exploded"})


@pytest.fixture
def attacks(tmp_path):
    target = tmp_path / "exploded"
    first = tmp_path / "bomb.pkl"
    first.write_bytes(pickle.dumps(Call(os.mkdir, str(target))))
    code = f"__import__('os').mkdir({str(target)!r})"
    module = Call(importlib.import_module, "os")
    detach = torch.Tensor.detach
    yield {
        "function": Call(os.mkdir, str(target)),
        "shell": Call(os.system, f"mkdir {target}"),
        "process": Call(subprocess.call, ["mkdir", str(target)]),
        "eval": Call(eval, code),
        "exec": Call(exec, code),
        "getattr": Call(Call(getattr, module, "mkdir"), str(target)),
        "map": Call(list, Call(map, Call(getattr, module, "mkdir"), [str(target)])),
        "torch.load": Call(torch.load, str(first), None, None),
        "numpy": Call(np.load, str(first), None, True),
        "partial": Call(functools.partial(functools.reduce, Call(getattr, module, "mkdir")), [str(target)]),
        "state": Build(None),
        "script": Call(torch.jit.load, str(first)),
    }
    assert not target.exists()
    assert torch.Tensor.detach is detach
    assert detach.__doc__ != "exploded"


def test_safetensors(model, tmp_path):
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    assert same(load_weights(tmp_path / "w.safetensors"), model.state_dict())


@pytest.mark.parametrize("legacy", [False, True])
def test_plain_state_dict(model, tmp_path, legacy):
    torch.save(model.state_dict(), tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    assert same(load_weights(str(tmp_path / "w.pt")), model.state_dict())


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net"])
def test_state_dict_inside_a_training_state(model, tmp_path, key):
    torch.save({key: model.state_dict(), "epoch": 3, "lr_schedulers": [{"last": 1}]}, tmp_path / "w.ckpt")
    assert same(load_weights(tmp_path / "w.ckpt"), model.state_dict())


def test_sharded_hugging_face_folder(model, tmp_path):
    items = list(model.state_dict().items())
    for i, part in enumerate((items[:3], items[3:])):
        save_file(dict(part), tmp_path / f"model-{i}.safetensors")
    index = {"weight_map": {k: f"model-{int(i >= 3)}.safetensors" for i, (k, _) in enumerate(items)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert same(load_weights(tmp_path), model.state_dict())
    assert same(load_weights(tmp_path / "model.safetensors.index.json"), model.state_dict())


@pytest.mark.parametrize(
    "shard", ["../w.safetensors", ".", "model.safetensors.index.json", "absent.safetensors", "a\0b"]
)
def test_shards_outside_the_folder_are_refused(model, tmp_path, shard):
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    folder = tmp_path / "hf"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(LandscapeError, match=r"outside its folder|lacks its part|null byte"):
        load_weights(folder)


@pytest.mark.parametrize("whole", [True, False])
def test_distributed_checkpoint(model, tmp_path, whole):
    import torch.distributed.checkpoint as dcp

    state = {"model": model.state_dict(), "epoch": 3} if whole else model.state_dict()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dcp.save(state, checkpoint_id=tmp_path / "dcp")
    assert same(fit_weights(model, load_weights(tmp_path / "dcp")), model.state_dict())


def distributed(folder, sizes, length):
    from torch.distributed.checkpoint import metadata as md
    from torch.distributed.checkpoint.filesystem import _StorageInfo

    properties = md.TensorProperties(dtype=torch.float32)
    size = torch.Size(sizes)
    chunk = md.ChunkStorageMetadata(offsets=torch.Size([0] * len(sizes)), sizes=size)
    about = md.Metadata(
        state_dict_metadata={"w": md.TensorStorageMetadata(properties, size, [chunk])},
        storage_data={md.MetadataIndex("w", chunk.offsets): _StorageInfo("a.distcp", 0, length)},
    )
    folder.mkdir()
    torch.save(torch.zeros(3), folder / "a.distcp")
    (folder / ".metadata").write_bytes(pickle.dumps(about))
    return folder


def test_distributed_checkpoint_of_an_absurd_size_takes_no_memory(tmp_path):
    with pytest.raises(LandscapeError, match="claims"):
        load_weights(distributed(tmp_path / "a", [10**6, 10**6], 100))
    with pytest.raises(LandscapeError, match="truncated"):
        load_weights(distributed(tmp_path / "b", [10**6, 10**6], 10**14))


def test_no_file_runs_code(attacks, tmp_path):
    weights = {"w": torch.ones(1)}
    files = {
        "zip": lambda o: torch.save(o, path),
        "old": lambda o: torch.save(o, path, _use_new_zipfile_serialization=False),
        "raw": lambda o: path.write_bytes(pickle.dumps(o)),
        "metadata": lambda o: path.write_bytes(pickle.dumps(o)),
    }
    (tmp_path / "dcp").mkdir()
    for (name, attack), (kind, write) in itertools.product(attacks.items(), files.items()):
        path = tmp_path / "dcp" / ".metadata" if kind == "metadata" else tmp_path / "w.pt"
        for content in (attack, {"state_dict": weights, "hook": attack}, {"state_dict": {**weights, "v": attack}}):
            write(content)
            with contextlib.suppress(LandscapeError):
                read = load_weights(path.parent if kind == "metadata" else path)
                # what is no tensor is passed over, where nothing else is wrong with the file
                assert same(read, weights), (name, kind)
                assert "nothing was run" in read.left_out[0], (name, kind)


def test_files_made_to_do_harm_are_refused(attacks, tmp_path):
    torch.save({"state_dict": {"w": torch.ones(1)}, "hook": attacks["function"]}, tmp_path / "a.pt")
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(attacks["function"]))
    for name in ("a.pt", "b.pkl"):
        with pytest.raises(LandscapeError, match=r"would run code from the file.*state_dict\(\)"):
            load_weights(tmp_path / name)
    (tmp_path / ".metadata").write_bytes(pickle.dumps(attacks["function"]))
    with pytest.raises(LandscapeError, match=r"(posix|nt)\.mkdir, which is not allowed"):
        load_weights(tmp_path)


def test_metadata_touches_no_class_of_the_process(tmp_path):
    from torch.distributed.checkpoint.metadata import Metadata

    before = Metadata.__init__
    name = b"ctorch.distributed.checkpoint.metadata\nMetadata\n"
    (tmp_path / ".metadata").write_bytes(b"\x80\x02" + name + b"N}X\x08\x00\x00\x00__init__ctorch\nfloat32\ns\x86b.")
    with pytest.raises(LandscapeError, match="damaged"):
        load_weights(tmp_path)
    assert Metadata.__init__ is before


@pytest.mark.parametrize(
    "content", [b"\x80\x02Nr\xff\xff\xff\x7f.", b"\x80\x02\x82\x01.", b"\x80\x05\x96" + b"\xff" * 8 + b"."]
)
def test_pickles_made_to_take_memory_or_what_is_at_hand_are_refused(tmp_path, content, monkeypatch):
    monkeypatch.setitem(copyreg._extension_cache, 1, os.mkdir)  # numbers of extensions stand for objects of the process
    with zipfile.ZipFile(tmp_path / "w.pt", "w") as file:
        file.writestr("w/data.pkl", content)
    with pytest.raises(LandscapeError, match="damaged"):
        load_weights(tmp_path / "w.pt")


def test_archives_that_unfold_to_more_than_they_hold_are_refused(model, tmp_path):
    torch.save(model.state_dict(), tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt", "a", zipfile.ZIP_DEFLATED) as file:
        file.writestr("w/data/99", bytes(10**6))
    with pytest.raises(LandscapeError, match=r"w\.pt: its parts claim 1\d{6} bytes in a file of \d{4};"):
        load_weights(tmp_path / "w.pt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("place", ["w.pt", "folder/model.safetensors"])
def test_pipes_are_not_waited_for(tmp_path, place):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    os.mkfifo(tmp_path / place)
    with pytest.raises(LandscapeError, match=r"there is no file|holds no weights"):
        load_weights((tmp_path / place).parent if "/" in place else tmp_path / place)


EXTRAS = {
    "arguments": Namespace(lr=0.1, out=Path("x")),
    "NumPy": [np.float64(0.9), np.arange(3), np.random.default_rng(0), np.dtype("f4")],
    "path": Path("runs") / "a",
    "counter": [collections.Counter("abc"), collections.defaultdict(list, a=[1]), collections.deque([1])],
    "class": Namespace,
    "function": np.mean,
    "enumeration": enum.Enum("Color", "red", module="tests.colors"),
    "mapping of one's own": type("Settings", (dict,), {"__module__": "settings"}),
    "dates": [datetime.date(2026, 1, 1), decimal.Decimal("0.1"), 1 + 2j, 2**80, b"bytes", {1, 2}, frozenset("a")],
}


@pytest.mark.parametrize("extra", EXTRAS)
def test_harmless_extras_are_passed_over(model, tmp_path, extra, monkeypatch):
    content = EXTRAS[extra]
    if isinstance(content, type) and content is not Namespace:  # a class that is not there when the file is read
        monkeypatch.setitem(sys.modules, content.__module__, types.SimpleNamespace(**{content.__name__: content}))
        content = content(a=1) if issubclass(content, dict) else content.red
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(2, 3)).sum().backward()
    optimizer.step()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "extra": content}, tmp_path / "w.pt")
    monkeypatch.undo()
    assert same(load_weights(tmp_path / "w.pt"), model.state_dict())


def test_every_kind_of_dense_tensor_is_read_as_pytorch_does(tmp_path):
    base = torch.arange(24.0).reshape(4, 6)
    types = [torch.float64, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.int8, torch.uint8,
             torch.bool, torch.uint16, torch.complex64]  # fmt: skip
    tensors = {str(t): base.to(t) for t in types} | {
        "part": base[1:3, ::2], "turned": base.T, "spread": torch.ones(1, 1).expand(3, 5), "scalar": torch.tensor(2.0),
        "empty": torch.empty(0, 3), "trained": nn.Parameter(base), "buffer": nn.Buffer(base[0]), "half of one": base[:2],
    }  # fmt: skip
    for pickled in (2, 4):
        torch.save(tensors, tmp_path / "w.pt", pickle_protocol=pickled)
        read, expected = load_weights(tmp_path / "w.pt"), torch.load(tmp_path / "w.pt", weights_only=False)
        assert read.keys() == expected.keys()
        for name in read:
            torch.testing.assert_close(read[name], expected[name], rtol=0, atol=0)
            assert (read[name].dtype, read[name].stride()) == (expected[name].dtype, expected[name].stride())


def test_numbers_of_a_machine_with_the_other_byte_order(model, tmp_path):

    state = {name: tensor for name, tensor in model.state_dict().items() if tensor.dtype == torch.float32}
    torch.save(state, tmp_path / "w.pt")
    with zipfile.ZipFile(tmp_path / "w.pt") as little, zipfile.ZipFile(tmp_path / "big.pt", "w") as big:
        for name in little.namelist():
            content = little.read(name)
            content = np.frombuffer(content, "<f4").byteswap().tobytes() if "/data/" in name else content
            big.writestr(name, b"big" if name.endswith("byteorder") else content)
    assert same(load_weights(tmp_path / "big.pt"), state)


def test_a_scripted_network_is_refused_with_the_way_to_read_it(model, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(model).save(str(tmp_path / "w.pt"))
    with pytest.raises(LandscapeError, match=r"TorchScript archive; pass torch\.jit\.load\(path\)\.state_dict\(\)"):
        load_weights(tmp_path / "w.pt")


def test_a_mapping_that_holds_itself_is_refused():
    content = {"step": 1}
    content["model"] = content
    with pytest.raises(LandscapeError, match="without end"):
        load_weights(content)


def test_a_pickled_module_is_refused_with_the_way_to_convert_it(model, tmp_path):
    torch.save(model, tmp_path / "module.pt")
    with pytest.raises(LandscapeError, match=r"torch\.save\(model\.state_dict\(\)"):
        load_weights(tmp_path / "module.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list"),
        ({}, "holds no weights"),
        ({"a": torch.ones(1), "b": "text"}, "'b' is str"),
        ({"optimizer": {"lr": 1}}, "'optimizer' is dict, expected tensors by name; choose what lies in it with key="),
    ],
)
def test_files_that_are_no_state_dict(tmp_path, content, message):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(LandscapeError, match=message):
        load_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors", ".bin", ".json"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 64, b"not weights at all", b"PK\x03\x04broken"])
def test_damaged_files(tmp_path, suffix, content):
    (tmp_path / f"w{suffix}").write_bytes(content)
    with pytest.raises(LandscapeError, match=r"damaged|run code"):
        load_weights(tmp_path / f"w{suffix}")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_truncated_files(model, tmp_path, suffix):
    path = tmp_path / f"w{suffix}"
    save_file(model.state_dict(), path) if suffix == ".safetensors" else torch.save(model.state_dict(), path)
    content = path.read_bytes()
    for size in (1, 7, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(LandscapeError):
            load_weights(path)


def test_missing_files_and_empty_folders(tmp_path):
    with pytest.raises(LandscapeError, match="there is no file"):
        load_weights(tmp_path / "none.pt")
    with pytest.raises(LandscapeError, match="holds no weights"):
        load_weights(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged or no weights file, it is empty"),
        (b"hello, this is no checkpoint", "damaged or no weights file"),
        (b"\x89HDF\r\n\x1a\n", "damaged or no weights file"),
        (b"\x93NUMPY\x01\x00v\x00{'descr': '<f8'}", "damaged or no weights file"),
    ],
)
def test_another_file_is_said_to_be_no_weights(tmp_path, content, message):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(LandscapeError, match=rf"w\.pt: {message}; expected what torch\.save or safetensors wrote"):
        load_weights(tmp_path / "w.pt")


def test_what_is_neither_a_file_nor_a_state_dict_is_refused():
    with pytest.raises(LandscapeError, match="the weights are Tensor, expected a file or a state dict"):
        load_weights(torch.zeros(3))
