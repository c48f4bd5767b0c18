"""Fixtures of the study's tests; `study_examples` beside this file becomes importable."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "study.h5"
