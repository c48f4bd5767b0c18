"""Every code block of the README and of the documentation runs, page by page, as a reader would run it."""

import ast
import inspect
import re
import shlex
import sys
from pathlib import Path

import pytest
from matplotlib import pyplot

from landscape.cli import main
from landscape.cli.parser import build

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SLOW = {"README.md"}
"""Pages that take more than a few seconds; run by `make slow`."""


def pages():
    found = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    brought = {ROOT / "docs" / name for name in ("benchmarks", "notebooks")}  # copied there by conf.py
    return [path for path in found if BLOCK.search(path.read_text()) and path.parent not in brought]


def long(path):
    """Whether the page's blocks take minutes to hours at published settings; tests/experiments run them small."""
    return path.parent.name == "experiments"


def marked(path):
    name = path.relative_to(ROOT).as_posix()
    slow = name in SLOW or "<!-- slow -->" in path.read_text()
    return pytest.param(path, id=name, marks=[pytest.mark.slow] if slow else [])


def run_shell(text):
    """Run the `landscape` commands of a console block in this process; a block without a prompt is output."""
    for line in re.findall(r"^\$ (.*(?:\\\n.*)*)", text, re.MULTILINE):
        words = shlex.split(line.replace("\\\n", " "), comments=True)
        assert words[0] == "landscape", f"only landscape commands can be tested, not {words[0]!r}"
        assert main(words[1:]) == 0, line


@pytest.mark.parametrize("path", [marked(path) for path in pages() if not long(path)])
def test_code_blocks_run_in_order(path, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    names = {"__name__": "__main__"}
    text = path.read_text()
    try:
        for found in BLOCK.finditer(text):
            line = text[: found.start()].count("\n") + 1
            if found[1] == "python":
                exec(compile("\n" * line + found[2], path, "exec"), names)
            else:
                run_shell(found[2])
    finally:
        pyplot.close("all")


@pytest.mark.parametrize("path", [marked(path) for path in pages() if long(path)])
def test_names_and_arguments_of_long_blocks_exist(path):
    for found in BLOCK.finditer(path.read_text()):
        if found[1] == "console":
            for line in re.findall(r"^\$ landscape (.*)", found[2], re.MULTILINE):
                assert build().parse_args(shlex.split(line, comments=True))
            continue
        tree, names = ast.parse(found[2]), {}
        for node in tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                exec(compile(ast.Module([node], []), path, "exec"), names)
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and inspect.isfunction(names.get(node.func.id))
            ):
                given = {keyword.arg: None for keyword in node.keywords if keyword.arg}
                inspect.signature(names[node.func.id]).bind_partial(*node.args, **given)


def test_the_pages_that_must_have_code_have_it():
    named = {path.relative_to(ROOT).as_posix() for path in pages()}
    assert {"README.md", "docs/quickstart.md", "docs/command-line.md"} <= named
    guides = [
        path.relative_to(ROOT).as_posix()
        for room in ("concepts", "howto")
        for path in (ROOT / "docs" / room).glob("*.md")
    ]
    assert len(guides) > 15
    assert set(guides) <= named


def test_every_public_name_is_on_the_reference_page():
    import landscape as ls

    text = (ROOT / "docs/reference/index.md").read_text()
    assert [name for name in ls.__all__ if name != "__version__" and not re.search(rf"\b{name}`", text)] == []
