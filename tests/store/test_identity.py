"""Two computations are the same when every number that they would give is, and a difference is named."""

import functools

import numpy as np
import pytest
import torch

import landscape as ls
from landscape.errors import LandscapeError
from landscape.store import identity
from landscape.store.identity import canonical, difference


def objective(**changes):
    torch.manual_seed(0)
    given = {"data": (torch.randn(6, 3), torch.arange(6) % 3), "loss": "cross_entropy", "batch_size": 6}
    given |= changes
    return ls.Objective(ls.models.mlp((3, 4, 3)), given.pop("data"), given.pop("loss"), **given)


def halved(x):
    return x / 2


SAME = {
    "batches": (objective(), objective(batch_size=2)),
    "tuples and lists": ((1, 2), [1, 2]),
    "numbers of NumPy": (np.float64(0.5), 0.5),
    "arrays": (np.arange(3.0), torch.arange(3.0, dtype=torch.float64)),
    "NaN": (float("nan"), np.nan),
    "the order of keys": ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
}
DIFFERENT = {
    "weights": (objective(), objective().at(2 * objective().theta)),
    "data": (objective(), objective(data=(torch.zeros(6, 3), torch.arange(6) % 3))),
    "loss": (objective(), objective(loss=torch.nn.CrossEntropyLoss(label_smoothing=0.1))),
    "dtype": (objective(), objective(dtype=torch.float64)),
    "parameters": (objective(), objective(parameters="*weight")),
    "metrics": (objective(), objective(metrics={"half": lambda o, t: o.mean()})),
    "operators": (ls.Hessian(objective()), ls.GaussNewton(objective())),
    "shapes": (np.zeros((2, 3)), np.zeros((3, 2))),
    "functions": (halved, identity),
    "a number and a truth value": (1, True),
    "None": (0, None),
}


@pytest.mark.parametrize("case", SAME)
def test_what_gives_the_same_numbers_is_the_same(case):
    a, b = ({"x": identity(x=part)["x"]} for part in SAME[case])
    assert canonical(a) == canonical(b)
    assert difference(a, b) == ""


@pytest.mark.parametrize("case", DIFFERENT)
def test_what_may_give_other_numbers_is_not(case):
    a, b = (identity(x=part) for part in DIFFERENT[case])
    assert canonical(a) != canonical(b)
    assert difference(a, b).startswith("x")


@pytest.mark.parametrize("strange", [object(), [object()], {"x": object()}, functools.partial(halved, object())])
def test_what_does_not_say_what_it_is_is_refused(path, strange):
    with pytest.raises(LandscapeError, match="does not say what it is"):
        identity(x=strange)
    with pytest.raises(LandscapeError, match="does not say what it is"):
        identity(strange)
    with pytest.raises(LandscapeError, match="JSON values"):
        ls.Run((path, "mine/x"), {"x": strange})
