"""What a study file says about its own making: when, by which command, with which versions."""

from __future__ import annotations

import datetime
import platform
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from landscape._version import __version__
from landscape.store.encode import SCHEMA_VERSION

FORMAT = "landscape-study"


def root_attributes(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a new file's root, where device, dtype and seed of the first result stored are repeated."""
    known = {key: provenance[key] for key in ("device", "dtype", "seed") if key in provenance}
    commit = caller_commit()
    return {
        "format": FORMAT,
        "schema_version": SCHEMA_VERSION,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": command(sys.argv),
        "landscape_version": __version__,
        "torch_version": _installed("torch"),
        "numpy_version": _installed("numpy"),
        "h5py_version": _installed("h5py"),
        "python_version": platform.python_version(),
        **({"git_commit": commit} if commit else {}),
        **known,
    }


def command(argv: list[str]) -> str:
    """Return a command line with folders left out, so that a shared file does not tell whose machine wrote it.

    >>> command(["/home/ada/train.py", "--out=/home/ada/run.h5", "--lr", "0.1", "SGD=/home/ada/sgd-?.pt"])
    'train.py --out=run.h5 --lr 0.1 SGD=sgd-?.pt'
    """
    return " ".join(_base_name(argument) for argument in argv)


def caller_commit() -> str | None:
    """Return the git commit of the folder that holds the running script, or `None` outside a repository."""
    script = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path()
    folder = script.parent if script.is_file() else Path.cwd()
    asked: dict[str, Any] = {"cwd": folder, "capture_output": True, "text": True, "timeout": 5, "check": False}
    try:
        found = subprocess.run(["git", "rev-parse", "HEAD"], **asked)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def _base_name(argument: str) -> str:
    option, equals, value = argument.partition("=")
    if equals and not {"/", "\\"} & set(option):
        return f"{option}={_base_name(value)}"
    return argument.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1] if {"/", "\\"} & set(argument) else argument


def _installed(package: str) -> str:
    loaded = getattr(sys.modules.get(package), "__version__", None)
    if loaded is not None:  # reading torch's metadata from the disk takes longer than writing a small result
        return str(loaded)
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
