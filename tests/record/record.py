"""Record every public number on a fixed set of small networks, and compare two records to the last digit.

    python tests/record/record.py --out FILE.json.gz [--only PATTERN]
    python tests/record/record.py --compare A B [--rtol 0]

A record is made of parts, ``network/subject`` such as ``cnn/spectra``; ``--only`` takes some of them, as in ``--only mlp/``,
``--only '*/spectra'``. A part is a mapping from calls to the fields of what they returned. Without ``--rtol``, floats may
differ by 1e-12 (1e-5 in single precision) and integers, strings and shapes not at all. A call that raises is recorded by
what it raises. Networks are trained here, so that last digits belong to one build of torch and one kind of processor.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LANDSCAPE_PROGRESS", "0")

import argparse
import dataclasses
import fnmatch
import gzip
import json
import math
import time
import warnings
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import landscape as ls

EXCLUDED = {
    *("seconds", "timings", "trace_seconds", "compile_seconds", "budget_bytes"),  # differ from run to run
    *("provenance", "sha256"),  # versions and fingerprints, which no tolerance can be given
    *("family", "orientation", "unit", "long_name", "invariant_to"),  # of a score: in the register, recorded once
}
"""Fields left out wherever they occur, beside those that a result declares as volatile."""


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (path, number, string or digest of an array) for everything a value holds."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        yield path, digest(value)
    elif value is None or isinstance(value, bool | int | float | str):
        yield path, value
    elif isinstance(value, ls.Objective):
        yield from leaves({"theta": value.theta, "fixed": value.fixed, "loss": value.loss()}, path)
    elif isinstance(value, nn.Module):
        yield from leaves(value.state_dict(), path)
    elif isinstance(value, ls.operators.Operator):
        yield path, repr(value)
    elif isinstance(value, tuple | list) and len(value) > 6 and all(isinstance(item, int | float) for item in value):
        yield path, digest(np.asarray(value))
    else:
        for name, item in items(value):
            yield from leaves(item, f"{path}.{name}" if path else name)


def items(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the named parts of a dataclass, a mapping or a sequence."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for f in dataclasses.fields(value):
            item = getattr(value, f.name)
            if f.name == "vectors" and item is not None:  # the sign of an eigenvector is arbitrary
                rows = np.asarray(item, dtype=np.float64)
                yield "|vectors · c|", np.abs(rows @ np.cos(np.arange(rows.shape[-1])))
            elif f.name not in EXCLUDED and not f.metadata.get("volatile"):
                yield f.name, item
    elif isinstance(value, Mapping):
        yield from ((str(key), item) for key, item in value.items() if key not in EXCLUDED)
    elif isinstance(value, tuple | list):
        for i, item in enumerate(value):
            name, radius = getattr(item, "name", None), getattr(item, "radius", None)
            yield f"{i}" if name is None else f"{i}:{name}" if radius is None else f"{i}:{name}@{radius:g}", item
    else:
        yield "type", type(value).__name__


def digest(array: np.ndarray) -> dict[str, Any]:
    """Describe an array by shape, type, three sums (one that notices an exchange of entries) and its first and last entries."""
    flat = array.ravel()
    ends = flat.tolist() if flat.size <= 6 else [*flat[:3].tolist(), *flat[-3:].tolist()]
    found: dict[str, Any] = {"shape": list(array.shape), "dtype": str(array.dtype), "ends": ends}
    if not (np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        return {**found, "crc": zlib.crc32("\0".join(map(str, flat)).encode())}
    wide = flat.astype(np.float64)
    finite = np.isfinite(wide)
    x = np.where(finite, wide, 0.0)
    sums = {"sum": x, "squares": x**2, "cosines": x * np.cos(np.arange(x.size))}
    return {**found, **{name: math.fsum(terms) for name, terms in sums.items()}, "infinite": int((~finite).sum())}


class Book:
    """Writes down what calls return; ``book(name, function, …)`` returns it too, or `None` where the function raised."""

    def __init__(self):
        self.calls: dict[str, dict[str, Any]] = {}

    def __call__(self, name: str, function: Any, *args: Any, **options: Any) -> Any:
        if name in self.calls:
            raise ValueError(f"two calls are named {name!r}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                found = function(*args, **options)
                self.calls[name] = dict(leaves(found))
        except Exception as error:  # a refusal is part of what is promised
            self.calls[name] = {"raises": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}
            return None
        return found


def record(only: str = "*", say: Any = lambda text: None) -> dict[str, Any]:
    """Run all parts whose name matches and return them."""
    from record_calls import GENERAL, SUBJECTS
    from record_networks import NETWORKS

    torch.set_num_threads(1)
    pattern = only if any(sign in only for sign in "*?[") else f"*{only}*"
    parts: dict[str, Any] = {}
    for network, build in [*NETWORKS.items(), ("general", None)]:
        subjects = (SUBJECTS if build else GENERAL).items()
        chosen = {name: run for name, run in subjects if fnmatch.fnmatchcase(f"{network}/{name}", pattern)}
        case = build() if build and chosen else None
        for name, run in chosen.items():
            book, started = Book(), time.perf_counter()
            try:
                run(book, case) if case else run(book)
            except Exception as error:
                book.calls["(the part itself)"] = {"raises": f"{type(error).__name__}: {error}"}
            tolerance = case.tolerance if case else 1e-5 if name in ("comparison", "experiments") else 1e-12
            parts[f"{network}/{name}"] = {"tolerance": tolerance, "calls": book.calls}
            say(f"{network}/{name}: {count(book.calls)} values, {time.perf_counter() - started:.1f} s")
    return {"only": only, "parts": parts}


def count(calls: Mapping[str, Any]) -> int:
    return sum(len(fields) for fields in calls.values())


def read(path: str | Path) -> dict[str, Any]:
    opened = gzip.open if str(path).endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8") as file:
        return json.load(file)


def write(found: dict[str, Any], path: str | Path) -> None:
    text = json.dumps(found, ensure_ascii=False, separators=(",", ":")).encode()
    Path(path).write_bytes(gzip.compress(text, 9, mtime=0) if str(path).endswith(".gz") else text)


def apart(a: Any, b: Any, rtol: float) -> tuple[float, bool]:
    """Return the relative distance of two leaves, infinite where they differ in kind, and whether it is within ``rtol``."""
    if isinstance(a, dict) and isinstance(b, dict):
        if any(a.get(key) != b.get(key) for key in ("shape", "dtype", "infinite", "crc")):
            return math.inf, False
        rtol = rtol if a["dtype"].startswith("float") else 0.0
        size, length = math.prod(a["shape"]), math.sqrt(a.get("squares", 0.0))
        near = [
            _near(a[k], b[k], rtol, length * s) for k, s in (("sum", size**0.5), ("cosines", size**0.5), ("squares", 0))
        ]
        near += [_near(x, y, rtol, length / max(size, 1) ** 0.5) for x, y in zip(a["ends"], b["ends"], strict=True)]
        return max(distance for distance, _ in near), all(within for _, within in near)
    return _near(a, b, rtol, 1e-3)


def _near(a: Any, b: Any, rtol: float, scale: float) -> tuple[float, bool]:
    """The same for two numbers; numbers far below ``scale`` are compared with it, being rounding errors themselves."""
    if type(a) is not type(b) or not isinstance(a, float) or not (math.isfinite(a) and math.isfinite(b)):
        same = type(a) is type(b) and (a == b or (a != a and b != b))
        return (0.0 if same else math.inf), same
    if a == b:
        return 0.0, True
    return abs(a - b) / max(abs(a), abs(b)), abs(a - b) <= rtol * max(abs(a), abs(b), scale)


def compare(old: dict[str, Any], new: dict[str, Any], rtol: float | None = None) -> tuple[list[str], str]:
    """Return a line for every difference beyond the tolerance, and a summary that also counts those within it."""
    lines: list[str] = []
    values, moved, largest = 0, 0, (0.0, "")
    partial = old["only"] != new["only"]
    for part in {**old["parts"], **new["parts"]}:
        if part not in old["parts"] or part not in new["parts"]:
            lines += [] if partial else [f"{part}: only in the {'new' if part in new['parts'] else 'old'} record"]
            continue
        a, b = old["parts"][part], new["parts"][part]
        allowed = a["tolerance"] if rtol is None else rtol
        for call in {**a["calls"], **b["calls"]}:
            left, right = a["calls"].get(call, {}), b["calls"].get(call, {})
            for name in {**left, **right}:
                values += 1
                where = f"{part} | {call} | {name}"
                if name not in left or name not in right:
                    lines.append(f"{where}\n    old {left.get(name, '—')}\n    new {right.get(name, '—')}")
                    continue
                distance, within = apart(left[name], right[name], allowed)
                moved += distance > 0
                if not within:
                    lines.append(f"{where}  (relative {distance:.3g})\n    old {left[name]}\n    new {right[name]}")
                elif distance > largest[0]:
                    largest = distance, where
    last = f", the largest by {largest[0]:.3g} ({largest[1]})" if largest[1] else ""
    within = moved - sum("(relative" in line for line in lines)
    return lines, f"{values} values compared: {len(lines)} differ, {within} differ within the tolerance{last}"


def main(arguments: list[str] | None = None) -> int:
    """Make a record, or compare two; 1 where they differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="where to write the record: .json, or .json.gz")
    parser.add_argument("--only", default="*", help="a part, or a pattern of parts")
    parser.add_argument("--compare", nargs=2, metavar=("OLD", "NEW"))
    parser.add_argument("--rtol", type=float, help="relative difference allowed to floats; default: by part")
    given = parser.parse_args(arguments)
    if given.compare:
        lines, summary = compare(*map(read, given.compare), given.rtol)
        print("\n".join([*lines, summary]))
        return int(bool(lines))
    found = record(given.only, lambda text: print(text, flush=True))
    print(f"{sum(count(part['calls']) for part in found['parts'].values())} values")
    if given.out:
        write(found, given.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
