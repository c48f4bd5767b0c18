"""Files the user already has: what is written is read, and what is damaged is refused before memory is taken for it."""

import gzip
import struct

import numpy as np
import pytest
import torch

from landscape.datasets import cifar10_binary, mnist_idx
from landscape.datasets.files import read_idx
from landscape.errors import LandscapeError


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def parts():
    rng = np.random.default_rng(0)
    return {
        prefix: (rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count, np.uint8))
        for prefix, count in (("train", 6), ("t10k", 3))
    }


def write(folder, parts, compress):
    for prefix, (images, labels) in parts.items():
        for name, array in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
            if compress:
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
            else:
                (folder / name).write_bytes(idx(array))


@pytest.mark.parametrize("compress", [False, True])
def test_pixels_and_labels_are_those_written(tmp_path, parts, compress):
    write(tmp_path, parts, compress)
    split = mnist_idx(tmp_path, standardize=False)
    for (X, y), (images, labels) in zip((split.train, split.test), (parts["train"], parts["t10k"])):
        assert torch.equal((X[:, 0] * 255).round().to(torch.uint8), torch.from_numpy(images))
        assert torch.equal(y, torch.from_numpy(labels).long())
    assert mnist_idx(tmp_path, flatten=True).train[0].shape == (6, 784)
    assert split.image_shape == (1, 28, 28)


def test_a_missing_file_is_named(tmp_path, parts):
    write(tmp_path, parts, compress=False)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(LandscapeError, match="t10k-labels-idx1-ubyte"):
        mnist_idx(tmp_path)


GOOD = idx(np.arange(12, dtype=np.uint8).reshape(3, 2, 2))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD[:-1], "11 bytes of data where the header declares 12"),
        (GOOD + b"x", "declares 12"),
        (GOOD[:10], "expected an IDX header"),
        (b"", "expected an IDX header"),
        (bytes([0, 0, 8, 1]) + GOOD[4:], "expected an IDX header"),
        (bytes([0, 0, 13, 3]) + GOOD[4:], "expected an IDX header"),
        (bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 9), "at most"),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_sizes_are_checked_before_anything_is_allocated(tmp_path, content, message, suffix):
    path = tmp_path / f"images{suffix}"
    path.write_bytes(gzip.compress(content) if suffix else content)
    with pytest.raises(LandscapeError, match=message):
        read_idx(path, dimensions=3)


def test_a_damaged_archive_is_refused(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(GOOD)[:-9])
    with pytest.raises(LandscapeError, match="cannot be read"):
        read_idx(path, dimensions=3)


# --- CIFAR-10 --------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]:
        records = rng.integers(0, 256, (4, 3073), np.uint8)
        records[:, 0] %= 10
        records.tofile(tmp_path / name)
    return tmp_path


def test_records_become_labels_and_channel_first_images(folder):
    split = cifar10_binary(folder, standardize=False)
    records = np.fromfile(folder / "data_batch_2.bin", np.uint8).reshape(4, 3073)
    X, y = split.train
    assert X.shape == (20, 3, 32, 32)
    assert torch.equal(y[4:8], torch.from_numpy(records[:, 0]).long())
    red, last_blue = X[5, 0, 0, 1] * 255, X[5, 2, 31, 31] * 255
    assert (red.round().item(), last_blue.round().item()) == (records[1, 2], records[1, 3072])
    assert len(split.test[1]) == 4


def test_each_channel_is_standardised(folder):
    X = cifar10_binary(folder).train[0].double()
    torch.testing.assert_close(X.mean((0, 2, 3)), torch.zeros(3).double(), atol=1e-5, rtol=0)
    torch.testing.assert_close(X.std((0, 2, 3), correction=0), torch.ones(3).double(), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"test_batch\.bin is not in"),
        (b"", "0 bytes; expected records of 3073"),
        (bytes(3072), "3072 bytes; expected records of 3073"),
        (bytes(3074), "3074 bytes; expected records of 3073"),
        (bytes([10]) + bytes(3072), "label 10 is out of range"),
    ],
)
def test_a_batch_that_is_missing_or_no_records_is_refused(folder, content, message):
    (folder / "test_batch.bin").unlink() if content is None else (folder / "test_batch.bin").write_bytes(content)
    with pytest.raises(LandscapeError, match=message):
        cifar10_binary(folder)
