"""Record every public number on a fixed set of small networks, and compare two records to the last digit.

    python tests/record/record.py --out FILE [--only PATTERN]
    python tests/record/record.py --compare OLD NEW [--rtol 0]

A record is made of parts, ``network/subject`` such as ``cnn/spectra``; ``--only mlp/`` or ``--only '*/spectra'`` makes some
of them. Without ``--rtol``, floats may differ by 1e-12 of their size (1e-5 in single precision), and integers, words and
shapes not at all. A call that raises is recorded by what it raises: refusals are part of what is promised. The networks are
stored (record_networks.py); what is trained within a call, and every last digit, belongs to one build of torch and one kind of
processor.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", LANDSCAPE_PROGRESS="0")
sys.path.insert(0, str(Path(__file__).parents[2]))  # the package of this checkout, whichever is installed

import argparse
import dataclasses
import fnmatch
import gzip
import json
import math
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

import landscape as ls

EXCLUDED = {
    *("seconds", "timings", "trace_seconds", "compile_seconds", "budget_bytes"),  # differ from run to run
    *("provenance", "sha256"),  # versions, and fingerprints, which know no tolerance
    *("family", "orientation", "unit", "long_name", "invariant_to"),  # of a score: recorded once, with the register
}
"""Fields left out wherever they occur, beside those that a result declares as volatile."""

PLAIN = (int, float, str, type(None))


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, number, word or digest of an array) for all that a value holds."""
    if isinstance(value, torch.Tensor):
        value = value.detach().numpy()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple | list) and len(value) > 6 and all(isinstance(item, PLAIN) for item in value):
        value = np.asarray(value)
    if isinstance(value, np.ndarray):
        yield path, digest(value)
    elif isinstance(value, PLAIN):
        yield path, value
    else:
        for name, item in named(value):
            yield from leaves(item, f"{path}{'' if name.startswith(':') else '.'}{name}" if path else name)


