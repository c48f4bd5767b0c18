"""Weights are read from every usual layout, and no file runs code."""

import json
import os
import pickle
import warnings

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from landscape.errors import LandscapeError
from landscape.function.weights import fit_weights, load_weights, sha256_file


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


class Bomb:
    def __reduce__(self):
        return os.mkdir, (Bomb.target,)


@pytest.fixture
def bomb(tmp_path):
    Bomb.target = str(tmp_path / "exploded")
    yield Bomb()
    assert not os.path.exists(Bomb.target)


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


def test_lightning_prefix_is_taken_off_by_fitting(model, tmp_path):
    lightning = {
        "state_dict": {f"model.{k}": v for k, v in model.state_dict().items()},
        "hyper_parameters": {"lr": 0.1},
    }
    torch.save(lightning, tmp_path / "w.ckpt")
    assert same(fit_weights(model, load_weights(tmp_path / "w.ckpt")), model.state_dict())


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_wrappers_prefixes(model, prefix):
    assert same(fit_weights(model, {prefix + k: v for k, v in model.state_dict().items()}), model.state_dict())


def test_a_prefix_of_the_model_itself_is_kept():
    model = nn.Module()
    model.model = nn.Linear(2, 2)
    assert fit_weights(model, model.state_dict()).keys() == {"model.weight", "model.bias"}


def test_sharded_hugging_face_folder(model, tmp_path):
    items = list(model.state_dict().items())
    for i, part in enumerate((items[:3], items[3:])):
        save_file(dict(part), tmp_path / f"model-{i}.safetensors")
    index = {"weight_map": {k: f"model-{int(i >= 3)}.safetensors" for i, (k, _) in enumerate(items)}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert same(load_weights(tmp_path), model.state_dict())
    assert same(load_weights(tmp_path / "model.safetensors.index.json"), model.state_dict())


@pytest.mark.parametrize("shard", ["../w.safetensors", ".", "model.safetensors.index.json", "absent.safetensors"])
def test_shards_outside_the_folder_are_refused(model, tmp_path, shard):
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    folder = tmp_path / "hf"
    folder.mkdir()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": shard}}))
    with pytest.raises(LandscapeError, match=r"outside its folder|lacks its part"):
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


def test_distributed_metadata_runs_no_code(bomb, tmp_path):
    (tmp_path / ".metadata").write_bytes(pickle.dumps(bomb))
    with pytest.raises(LandscapeError, match=r"posix\.mkdir, which is not allowed|nt\.mkdir"):
        load_weights(tmp_path)


def test_pickles_that_would_run_code_are_refused(bomb, tmp_path):
    torch.save({"state_dict": {"w": torch.ones(1)}, "hook": bomb}, tmp_path / "a.pt")
    (tmp_path / "b.pkl").write_bytes(pickle.dumps(bomb))
    for name in ("a.pt", "b.pkl"):
        with pytest.raises(LandscapeError, match=r"would run code from the file.*state_dict\(\)"):
            load_weights(tmp_path / name)


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
        ({"optimizer": {"lr": 1}}, "'optimizer' is dict, expected tensors by name; pass torch.load"),
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
    with pytest.raises(LandscapeError, match=r"damaged|run code|no index"):
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


def test_missing_and_unexpected_names_are_listed(model):
    weights = {k: v for k, v in model.state_dict().items() if k != "2.bias"}
    with pytest.raises(LandscapeError, match=r"lack '2\.bias' and have unexpected 'extra'"):
        fit_weights(model, {**weights, "extra": torch.ones(1)})


def test_other_shapes_are_listed(model):
    with pytest.raises(LandscapeError, match=r"2\.bias \(5,\), the model has \(2,\)"):
        fit_weights(model, {**model.state_dict(), "2.bias": torch.ones(5)})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_diverged_weights_are_refused(model, value):
    with pytest.raises(LandscapeError, match=r"NaN or infinite in '0\.weight'"):
        fit_weights(model, {**model.state_dict(), "0.weight": torch.full((4, 3), value)})


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_file(tmp_path / "a").startswith("ba7816bf8f01cfea414140de5dae2223")
    with pytest.raises(LandscapeError, match="cannot read b"):
        sha256_file(tmp_path / "b")


def test_what_is_neither_a_file_nor_a_state_dict_is_refused():
    with pytest.raises(LandscapeError, match="the weights are Tensor, expected a file or a state dict"):
        load_weights(torch.zeros(3))
