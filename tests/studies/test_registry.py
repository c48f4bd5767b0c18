"""Experiments by name: what they write, and what they refuse."""

import inspect
import json

import pytest

from landscape.cli import main
from landscape.errors import LandscapeError
from landscape.plots import KINDS
from landscape.store import open_study
from landscape.studies.registry import EXPERIMENTS, describe_experiments, run_experiment


def test_a_quick_run_leaves_a_study_a_table_and_a_figure(tmp_path, capsys):
    code = main(["experiment", "optimisers", "--quick", "--out", str(tmp_path), "--quiet"])
    assert code == 0
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == [f"optimisers-quick.{suffix}" for suffix in ("h5", "md", "pdf", "png")]
    page = (tmp_path / "optimisers-quick.md").read_text(encoding="utf-8")
    assert page.startswith("# Optimisers\n\nDoes momentum")
    assert "**time**" not in page  # the same run gives the same page
    assert "| threshold (2 + 2β)/η" in page
    assert list(open_study(tmp_path / "optimisers-quick.h5")) == ["optimisers"]
    assert "lambda-max / threshold" in capsys.readouterr().out


def test_without_a_name_they_are_listed(capsys):
    assert main(["experiment"]) == 0
    assert capsys.readouterr().out.strip() == describe_experiments()
    assert main(["experiment", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == EXPERIMENTS.keys()


def test_unknown_names_and_places_are_refused(tmp_path, capsys):
    assert main(["experiment", "alchemy"]) == 2
    assert "no experiment is called 'alchemy'; there are" in capsys.readouterr().err
    (tmp_path / "file").write_text("")
    with pytest.raises(LandscapeError, match="cannot write"):
        run_experiment("optimisers", tmp_path / "file" / "below", quick=True)


def test_every_experiment_says_what_it_asks_and_takes_its_settings():
    for name, experiment in EXPERIMENTS.items():
        assert name == experiment.name
        assert experiment.question.endswith("?")
        parameters = inspect.signature(experiment.function).parameters
        assert {"workers", "save", *experiment.full, *experiment.quick} <= parameters.keys()
    assert {"randomisation", "randomisation-table", "optimisers", "memorisation-test"} <= KINDS.keys()
