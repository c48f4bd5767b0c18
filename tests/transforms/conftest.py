"""Make the networks of this folder importable by its tests."""

import importlib.util
import pathlib

import pytest

_spec = importlib.util.spec_from_file_location("transform_networks", pathlib.Path(__file__).with_name("networks.py"))
_networks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_networks)


@pytest.fixture
def build():
    return _networks.build
