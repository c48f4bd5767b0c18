"""The LaTeX bundle: every file that the document names is there."""

import re
import shutil
import subprocess

import pytest

from landscape.report import bundle
from landscape.results import Score, Scores


@pytest.fixture(scope="module")
def folder(study_file, tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "paper"
    written = bundle(study_file, out)
    assert sorted(written) == sorted(path for path in out.rglob("*") if path.is_file())
    return out


def test_the_document_names_files_that_are_there_and_all_of_them(folder):
    text = (folder / "main.tex").read_text(encoding="utf-8")
    tables = set(re.findall(r"\\input\{(tables/[^}]*)\}", text))
    figures = set(re.findall(r"\\includegraphics\{([^}]*)\}", text))
    assert {f"tables/{path.stem}" for path in (folder / "tables").iterdir()} == tables
    assert {f"figures/{path.stem}" for path in (folder / "figures").iterdir()} == figures
    assert len(figures) == 8
    assert text.isascii()
    for path in folder.rglob("*.tex"):
        labels = re.findall(r"\\label\{([^}]*)\}", path.read_text(encoding="utf-8"))
        assert len(labels) == len(set(labels))


def test_every_table_has_as_many_cells_as_columns(folder):
    for path in (folder / "tables").iterdir():
        text = path.read_text(encoding="utf-8")
        columns = len(re.search(r"\\begin\{tabular\}\{([lr]*)\}", text)[1])
        rows = [line for line in text.splitlines() if line.endswith(r"\\")]
        assert rows
        assert all(len(re.split(r"(?<!\\)&", row)) == columns for row in rows), path.name


def test_latex_never_has_to_keep_more_floats_than_it_can(tmp_path):
    for seed in range(40):  # LaTeX gives up at some 50 that wait for a place
        Scores(rows=(Score(name="trace", value=1.0),)).save(tmp_path / "study.h5", f"a-{seed}/scores")
    bundle(tmp_path / "study.h5", tmp_path / "paper")
    body = (tmp_path / "paper" / "main.tex").read_text(encoding="utf-8").partition("methods")[2]
    waiting = [part.count(r"\input{tables") for part in body.split(r"\clearpage")]
    assert sum(waiting) == 41
    assert max(waiting) <= 8


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_it_compiles(folder):
    for command in (["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main"], ["bibtex", "main"]):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
