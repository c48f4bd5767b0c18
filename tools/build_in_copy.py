"""The build backend: setuptools, working in a copy of the tree, so that ``pip install .`` leaves no file in it (PEP 517)."""

import contextlib
import functools
import os
import shutil
import tempfile
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 - editable installs and source distributions are setuptools' own

_SOURCES = ("landscape", "setup.cfg", "pyproject.toml", "README.md", "LICENSE")


def _in_copy(hook):
    """Return the hook as one that runs where only the sources stand; the paths pip gives are absolute."""

    @functools.wraps(hook)
    def run(*args, **options):
        with tempfile.TemporaryDirectory() as folder:
            for source in map(Path, _SOURCES):
                copy = shutil.copytree if source.is_dir() else shutil.copy
                copy(source, Path(folder, source))
            args = [os.path.abspath(item) if isinstance(item, str) else item for item in args]
            with contextlib.chdir(folder):
                return hook(*args, **options)

    return run


get_requires_for_build_wheel = _in_copy(build_meta.get_requires_for_build_wheel)
prepare_metadata_for_build_wheel = _in_copy(build_meta.prepare_metadata_for_build_wheel)
build_wheel = _in_copy(build_meta.build_wheel)
