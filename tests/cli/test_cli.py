"""The shell: every command once on a small network, and one line with exit code 2 for every wrong input."""

import json
import os
import pickle
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from landscape.cli import main
from landscape.cli.targets import _pair

SMALL = ["--sizes", "64", "32", "10", "--target", "0.5"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    assert main(["train", "sgd", "momentum", "--out", str(folder), "--seeds", "2", *SMALL]) == 0
    return folder


def said(capsys, *arguments):
    code = main([str(a) for a in arguments])
    out = capsys.readouterr()
    return code, out.out, out.err


def test_help_is_quick_and_has_examples():
    done = subprocess.run([sys.executable, "-m", "landscape.cli", "--help"], capture_output=True, text=True, check=True)
    assert "examples:" in done.stdout
    assert "exit codes" in done.stdout
    loaded = "import sys, landscape.cli.parser as p; p.build(); print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout == "False\n"
    )


def test_from_checkpoints_to_figures(runs, tmp_path, capsys):
    study, first = tmp_path / "study.h5", runs / "sgd-0.safetensors"
    code, out, _ = said(capsys, "eigen", first, "-k", 2, "--save", study, "--json")
    assert code == 0
    values = json.loads(out)["sgd-0"]["values"]
    assert len(values) == 2
    assert values[0] >= values[1] > 0
    assert said(capsys, "slice", first, "--points", 5, "--save", study)[0] == 0
    assert said(capsys, "slice", first, "--points", 5, "--dims", 1, "--save", study)[0] == 0
    assert said(capsys, "score", first, "--scores", "lambda-max", "weight-norm", "--save", study)[0] == 0
    code, out, _ = said(
        capsys, "compare", f"SGD={runs}/sgd-?.safetensors", f"Momentum={runs}/momentum-?.safetensors",
        "--scores", "weight-norm", "--save", study,
    )  # fmt: skip
    assert code == 0
    assert "Momentum" in out
    code, out, _ = said(capsys, "info", study)
    assert code == 0
    assert all(word in out for word in ("sgd-0", "plane", "comparison"))
    assert said(capsys, "validate", study)[0] == 0
    code, out, _ = said(capsys, "plot", study, "sgd-0/plane", "--out", tmp_path / "figures", "--format", "png")
    assert code == 0
    assert (tmp_path / "figures" / "sgd-0-plane.png").stat().st_size > 5000


def test_own_network_by_import(tmp_path, monkeypatch, capsys):
    (tmp_path / "mynet.py").write_text(
        "import torch\n"
        "def build():\n    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))\n"
        "def data():\n    X = torch.arange(30.).reshape(10, 3) / 30\n    return X, torch.arange(10) % 2\n"
    )
    net = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
    save_file(net.state_dict(), tmp_path / "best.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    own = ["--model", "mynet:build", "--data", "mynet:data"]
    assert said(capsys, "eigen", "best.safetensors", *own, "-k", 1)[0] == 0
    code, _, err = said(capsys, "eigen", "best.safetensors", "--model", "mynet:nothing", "--data", "mynet:data")
    assert (code, "no 'nothing'" in err) == (2, True)
    code, _, err = said(capsys, "eigen", "best.safetensors", "--model", "mynet:build")
    assert (code, "--data" in err) == (2, True)
    save_file({"0.weight": torch.zeros(5, 3), "9.bias": torch.zeros(1)}, tmp_path / "wrong.safetensors")
    code, _, err = said(capsys, "eigen", "wrong.safetensors", *own)
    assert code == 2
    assert "0.bias" in err
    assert "9.bias" in err


class Evil:
    def __reduce__(self):
        return (os.system, ("echo pwned > pwned.txt",))


def test_a_pickle_that_would_run_code_is_refused(tmp_path, monkeypatch, capsys):
    (tmp_path / "mynet2.py").write_text(
        "import torch\ndef build():\n    return torch.nn.Linear(1, 2)\ndata = lambda: (torch.zeros(2, 1), torch.tensor([0, 1]))\n"
    )
    (tmp_path / "evil.pt").write_bytes(pickle.dumps(Evil()))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    code, _, err = said(capsys, "eigen", "evil.pt", "--model", "mynet2:build", "--data", "mynet2:data")
    assert code == 2
    assert not (tmp_path / "pwned.txt").exists()
    assert "state_dict" in err


WRONG = {
    "missing checkpoint": (["eigen", "TMP/nothing.safetensors"], "no file"),
    "no manifest": (["eigen", "TMP/foreign.h5"], "--model"),
    "unknown recipe": (["train", "sdg", "--out", "TMP"], "expected one of"),
    "unknown pattern": (["eigen", "RUNS/sgd-0.safetensors", "--parameters", "layer9.*"], "matches no parameter"),
    "unknown score": (["score", "RUNS/sgd-0.safetensors", "--scores", "flatness"], "flatness"),
    "not a recipe": (["compare", "sgd", "momentum"], "NAME=PATTERN"),
    "empty pattern": (["compare", "a=TMP/x-*", "b=TMP/y-*"], "no file matches"),
    "foreign study": (["info", "TMP/foreign.h5"], "foreign.h5"),
    "missing study": (["info", "TMP/none.h5"], "none.h5"),
    "cannot write": (["eigen", "RUNS/sgd-0.safetensors", "-k", "1", "--save", "TMP/no/such/folder/s.h5"], "folder"),
    "too many eigenvalues": (["eigen", "RUNS/sgd-0.safetensors", "-k", "100000"], "100000"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_and_code_2(case, runs, tmp_path, capsys):
    (tmp_path / "foreign.h5").write_bytes(b"not a study")
    arguments, expected = WRONG[case]
    code, out, err = said(
        capsys, *(word.replace("RUNS", str(runs)).replace("TMP", str(tmp_path)) for word in arguments)
    )
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert expected in err


def test_a_pair_that_ends_with_labels_is_one_data_set():
    X, y = torch.ones(4, 2), torch.zeros(4)
    for data in ((X, y), ((X, X), y), ({"x": X}, y), (X.numpy(), y.numpy())):
        assert _pair(data) == (data, None)
    assert _pair(((X, y), (X, y))) == ((X, y), (X, y))
