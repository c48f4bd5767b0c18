"""Examples: any result of any kind, made from its schema alone, so that kinds added later are covered as well."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from landscape.results import Estimate, role_of

SPECIAL = np.array([np.nan, np.inf, -np.inf, -0.0, 5e-324, 1.7976931348623157e308, 0.1])
PAYLOAD = np.array([0x7FF8_0000_DEAD_BEEF], np.uint64).view(np.float64)  # a NaN with its own bits
TEXTS = ["", "plain", "θ → ∞", "null", "[1]", "line\nbreak", "a\0b", "\udc80 lone"]


def estimate(value=1.0, **changes):
    given = {"standard_error": 0.1, "matvecs": 3, "method": "xtrace", "quantity": "trace"}
    return Estimate(value=value, **{**given, **changes})


class Maker:
    """Draws results of a class, field by field."""

    def __init__(self, seed=0, sizes=(0, 1, 2, 3, 7)):
        self.rng, self.sizes = np.random.default_rng(seed), sizes

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def array(self, shape):
        values = self.rng.standard_normal(shape)
        kind = self.pick(["float64", "float64", "float32", "uint8", "int64", "bool", "odd"])
        if kind == "odd":
            values = np.where(self.rng.random(shape) < 0.5, self.pick(SPECIAL), values)
            values.flat[:1] = PAYLOAD
            return values
        return (values * 100).astype(kind) if kind != "float64" else values

    def value(self, hint):
        if get_origin(hint) in (Union, types.UnionType):
            return self.value(self.pick(get_args(hint)))
        if get_origin(hint) is tuple:
            inner = get_args(hint)
            count = self.pick([0, 1, 3]) if inner[-1] is Ellipsis else len(inner)
            return tuple(self.value(inner[0 if inner[-1] is Ellipsis else i]) for i in range(count))
        if (get_origin(hint) or hint) in (Mapping, dict):
            item = (get_args(hint) or (str, Any))[1]
            return {f"k{i}": self.value(item) for i in range(self.pick([0, 2]))}
        if hint is Any:
            return self.pick(
                [None, 1, 2.5, "x", True, [1, (2.0, None)], (1, [2]), {"a": {"b": [float("inf")]}}, {1: 2}]
            )
        drawn = {
            type(None): lambda: None,
            bool: lambda: bool(self.rng.integers(2)),
            int: lambda: self.pick([0, -1, 7, 2**53 + 1, 2**62, 2**70]),
            float: lambda: float(self.pick(SPECIAL)),
            str: lambda: self.pick(TEXTS),
        }
        return drawn[hint]()

    def result(self, cls, dims=None):
        hints = get_type_hints(cls)
        dims = {} if dims is None else dims  # a dimension has one size in a result and those nested in it
        values = {}
        for field in dataclasses.fields(cls):
            about, role = field.metadata, role_of(field)
            if about.get("optional") and self.rng.random() < 0.3:
                continue  # left at its default: None, or nothing in it
            # further dimensions, where a field has any number of them, have sizes of their own
            shape = [self.pick(self.sizes) if dim is ... else dims.setdefault(dim, self.pick(self.sizes))
                     for dim in about.get("dims", ())]  # fmt: skip
            if role == "array":
                values[field.name] = self.array(shape)
            elif role == "arrays":
                names = ["train/loss", "train/accuracy", "test/loss"][: self.pick([0, 1, 3])]
                values[field.name] = {name: self.array(shape) for name in names}
            elif role == "rows":
                [dim] = about["dims"]  # other than "row", it may be that of arrays too
                count = self.pick([0, 1, 5]) if dim == "row" else dims.setdefault(dim, self.pick(self.sizes))
                values[field.name] = tuple(self.row(about["row"]) for _ in range(count))
            elif role == "result":
                values[field.name] = self.result(about["result"], dims)
            else:
                values[field.name] = self.value(hints[field.name])
        return cls(**values)

    def row(self, cls):
        hints = get_type_hints(cls)
        return cls(**{field.name: self.value(hints[field.name]) for field in dataclasses.fields(cls)})


def bits(value):
    """Turn a value into something whose equality is equality of types and bits."""
    if isinstance(value, np.ndarray):
        return ("array", value.dtype.str, value.shape, value.tobytes())
    if isinstance(value, float):
        return ("float", np.float64(value).tobytes())
    if dataclasses.is_dataclass(value):
        return (type(value), [(f.name, bits(getattr(value, f.name))) for f in dataclasses.fields(value)])
    if isinstance(value, Mapping):
        return ("mapping", [(bits(key), bits(item)) for key, item in value.items()])
    if isinstance(value, tuple | list):
        return (type(value), [bits(item) for item in value])
    return (type(value), value)
