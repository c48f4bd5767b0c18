"""Exports and reports from the shell."""

import json
import subprocess
import sys

import numpy as np
import pytest

from landscape import export, importers
from landscape.cli import main
from landscape.cli.parser import EXPORTS
from landscape.results import Plane, Score, Scores


@pytest.fixture
def study(tmp_path):
    x, y = np.linspace(-1, 1, 5), np.linspace(-1, 1, 4)
    plane = Plane(x=x, y=y, values={"train/loss": (x - 0.5) ** 2 + y[:, None] ** 2 + 1}, computed=np.ones((4, 5)))
    plane.save(tmp_path / "study.h5", "sgd-0/plane")
    Scores(rows=(Score(name="trace", value=2.0, standard_error=0.1),)).save(tmp_path / "study.h5", "sgd-0/scores")
    return tmp_path / "study.h5"


def test_the_shell_knows_every_format():
    assert set(EXPORTS) == export.FORMATS.keys()


@pytest.mark.parametrize("name", ["goldstein", "paraview", "csv", "json"])
def test_an_entry_is_written_and_named(name, study, tmp_path, capsys):
    assert main(["export", name, str(study), "sgd-0/plane", "-o", str(tmp_path / "out" / "plane.xdmf"), "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert written
    assert sorted(written) == sorted(str(path) for path in (tmp_path / "out").iterdir())


def test_what_was_exported_is_what_was_stored(study, tmp_path, capsys):
    assert main(["export", "goldstein", str(study), "sgd-0/plane", "-o", str(tmp_path / "surface.h5")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'surface.h5'}\n"
    assert importers.goldstein(tmp_path / "surface.h5").loss.min() == pytest.approx(1 + 1 / 9)


def test_figures_to_turn_are_drawn_of_what_has_them(study, tmp_path, capsys):
    pytest.importorskip("plotly")
    assert main(["plot", str(study), "--out", str(tmp_path / "out"), "--format", "html"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out' / 'sgd-0-plane.html'}\n"
    assert main(["plot", str(study), "sgd-0/scores", "--out", str(tmp_path / "out"), "--format", "html"]) == 2


def test_a_report_with_its_bundle(study, tmp_path, capsys):
    page, folder = tmp_path / "report.html", tmp_path / "paper"
    assert main(["report", str(study), "-o", str(page), "--latex", str(folder)]) == 0
    assert capsys.readouterr().out == f"{page}\n{folder}\n"
    assert page.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert (folder / "main.tex").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["export", "csv", "STUDY", "sgd-1/plane", "-o", "OUT"], "holds no 'sgd-1/plane'"),
        (["export", "paraview", "STUDY", "sgd-0/scores", "-o", "OUT"], "holds planes, not a Scores"),
        (["report", "ABSENT", "-o", "OUT"], "there is no file"),
    ],
)
def test_wrong_inputs_are_one_line_and_code_2(arguments, message, study, tmp_path, capsys):
    places = {"STUDY": str(study), "OUT": str(tmp_path / "out"), "ABSENT": str(tmp_path / "absent.h5")}
    assert main([places.get(argument, argument) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "remedy"), [("obj", "use landscape plot --format html"), ("netcdf", "to_netcdf(PATH)")]
)
def test_formats_of_former_versions_name_what_does_their_work(name, remedy, study, tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["export", name, str(study), "sgd-0/plane", "-o", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert (stopped.value.code, said.count("\n")) == (2, 1)
    assert f"{name} is no longer written: use" in said
    assert remedy in said


def test_formats_are_written_and_read_without_torch():
    loaded = "import sys, landscape.export, landscape.importers; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
