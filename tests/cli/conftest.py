"""The command line called in this process, and a user's own network, data and weights in a folder."""

import sys

import pytest
import torch
from safetensors.torch import save_file

from landscape.cli import main

NETWORK = """
import torch
def build(): return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
def wide(width): return torch.nn.Linear(3, width)
def number(): return 3
def broken(): return torch.nn.Linear(3, undefined)
def data(): return torch.arange(30.).reshape(10, 3) / 30, torch.arange(10) % 2
def noise(): return torch.arange(30.).reshape(10, 3) / 30, torch.ones(10, dtype=int)
def loss(output, target): return output.no_such_method(target)
"""


@pytest.fixture
def said(capsys):
    """Run a command and return its exit code, what it printed and what it complained."""

    def run(*arguments):
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as stopped:
            code = stopped.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A folder with a module of the user's own, ``mynet``, and weights that fit its network."""
    (tmp_path / "mynet.py").write_text(NETWORK)
    network = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    save_file(network.state_dict(), tmp_path / "best.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "mynet", raising=False)
    return tmp_path
