"""How Sphinx builds the site: ``make docs`` writes ``site/``. Warnings are errors."""

import dataclasses
import re
import shutil
from pathlib import Path
from typing import Any

from landscape import __version__
from landscape.results import KINDS, role_of

DOCS = Path(__file__).parent
ROOT = DOCS.parent


def _bring(folder: str, pattern: str, target: str) -> None:
    """Copy pages that live elsewhere in the repository beside the others, where Sphinx looks for them."""
    here = DOCS / target
    shutil.rmtree(here, ignore_errors=True)
    here.mkdir(parents=True)
    for path in sorted((ROOT / folder).glob(pattern)):
        shutil.copy(path, here / path.name)


def _kinds() -> str:
    """Return a table of every kind's fields, read from the schema that the study file is written by."""
    lines = []
    for slug, cls in sorted(KINDS.items()):
        lines += [
            f"### {slug}",
            "",
            f"`/{cls.location}`",
            "",
            "| name | stored as | dimensions | what |",
            "|---|---|---|---|",
        ]
        for field in dataclasses.fields(cls):
            role, meta = role_of(field), field.metadata
            dims = " × ".join("…" if dim is ... else dim for dim in meta.get("dims", ()))
            what = meta.get("long_name", "")
            if role == "rows":
                what = "columns " + ", ".join(column.name for column in dataclasses.fields(meta["row"]))
            lines.append(f"| `{field.name}` | {_STORED[role]} | {dims} | {what} |")
        lines.append("")
    return "\n".join(lines)


_STORED = {"array": "dataset", "arrays": "datasets", "rows": "columns", "result": "group", "attribute": "attribute"}
(DOCS / "study-kinds.md").write_text(_kinds())
_bring("notebooks", "*.ipynb", "notebooks")
_bring("benchmarks/results", "*.md", "benchmarks")
(DOCS / "changelog.md").write_text((ROOT / "CHANGELOG.md").read_text())

project = "landscape"
author = "the landscape developers"
copyright = f"2026, {author}"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
    "sphinxcontrib.bibtex",
    "sphinx_copybutton",
    "myst_nb",
]
exclude_patterns = ["_build", "study-kinds.md"]
default_role = "any"
suppress_warnings = [
    "ref.any",  # `names` in docstrings are code where nothing is linked
    "myst.header",  # benchmarks write tables below headings of their own
]

myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # `make notebooks` runs them and keeps their outputs

autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_use_ivar = True

bibtex_bibfiles = ["../landscape/bibliography.bib"]
bibtex_default_style = "unsrt"

html_theme = "furo"
html_title = f"landscape {release}"
html_static_path = ["_static"]
html_css_files = ["landscape.css"]
html_theme_options = {"navigation_with_keys": True}
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True


def _as_written(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Read $…$ as a formula, and |λ| as it stands: reStructuredText takes it for a substitution."""
    lines[:] = re.sub(r"\$([^$]+)\$", r":math:`\1`", "\n".join(lines)).split("\n")
    literal: str | None = None
    for i, line in enumerate(lines):
        indent = line[: len(line) - len(line.lstrip())]
        if literal is not None and (line.strip() or literal == ">>>"):
            if (literal == ">>>" and line.strip()) or (literal != ">>>" and line.startswith(literal + " ")):
                continue
            literal = None
        if line.lstrip().startswith((".. math::", ">>>")):
            literal = ">>>" if ">>>" in line else indent
            continue
        if literal is None:
            parts = re.split(r"(``.*?``|`[^`]*`)", line)
            lines[i] = "".join(part if k % 2 else part.replace("|", r"\|") for k, part in enumerate(parts))


def setup(app: Any) -> None:
    """Connect what autodoc calls for each docstring."""
    app.connect("autodoc-process-docstring", _as_written)
