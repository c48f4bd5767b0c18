"""The LaTeX bundle: every file that the document names is there."""

import re
import shutil
import subprocess

import pytest

from landscape.report import bundle


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


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")
def test_it_compiles(folder):
    for command in (["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main"], ["bibtex", "main"]):
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
