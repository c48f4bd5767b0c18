import numpy as np
import pytest
import torch

from landscape.datasets import fingerprint
from landscape.datasets.split import split_from_images
from landscape.errors import LandscapeError


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool])
def test_fingerprint_is_of_values_and_not_of_memory_layout(dtype):
    values = torch.tensor([[1, 0, 1], [0, 1, 1]]).to(dtype)
    assert fingerprint(values) == fingerprint(values.T.contiguous().T)
    assert fingerprint(values) != fingerprint(values.T)
    assert fingerprint(values) != fingerprint(values.flatten())
    assert fingerprint(values) != fingerprint(torch.zeros_like(values))


def test_fingerprint_depends_on_dtype_and_order():
    a, b = torch.zeros(4), torch.zeros(4, dtype=torch.int32)
    assert fingerprint(a) != fingerprint(b)
    assert fingerprint(a, b) != fingerprint(b, a)
    assert len(fingerprint()) == 64


def _split(train=4, labels=4, largest=1, images=None):
    images = np.arange(train * 4, dtype=np.uint8).reshape(train, 1, 2, 2) if images is None else images
    y = np.zeros(labels, dtype=np.uint8)
    y[:1] = largest
    return split_from_images(
        "made", (images, y), (images, y), maximum=255, pooled=(0, 2, 3), standardize=True, flatten=False
    )


def test_pooled_statistics_are_one_number_per_channel():
    X = _split().train[0].double()
    assert X.mean().abs() < 1e-6
    assert X.std(correction=0).item() == pytest.approx(1, abs=1e-6)


def test_a_constant_channel_stays_finite():
    split = _split(images=np.full((4, 1, 2, 2), 77, dtype=np.uint8))
    assert split.std.unique().tolist() == [1.0]
    assert split.train[0].abs().max() < 1e-6


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": 0, "labels": 0}, "is empty"),
        ({"labels": 3}, "4 training images but 3 labels"),
        ({"largest": 10}, "label 10 is out of range; expected 0 to 9"),
    ],
)
def test_wrong_data_are_named(arguments, message):
    with pytest.raises(LandscapeError, match=message):
        _split(**arguments)
