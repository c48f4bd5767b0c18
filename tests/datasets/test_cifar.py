import numpy as np
import pytest
import torch

from landscape.datasets import cifar10_binary
from landscape.errors import LandscapeError

NAMES = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name in NAMES:
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


def test_a_missing_batch_is_named(folder):
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(LandscapeError, match=r"data_batch_3\.bin"):
        cifar10_binary(folder)


@pytest.mark.parametrize("size", [0, 3072, 3074])
def test_a_partial_record_is_refused(folder, size):
    (folder / "test_batch.bin").write_bytes(bytes(size))
    with pytest.raises(LandscapeError, match=f"{size} bytes; expected records of 3073"):
        cifar10_binary(folder)


def test_a_label_above_nine_is_refused(folder):
    (folder / "test_batch.bin").write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(LandscapeError, match="label 10 is out of range"):
        cifar10_binary(folder)
