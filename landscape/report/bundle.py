r"""Tables, figures and BibTeX of a study in a folder, ready for ``\input``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from landscape import plots
from landscape.export.latex import FIT, escape, table_environment
from landscape.export.tables import Table, eigenpairs, means, metrics, scores, tests
from landscape.report.card import card_of
from landscape.report.citing import to_latex
from landscape.report.content import Content, gather
from landscape.report.drawings import drawings
from landscape.results import Eigenpairs, Scores
from landscape.store import Study
from landscape.store.files import write_text


def bundle(study: Content | Study | str | os.PathLike[str], folder: str | os.PathLike[str]) -> list[Path]:
    r"""Write the tables and figures of a study for a LaTeX document.

    Args:
        study: a study, or the path of its file.
        folder: gets ``tables/*.tex``, ``figures/*.pdf``, ``methods.tex``, ``references.bib``, and ``main.tex``, a
            document that shows all of them and compiles as it stands.

    Returns:
        The files written.

    Raises:
        LandscapeError: the study cannot be read, or the folder not be written.

    >>> import tempfile
    >>> from landscape.results import Estimate
    >>> path = Path(tempfile.mkdtemp()) / "study.h5"
    >>> Estimate(value=2.0, standard_error=0.1, matvecs=3, method="xtrace", quantity="trace").save(path, "sgd-0/trace")
    >>> [file.name for file in bundle(path, path.parent / "paper")]
    ['methods.tex', 'references.bib', 'main.tex']
    """
    content = study if isinstance(study, Content) else gather(study)
    out = Path(folder).expanduser()
    made = card_of(content)
    tables = {f"card-{i}": table for i, table in enumerate(made.tables, start=1)} | dict(_tables(content))
    written = [
        write_text(out / "tables" / f"{name}.tex", table_environment(table, label=f"tab:{name}", fit=True))
        for name, table in tables.items()
    ]
    lines = [rf"\input{{tables/{name}}}" for name in tables]
    for drawing in drawings(content):
        try:
            written += plots.save(drawing.draw(), out / "figures" / drawing.name, formats=("pdf",))
        except Exception as error:  # whatever a result holds, the rest of the bundle is written
            lines.append(f"% {drawing.name} was not drawn: {' '.join(str(error).split())}")
            continue
        lines += [
            r"\begin{figure}",
            r"\centering",
            rf"{FIT}\includegraphics{{figures/{drawing.name}}}}}",
            rf"\caption{{{escape(drawing.title)}. {escape(drawing.caption)}}}",
            rf"\label{{fig:{drawing.name}}}",
            r"\end{figure}",
        ]
    written.append(write_text(out / "methods.tex", to_latex(made.methods) + "\n"))
    written.append(write_text(out / "references.bib", made.bibtex()))
    written.append(write_text(out / "main.tex", _document(content.name, made.verdicts, lines, bool(made.keys))))
    return written


def _tables(content: Content) -> Iterator[tuple[str, Table]]:
    for name, comparison in content.comparisons.items():
        yield f"{name}-metrics", metrics(comparison)
        yield f"{name}-scores", means(comparison)
        for i, table in enumerate(tests(comparison), start=1):
            yield f"{name}-tests-{i}", table
    for entry, panels in content.by_entry(Scores).items():
        for owner, panel in panels.items():
            yield f"{owner}-{entry}", _of(scores(panel), content.label(owner))
    for entry, spectra in content.by_entry(Eigenpairs).items():
        for owner, pairs in spectra.items():
            yield f"{owner}-{entry}", _of(eigenpairs(pairs), content.label(owner))


def _of(table: Table, label: str) -> Table:
    return replace(table, title=f"{table.title}, {label}")


def _document(title: str, verdicts: tuple[str, ...], lines: list[str], cited: bool) -> str:
    return (
        "\n".join(
            [
                r"\documentclass{article}",
                r"\usepackage[T1]{fontenc}",
                r"\usepackage[utf8]{inputenc}",
                r"\usepackage{amsmath,booktabs,graphicx}",
                rf"\title{{{escape(title)}}}",
                r"\date{}",
                r"\begin{document}",
                r"\maketitle",
                *(escape(text) + "\n" for text in verdicts),
                r"\section*{Methods}",
                r"\input{methods}",
                r"\clearpage",
                *lines,
                r"\clearpage",
                *([r"\bibliographystyle{plain}", r"\bibliography{references}"] if cited else []),
                r"\end{document}",
            ]
        )
        + "\n"
    )
