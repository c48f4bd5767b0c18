"""Experiments by name: what they write, and what they refuse."""

import inspect
import json

import pytest

import landscape.studies
from landscape.cli import main
from landscape.errors import LandscapeError
from landscape.store import open_study
from landscape.studies.registry import describe_experiments, experiments, run_experiment


def test_a_quick_run_leaves_a_study_a_table_and_a_figure(tmp_path, capsys):
    code = main(["experiment", "edge-of-stability", "--quick", "--out", str(tmp_path), "--quiet"])
    assert code == 0
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == [f"edge-of-stability-quick.{suffix}" for suffix in ("h5", "md", "pdf", "png")]
    page = (tmp_path / "edge-of-stability-quick.md").read_text(encoding="utf-8")
    assert page.startswith("# Edge of stability\n\nDoes training sharpen")
    assert "**time**" not in page  # the same run gives the same page
    assert "| threshold | start" in page
    assert list(open_study(tmp_path / "edge-of-stability-quick.h5")) == ["edge-of-stability"]
    assert "last quarter" in capsys.readouterr().out


def test_without_a_name_they_are_listed(capsys):
    assert main(["experiment"]) == 0
    assert capsys.readouterr().out.strip() == describe_experiments()
    assert main(["experiment", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == experiments().keys()


def test_unknown_names_and_places_are_refused(tmp_path, capsys):
    assert main(["experiment", "alchemy"]) == 2
    assert "no experiment is called 'alchemy'; there are" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    with pytest.raises(LandscapeError, match="cannot write"):
        run_experiment("optimisers", tmp_path / "file" / "below", quick=True)


def test_every_experiment_says_what_it_asks_and_takes_its_settings():
    for name, experiment in experiments().items():
        assert name == experiment.name
        assert experiment.question.endswith("?")
        parameters = inspect.signature(experiment.function).parameters
        assert {"workers", "save", *experiment.full, *experiment.quick} <= parameters.keys()


def test_a_study_is_one_file_of_the_folder(tmp_path, monkeypatch, capsys):
    """What CONTRIBUTING.md says a study is: nothing else knows its name."""
    (tmp_path / "coin.py").write_text(
        "from landscape.studies.grid import grid\n"
        "from landscape.studies.registry import Experiment\n\n\n"
        "def flip(*, side, seed):\n    return {'heads': (seed + side) % 2}\n\n\n"
        "def coin(*, seeds=range(4), workers=1, save=None):\n"
        "    return grid(flip, {'side': (0, 1), 'seed': seeds}, name=STUDY.name, settings={}, workers=workers, save=save)\n\n\n"
        "STUDY = Experiment(name='coin', question='Is it fair?', function=coin, quick={'seeds': range(2)})\n"
    )
    monkeypatch.setattr("landscape.studies.__path__", [*landscape.studies.__path__, str(tmp_path)])
    monkeypatch.setattr("landscape.studies.registry.experiments", experiments.__wrapped__)
    assert main(["experiment", "coin", "--quick", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert "4: 2 side × 2 seed" in capsys.readouterr().out
    assert open_study(tmp_path / "out" / "coin-quick.h5")["coin"]["heads"].tolist() == [0, 1, 1, 0]