def named(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the parts of a dataclass, a mapping, a sequence, a network or an objective."""
    if isinstance(value, ls.Objective):
        yield from {"theta": value.theta, "fixed": value.fixed, "loss": value.loss()}.items()
    elif isinstance(value, Mapping | nn.Module):
        value = value.state_dict() if isinstance(value, nn.Module) else value
        yield from ((str(key), item) for key, item in value.items() if key not in EXCLUDED)
    elif isinstance(value, tuple | list):
        for i, item in enumerate(value):
            label = "".join(f"{sign}{getattr(item, key, None)}" for sign, key in ((":", "name"), ("@", "radius")))
            label = label.replace("@None", "").replace(":None", "")  # rows that have names may stand in any order
            yield label if label.startswith(":") else f"{i}{label}", item
    elif dataclasses.is_dataclass(value):
        for f in dataclasses.fields(value):
            item = getattr(value, f.name)
            if f.name == "vectors" and item is not None:  # the sign of an eigenvector is arbitrary
                yield "|vectors · c|", np.abs(np.asarray(item, dtype=np.float64) @ np.cos(np.arange(item.shape[-1])))
            elif f.name not in EXCLUDED and not f.metadata.get("volatile"):
                yield f.name, item
    else:
        yield "is", repr(value) if isinstance(value, ls.operators.Operator) else type(value).__name__


def digest(array: np.ndarray) -> dict[str, Any]:
    """Describe an array by shape, type, its first and last entries, and sums, one of which notices an exchange of entries."""
    flat = array.ravel()
    ends = flat.tolist() if flat.size <= 6 else [*flat[:3].tolist(), *flat[-3:].tolist()]
    found: dict[str, Any] = {"shape": list(array.shape), "dtype": str(array.dtype), "ends": ends}
    if array.dtype.kind not in "biuf":
        return {**found, "crc": zlib.crc32("\0".join(map(str, flat)).encode())}
    finite = np.isfinite(flat)
    x = np.where(finite, flat, 0).astype(np.float64)
    sums = {"sum": x, "squares": x**2, "cosines": x * np.cos(np.arange(x.size))}
    return {**found, "infinite": int((~finite).sum()), **{name: math.fsum(terms) for name, terms in sums.items()}}


class Book:
    """Writes down what calls return; ``book(name, function, …)`` returns it too, or `None` where the function raised."""

    def __init__(self):
        self.calls: dict[str, dict[str, Any]] = {}

    def __call__(self, name: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if name in self.calls:
            raise ValueError(f"two calls are named {name!r}")
        found = None
        try:
            with warnings.catch_warnings(action="ignore"):
                found = function(*args, **options)
                self.calls[name] = dict(leaves(found))
        except Exception as error:
            self.calls[name] = {"raises": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}
        return found


def record(only: str = "*") -> dict[str, Any]:
    """Make all parts whose names match, saying so."""
    from record_calls import GENERAL, SUBJECTS
    from record_networks import NETWORKS, build

    torch.set_num_threads(1)
    pattern = only if any(sign in only for sign in "*?[") else f"*{only}*"
    parts: dict[str, Any] = {}
    for network in (*NETWORKS, "general"):
        subjects = (SUBJECTS if network in NETWORKS else GENERAL).items()
        chosen = {name: run for name, run in subjects if fnmatch.fnmatchcase(f"{network}/{name}", pattern)}
        cases = [build(network)] if chosen and network in NETWORKS else []
        for name, run in chosen.items():
            book, started = Book(), time.perf_counter()
            book("(to the end)", run, book, *cases)  # also where a public name is gone
            trained = name in ("comparison", "experiments")  # in single precision
            tolerance = cases[0].tolerance if cases else 1e-5 if trained else 1e-12
            parts[f"{network}/{name}"] = {"tolerance": tolerance, "calls": book.calls}
            values = sum(map(len, book.calls.values()))
            print(f"{network}/{name}: {values} values, {time.perf_counter() - started:.1f} s", flush=True)
    return {"only": only, "parts": parts}


def read(path: str | Path) -> dict[str, Any]:
    data = Path(path).read_bytes()
    return json.loads(gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data)


def write(found: Mapping[str, Any], path: str | Path) -> None:
    data = json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()
    Path(path).write_bytes(gzip.compress(data, 9, mtime=0) if str(path).endswith(".gz") else data)


def apart(a: Any, b: Any, rtol: float, scale: float = 1e-3) -> tuple[float, bool]:
    """Return how far two leaves are apart, relative to their size (inf: not comparable), and whether that is allowed.

    Numbers far below ``scale`` are compared with it: they are rounding errors of something of that size.
    """
    if isinstance(a, dict) and isinstance(b, dict):
        if any(a.get(key) != b.get(key) for key in ("shape", "dtype", "infinite", "crc")):
            return math.inf, False
        size, length = math.prod(a["shape"]), math.sqrt(a.get("squares", 0.0))
        allowed = rtol if "float" in a["dtype"] else 0.0
        found = [apart(a[key], b[key], allowed, size**0.5 * length) for key in ("sum", "cosines") if key in a]
        found += [apart(x, y, allowed, length / max(size, 1) ** 0.5) for x, y in zip(a["ends"], b["ends"], strict=True)]
        found += [apart(length, math.sqrt(b.get("squares", 0.0)), allowed)]
        return max(distance for distance, _ in found), all(within for _, within in found)
    if type(a) is not type(b) or a == b or not (isinstance(a, float) and math.isfinite(a) and math.isfinite(b)):
        same = type(a) is type(b) and (a == b or (a != a and b != b))
        return (0.0 if same else math.inf), same
    return abs(a - b) / max(abs(a), abs(b)), abs(a - b) <= rtol * max(abs(a), abs(b), scale)


def differences(old: Any, new: Any, rtol: float | None = None) -> Iterator[tuple[str, Any, Any, float, bool]]:
    """Yield (where, old value, new value, relative distance, whether it is allowed) for all that is not exactly equal."""
    for part in {**old["parts"], **new["parts"]}:
        a, b = old["parts"].get(part), new["parts"].get(part)
        if not (a and b):
            if old["only"] == new["only"]:
                yield part, *("recorded" if one else "—" for one in (a, b)), math.inf, False
            continue
        for call in {**a["calls"], **b["calls"]}:
            left, right = a["calls"].get(call, {}), b["calls"].get(call, {})
            if (call in a["calls"]) != (call in b["calls"]):
                there = ("recorded" if call in one["calls"] else "—" for one in (a, b))
                yield f"{part} | {call}", *there, math.inf, False
                continue
            for name in {**left, **right}:
                x, y = left.get(name, "—"), right.get(name, "—")
                distance, within = apart(x, y, a["tolerance"] if rtol is None else rtol)
                if distance:
                    yield f"{part} | {call} | {name}", x, y, distance, within


def report(found: list[tuple[str, Any, Any, float, bool]]) -> str:
    """Write the differences beyond the tolerance, and count those within it."""
    beyond = [f"{where}  ({far:.3g})\n    old {a}\n    new {b}" for where, a, b, far, within in found if not within]
    rest = [(far, where) for where, _, _, far, within in found if within]
    largest = "" if not rest else ", the largest by {:.3g} of its size: {}".format(*max(rest))
    return "\n".join([*beyond, f"{len(beyond)} values differ; {len(rest)} more do within the tolerance{largest}"])


def main() -> int:
    """Make a record, or compare two: 1 where they differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="where to write the record: .json, or .json.gz")
    parser.add_argument("--only", default="*", help="a part of a name, or a pattern, of the parts to make")
    parser.add_argument("--compare", nargs=2, metavar=("OLD", "NEW"), help="two records")
    parser.add_argument("--rtol", type=float, help="relative difference allowed to floats; by default that of the part")
    given = parser.parse_args()
    if given.compare:
        found = list(differences(*map(read, given.compare), given.rtol))
        print(report(found))
        return int(not all(within for *_, within in found))
    made = record(given.only)
    print(sum(len(fields) for part in made["parts"].values() for fields in part["calls"].values()), "values")
    if given.out:
        write(made, given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
