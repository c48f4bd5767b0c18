"""`landscape slice`: resumes, says what it kept, and measures the data it was told to."""

import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import landscape as ls
from landscape.cli import main

NETWORK = """
import torch
calls = []
limit = [10**9]
def build():
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 2))
def data():
    X = torch.arange(60.).reshape(20, 3).sin()
    y = torch.arange(20) % 2
    return (X[:10], y[:10]), (X[10:], y[10:])
def loss(output, target):
    calls.append(1)
    if len(calls) > limit[0]:
        raise KeyboardInterrupt
    return torch.nn.functional.cross_entropy(output, target)
"""


@pytest.fixture
def network(tmp_path, monkeypatch):
    (tmp_path / "slicednet.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "slicednet", raising=False)
    import slicednet

    torch.manual_seed(0)
    save_file(slicednet.build().state_dict(), tmp_path / "best.safetensors")
    return slicednet


def run_command(said, command, *arguments):
    names = ["--model", "slicednet:build", "--data", "slicednet:data", "--loss", "slicednet:loss"]
    return said(command, "best.safetensors", *names, *arguments)


def run(said, *arguments):
    return run_command(said, "slice", "--points", "5", *arguments)


def test_interrupted_scores_go_on_where_they_were(network, said, tmp_path):
    asked = ["trace", "weight-norm", "keskar"]
    assert run_command(said, "score", "--scores", *asked, "--save", "whole.h5")[::2] == (0, "")
    whole, network.calls[:] = len(network.calls), []
    network.limit[0] = whole - 2
    code, out, err = run_command(said, "score", "--scores", *asked, "--save", "study.h5")
    assert (code, out) == (130, "")
    assert "what is finished of 'best/scores' is kept beside study.h5" in err
    network.limit[0] = 10**9
    network.calls.clear()
    code, out, _ = run_command(said, "score", "--scores", *asked, "--save", "study.h5")
    assert code == 0
    assert 0 < len(network.calls) < whole
    again = run_command(said, "score", "--scores", *asked, "--save", "study.h5")
    assert again[:2] == (0, out)
    assert not (tmp_path / "study.h5.partial").exists()


def test_eigenvalues_are_kept_found_again_and_replaced_only_when_asked(network, said, monkeypatch):
    import landscape.spectra

    def stop(*arguments, save, **options):
        assert save == ("study.h5", "best/top2-la")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(landscape.spectra, "top_eigenpairs", stop)
        assert run_command(said, "eigen", "-k", "2", "--save", "study.h5")[0] == 130
    code, first, _ = run_command(said, "eigen", "-k", "2", "--save", "study.h5")
    assert run_command(said, "eigen", "-k", "2", "--save", "study.h5")[:2] == (code, first) == (0, first)
    code, _, err = run_command(said, "eigen", "-k", "2", "--seed", "1", "--save", "study.h5")
    assert code == 2
    assert "already holds a result of another computation (seed: 0 there, 1 here)" in err
    assert run_command(said, "eigen", "-k", "2", "--seed", "1", "--save", "study.h5", "--overwrite")[0] == 0


def test_eigenvalues_say_whether_they_converged(network, said):
    _, out, _ = run_command(said, "eigen", "-k", "2")
    assert "converged  yes" in out
    assert "products" in out


def test_an_interrupted_slice_goes_on_where_it_was(network, said):
    assert run(said, "--save", "whole.h5")[0] == 0
    network.calls.clear()
    assert run(said, "--save", "study.h5")[0] == 0
    whole = len(network.calls)
    network.calls.clear()
    network.limit[0] = whole - 15
    code, out, err = run(said, "--save", "other.h5")
    assert (code, out) == (130, "")
    assert "what is finished of 'best/plane' is kept beside other.h5" in err
    network.calls.clear()
    network.limit[0] = 10**9
    assert run(said, "--save", "other.h5")[0] == 0
    assert len(network.calls) < whole - 20
    network.calls.clear()
    assert run(said, "--save", "other.h5")[0] == 0  # finished: found again
    assert len(network.calls) < 10  # the objective's own checks
    found, expected = (ls.open_study(name)["best/plane"] for name in ("other.h5", "whole.h5"))
    for name, values in expected.values.items():
        np.testing.assert_array_equal(found.values[name], values)


def test_an_interrupted_slice_without_a_file_says_that_nothing_is_kept(network, said):
    network.limit[0] = 15
    code, _, err = run(said)
    assert code == 130
    assert "nothing is kept" in err


def test_another_slice_of_that_name_is_refused_or_overwritten(network, said):
    assert run(said, "--save", "study.h5")[0] == 0
    code, _, err = run(said, "--save", "study.h5", "--span", "2")
    assert code == 2
    assert "already holds" in err
    assert "--overwrite" in err
    assert run(said, "--save", "study.h5", "--span", "2", "--overwrite")[0] == 0
    assert ls.open_study("study.h5")["best/plane"].x[-1] == 2.0


def test_the_data_asked_for_is_the_data_measured(network, said):
    code, out, _ = run(said, "--dims", "1", "--on", "test", "--json")
    assert code == 0
    record = json.loads(out)["best"]
    assert record["dataset"] == "test"
    assert set(record["values"]) == {"test/loss"}
    both = json.loads(run(said, "--dims", "1", "--json")[1])["best"]
    assert both["values"]["test/loss"] == record["values"]["test/loss"]
    assert both["values"]["train/loss"] != record["values"]["test/loss"]


def test_files_of_one_name_are_told_apart_by_their_folders_and_entries_are_chosen(network, said, tmp_path):
    state = network.build().state_dict()
    for folder in "ab":
        (tmp_path / folder).mkdir()
        torch.save({"model": {name: 0 * t for name, t in state.items()}, "ema": state}, tmp_path / folder / "best.pt")
    arguments = ["a/best.pt", "b/best.pt", "--model", "slicednet:build", "--data", "slicednet:data", "--key", "ema"]
    assert main(["score", *arguments, "--scores", "weight-norm", "--save", "study.h5"]) == 0
    study = ls.open_study("study.h5")
    expected = sum(float(tensor.square().sum()) for tensor in state.values()) ** 0.5
    for name in ("a-best", "b-best"):
        assert study[f"{name}/scores"]["weight-norm"].value == pytest.approx(expected, rel=1e-5)
