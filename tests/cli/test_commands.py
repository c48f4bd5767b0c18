"""The shell: every command once on a small network, and one line with exit code 2 for every wrong input."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from landscape import export, importers
from landscape.cli import main
from landscape.cli.parser import EXPORTS
from landscape.cli.targets import _pair
from landscape.results import Plane, Score, Scores

OWN = ["--model", "mynet:build", "--data", "mynet:data"]
BEST = ["eigen", "best.safetensors"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    small = ["--sizes", "64", "32", "10", "--target", "0.5"]
    assert main(["train", "sgd", "momentum", "--out", str(folder), "--seeds", "2", *small]) == 0
    return folder


@pytest.fixture
def study(tmp_path):
    x, y = np.linspace(-1, 1, 5), np.linspace(-1, 1, 4)
    plane = Plane(x=x, y=y, values={"train/loss": (x - 0.5) ** 2 + y[:, None] ** 2 + 1}, computed=np.ones((4, 5)))
    plane.save(tmp_path / "study.h5", "sgd-0/plane")
    Scores(rows=(Score(name="trace", value=2.0, standard_error=0.1),)).save(tmp_path / "study.h5", "sgd-0/scores")
    return tmp_path / "study.h5"


def test_help_is_quick_and_has_examples():
    done = subprocess.run([sys.executable, "-m", "landscape", "--help"], capture_output=True, text=True, check=True)
    assert "examples:" in done.stdout
    assert "exit codes" in done.stdout


@pytest.mark.parametrize("use", ["landscape.cli.parser as p; p.build()", "landscape.export, landscape.importers"])
def test_help_and_formats_do_not_wait_for_torch(use):
    loaded = f"import sys, {use}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_from_checkpoints_to_figures(runs, tmp_path, said):
    study, first = tmp_path / "study.h5", runs / "sgd-0.safetensors"
    code, out, _ = said("eigen", first, "-k", 2, "--save", study, "--json")
    assert code == 0
    values = json.loads(out)["sgd-0"]["values"]
    assert len(values) == 2
    assert values[0] >= values[1] > 0
    for command in (
        ["slice", first, "--points", 5],
        ["slice", first, "--points", 5, "--dims", 1],
        ["score", first, "--scores", "lambda-max", "weight-norm"],
    ):
        assert said(*command, "--save", study)[0] == 0
    arms = [f"SGD={runs}/sgd-?.safetensors", f"Momentum={runs}/momentum-?.safetensors"]
    code, out, _ = said("compare", *arms, "--scores", "weight-norm", "--save", study)
    assert code == 0
    assert "Momentum" in out
    code, out, _ = said("info", study)
    assert code == 0
    assert all(word in out for word in ("sgd-0", "plane", "comparison"))
    assert said("validate", study)[0] == 0
    assert said("plot", study, "sgd-0/plane", "--out", tmp_path / "figures", "--format", "png")[0] == 0
    assert (tmp_path / "figures" / "sgd-0-plane.png").stat().st_size > 5000


def test_the_shell_knows_every_format():
    assert set(EXPORTS) == export.FORMATS.keys()


@pytest.mark.parametrize("name", ["goldstein", "paraview", "csv", "json"])
def test_an_entry_is_written_and_named(name, study, tmp_path, said):
    code, out, _ = said("export", name, study, "sgd-0/plane", "-o", tmp_path / "out" / "plane.xdmf", "--json")
    assert code == 0
    written = json.loads(out)
    assert written
    assert sorted(written) == sorted(str(path) for path in (tmp_path / "out").iterdir())
    if name == "goldstein":
        assert importers.goldstein(written[0]).loss.min() == pytest.approx(1 + 1 / 9)


def test_figures_to_turn_are_drawn_of_what_has_them(study, tmp_path, said):
    pytest.importorskip("plotly")
    html = ["--out", tmp_path / "out", "--format", "html"]
    assert said("plot", study, *html)[:2] == (0, f"{tmp_path / 'out' / 'sgd-0-plane.html'}\n")
    assert said("plot", study, "sgd-0/scores", *html)[0] == 2


def test_a_report_with_its_bundle(study, tmp_path, said):
    page, folder = tmp_path / "report.html", tmp_path / "paper"
    assert said("report", study, "-o", page, "--latex", folder)[:2] == (0, f"{page}\n{folder}\n")
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert (folder / "main.tex").exists()


def test_own_network_by_import(own, said):
    assert said(*BEST, *OWN, "-k", 1)[0] == 0
    save_file({"0.weight": torch.zeros(5, 3), "9.bias": torch.zeros(1)}, "wrong.safetensors")
    code, _, err = said("eigen", "wrong.safetensors", *OWN)
    assert code == 2
    assert "0.bias" in err
    assert "9.bias" in err


class Evil:
    def __reduce__(self):
        return (os.system, ("echo pwned > pwned.txt",))


def test_a_pickle_that_would_run_code_is_refused(own, said):
    (own / "evil.pt").write_bytes(pickle.dumps(Evil()))
    code, _, err = said("eigen", "evil.pt", *OWN)
    assert code == 2
    assert not (own / "pwned.txt").exists()
    assert "state_dict" in err


WRONG = {
    "missing checkpoint": (["eigen", "nothing.safetensors"], "no file"),
    "no manifest": (["eigen", "foreign.h5"], "--model"),
    "unknown recipe": (["train", "sdg", "--out", "."], "expected one of"),
    "unknown pattern": (["eigen", "RUNS/sgd-0.safetensors", "--parameters", "layer9.*"], "matches no parameter"),
    "unknown score": (["score", "RUNS/sgd-0.safetensors", "--scores", "flatness"], "flatness"),
    "not a recipe": (["compare", "sgd", "momentum"], "NAME=PATTERN"),
    "empty pattern": (["compare", "a=x-*", "b=y-*"], "no file matches"),
    "foreign study": (["info", "foreign.h5"], "foreign.h5"),
    "missing study": (["info", "none.h5"], "none.h5"),
    "cannot write": (["eigen", "RUNS/sgd-0.safetensors", "-k", "1", "--save", "no/such/folder/s.h5"], "folder"),
    "too many eigenvalues": (["eigen", "RUNS/sgd-0.safetensors", "-k", "100000"], "100000"),
    "seed": (["eigen", "x.safetensors", "--seed", "-1"], "argument --seed: -1, expected 0 or more"),
    "count": (["eigen", "x.safetensors", "-k", "few"], "argument -k: 'few', expected a whole number of at least 1"),
    "number": (["eigen", "x.safetensors", "--tol", "small"], "--tol: invalid float value"),
    "command": (["eigne", "x"], "invalid choice: 'eigne'"),
    "no command": ([], "COMMAND"),
    "sizes": (["train", "sgd", "--out", "runs", "--sizes", "64", "5"], "--sizes 64 5: the digits have 64 pixels"),
    "one recipe": (["compare", "A=*.safetensors", *OWN], "at least two"),
    "twice": (["compare", "A=*.safetensors", "A=*.safetensors", *OWN], "'A' is named twice"),
    "path": ([*BEST, "--model", "../mynet:build", *OWN[2:]], "write mynet:build"),
    "file": ([*BEST, "--model", "mynet.py:build", *OWN[2:]], "write mynet:build"),
    "no such factory": ([*BEST, "--model", "mynet:nothing", *OWN[2:]], "no 'nothing'"),
    "misspelt factory": ([*BEST, "--model", "mynet:bulld", *OWN[2:]], "no 'bulld'; did you mean build"),
    "no data": ([*BEST, *OWN[:2]], "--data"),
    "a factory with arguments": (
        [*BEST, "--model", "mynet:wide", *OWN[2:]],
        "mynet:wide cannot be called without arguments (missing a required argument: 'width'); name a function that needs none",
    ),
    "no module": ([*BEST, "--model", "mynet:number", *OWN[2:]], "returned int"),
    "no test": ([*BEST, *OWN, "--on", "test"], "training data only"),
    "k": ([*BEST, *OWN, "-k", "99"], "k=99"),
    "no entry": (["export", "csv", "study.h5", "sgd-1/plane", "-o", "out"], "holds no 'sgd-1/plane'"),
    "no plane": (["export", "paraview", "study.h5", "sgd-0/scores", "-o", "out"], "holds planes, not a Scores"),
    "no study": (["report", "absent.h5", "-o", "out"], "there is no file"),
    "obj": (["export", "obj", "study.h5", "sgd-0/plane", "-o", "out"], "invalid choice: 'obj'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_and_code_2(case, runs, own, study, said):
    (own / "foreign.h5").write_bytes(b"not a study")
    arguments, expected = WRONG[case]
    code, out, err = said(*(word.replace("RUNS", str(runs)) for word in arguments))
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert expected in err


def test_a_pair_that_ends_with_labels_is_one_data_set():
    X, y = torch.ones(4, 2), torch.zeros(4)
    for data in ((X, y), ((X, X), y), ({"x": X}, y), (X.numpy(), y.numpy())):
        assert _pair(data) == (data, None)
    assert _pair(((X, y), (X, y))) == ((X, y), (X, y))
