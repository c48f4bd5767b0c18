"""Every kind of result comes back from the file with the same types and bits."""

from dataclasses import dataclass, field, fields
from string import Formatter
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from study_examples import TEXTS, Maker, bits, estimate

import landscape as ls
from landscape import store
from landscape.errors import LandscapeError
from landscape.results import KINDS, Estimate, Plane, Result, array, rows
from landscape.store.encode import content_sha256
from landscape.store.values import dumps, loads


def name_for(cls):
    return "/".join(["sgd-0", "entry"][-len([f for _, f, _, _ in Formatter().parse(cls.location) if f]) :])


@pytest.mark.parametrize("repeats", [3, pytest.param(60, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_bit_for_bit(kind, repeats, path):
    maker, cls = Maker(seed=sum(map(ord, kind))), KINDS[kind]
    for _ in range(repeats):
        result = maker.result(cls)
        result.save(path, name_for(cls), overwrite=True)
        assert bits(ls.open_study(path)[name_for(cls)]) == bits(result)
        assert store.validate(path) == []


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.text(max_size=12), inner, max_size=3)
        | st.dictionaries(st.integers() | st.sampled_from(["__tuple__", "__items__"]), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(values)
@settings(max_examples=100, deadline=None)
def test_attribute_text_restores_types_and_values(value):
    assert bits(loads(dumps(value))) == bits(value)


@pytest.mark.parametrize("text", [*TEXTS, "x" * 70_000, "θ\0" * 40_000])
def test_text_of_any_content_and_length(path, text):
    result = estimate(message=text, provenance={"long": text})
    result.save(path, "sgd-0/trace")
    assert ls.open_study(path)["sgd-0/trace"].message == text
    assert ls.open_study(path)["sgd-0/trace"].provenance == {"long": text}


def test_long_attributes_can_be_replaced_by_short_ones(path):
    for text in ("x" * 70_000, "short", "y" * 80_000):
        store.describe_checkpoint(path, "sgd-0", {"recipe": text, "kept": 1})
        assert ls.open_study(path).checkpoints == {"sgd-0": {"recipe": text, "kept": 1}}
        assert store.validate(path) == []


@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", "<f2", "<i4", ">u2", "|i1", "|b1", "<U5"])
@pytest.mark.parametrize("size", [0, 3, 9000])
def test_every_dtype(path, dtype, size):
    samples = (np.arange(size) % 7).astype(dtype)
    estimate(samples=samples).save(path, "sgd-0/trace")
    assert bits(ls.open_study(path)["sgd-0/trace"].samples) == bits(samples)


@dataclass(frozen=True)
class OddRow:
    number: float | None
    count: int | None
    flag: bool | None
    text: str | None
    parts: tuple[int, ...]
    always: int = 3


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Odd(Result):
    kind: ClassVar[str] = "odd"
    location: ClassVar[str] = "experiments/{entry}"
    first: tuple[OddRow, ...] = rows(OddRow)
    second: tuple[OddRow, ...] | None = rows(OddRow, optional=True)
    x: np.ndarray = array("x", long_name="coordinate")
    info: Any = field(default_factory=dict)


@pytest.fixture
def odd(monkeypatch):
    monkeypatch.setitem(KINDS, "odd", Odd)


@pytest.mark.parametrize(
    "table",
    [
        (),
        (OddRow(None, None, None, None, ()),),
        (
            OddRow(1.5, 2, True, "a", (1, 2)),
            OddRow(None, None, None, None, ()),
            OddRow(float("nan"), -1, False, "", (3,)),
        ),
        (OddRow(1.0, 2**70, True, "a\0", (1,)), OddRow(-0.0, 1, False, "b", (1,))),
        (OddRow(0.5, -(2**63), True, "null", (1,)), OddRow(0.5, None, False, "b", (1,))),
    ],
)
def test_rows_tell_none_from_nan_zero_and_empty(odd, path, table):
    result = Odd(first=table, x=np.arange(2.0))
    result.save(path, "rows")
    back = ls.open_study(path)["rows"]
    assert bits(back.first) == bits(table)
    assert back.second is None
    assert store.validate(path) == []


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Grown(Estimate):
    later: tuple[str, ...] = ()
    samples_later: np.ndarray | None = array("probe", long_name="added", optional=True)


def test_a_field_added_to_a_class_later_leaves_fingerprints_of_older_files():
    old = estimate()
    new = Grown(**{f.name: getattr(old, f.name) for f in fields(old)})
    assert content_sha256(new) == content_sha256(old)
    assert content_sha256(new.replace(later=("x",))) != content_sha256(old)
    assert content_sha256(new.replace(samples_later=np.zeros(0))) != content_sha256(old)


def test_columns_of_numbers_are_numbers_for_h5py(odd, path):
    import h5py

    table = (OddRow(1.5, 2, True, "a", ()), OddRow(None, None, None, None, ()))
    Odd(first=table, x=np.arange(2.0)).save(path, "rows")
    with h5py.File(path) as file:
        columns = file["experiments/rows/first"]
        assert np.array_equal(columns["number"][:], [1.5, np.nan], equal_nan=True)
        assert columns["count"][0] == 2
        assert columns["count"].attrs["_FillValue"] == columns["count"][1]
        assert columns["text"].asstr()[:].tolist() == ["a", ""]


def test_arrays_may_hold_no_objects(path):
    for samples in (np.array([None, 1]), np.zeros(2, dtype="c16"), np.zeros(2, dtype="i4,f8"), [1.0, 2.0]):
        with pytest.raises(LandscapeError, match="expected"):
            estimate(samples=samples).save(path, "sgd-0/trace")
    assert not path.exists()


def plane(**changes):
    y, x = np.linspace(-1, 2, 7), np.linspace(-1, 1, 11)
    loss = (x - 0.5) ** 2 + 3 * y[:, None] ** 2
    given = {"x": x, "y": y, "values": {"train/loss": loss}, "computed": np.ones((7, 11), np.uint8)}
    return Plane(**{**given, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"computed": np.ones((11, 7))}, "points along"),
        ({"computed": np.ones(7)}, "has 1 dimensions, expected 2"),
        ({"computed": None}, "missing"),
        ({"values": {"x": np.ones((7, 11))}}, "name of another part"),
        ({"values": {"a": np.ones((7, 11)), "a/b": np.ones((7, 11))}}, "name of another part"),
        ({"values": {"../x": np.ones((7, 11))}}, "cannot name"),
        ({"values": {"": np.ones((7, 11))}}, "cannot name"),
        ({"provenance": {"model": object()}}, "of type object cannot be stored"),
    ],
)
def test_results_that_contradict_their_schema_are_refused(path, changes, message):
    with pytest.raises(LandscapeError, match=message):
        plane(**changes).save(path, "sgd-0/plane")
    assert not path.exists()


def test_documented_names_for_h5py(path):
    import h5py

    plane().save(path, "sgd-0/plane")
    with h5py.File(path) as file:
        assert file.attrs["format"] == "landscape-study"
        assert file.attrs["schema_version"] == 2
        group = file["checkpoints/sgd-0/slices/plane"]
        assert group.attrs["kind"] == "plane"
        loss = group["train/loss"]
        assert [dim.label for dim in loss.dims] == ["y", "x"]
        assert [dim[0].name.rsplit("/")[-1] for dim in loss.dims] == ["y", "x"]
        assert loss.attrs["units"] == "1"
        assert "value on the plane" in loss.attrs["long_name"]
        j, i = np.unravel_index(loss[:].argmin(), loss.shape)
        assert abs(group["x"][i] - 0.5) < 0.11
        assert abs(group["y"][j]) < 1e-12


def test_large_noise_is_checksummed_but_not_compressed_and_flat_arrays_are(path):
    import h5py

    noise, flat = np.random.default_rng(0).standard_normal(40_000), np.full(40_000, np.nan)
    estimate(samples=noise).save(path, "sgd-0/noise")
    estimate(samples=flat).save(path, "sgd-0/flat")
    with h5py.File(path) as file:
        stored = {name: file[f"checkpoints/sgd-0/estimates/{name}/samples"] for name in ("noise", "flat")}
        assert [d.fletcher32 for d in stored.values()] == [True, True]
        assert stored["noise"].compression is None
        assert stored["flat"].id.get_storage_size() < flat.nbytes / 50


def datasets(path):
    import h5py

    found = {}

    def note(name, part):
        if isinstance(part, h5py.Dataset):
            found[name] = part[()].tobytes()

    with h5py.File(path) as file:
        file.visititems(note)
    return found


def test_the_same_numbers_give_the_same_datasets(tmp_path):
    for i, name in enumerate(("a.h5", "b.h5")):
        plane(seconds=float(i)).save(tmp_path / name, "sgd-0/plane")
    assert datasets(tmp_path / "a.h5") == datasets(tmp_path / "b.h5")
    assert len(datasets(tmp_path / "a.h5")) == 4
