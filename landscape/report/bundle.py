r"""Tables, figures and BibTeX of a study in a folder, ready for ``\input``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from landscape import plots
from landscape.report.card import card
from landscape.report.content import Content, gather
from landscape.report.drawings import drawings
from landscape.report.layout import tex
from landscape.report.methods import to_latex
from landscape.results import Eigenpairs, Scores
from landscape.store import Study
from landscape.store.files import write_text
from landscape.tables import Measured, Table, escape, table_latex
from landscape.tables.latex import FIT


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
    content, out = gather(study), Path(folder).expanduser()
    made = card(content)
    tables = {f"card-{i}": table for i, table in enumerate(made.tables, start=1)} | dict(_tables(content))
    written = [
        write_text(out / "tables" / f"{name}.tex", table_latex(table, label=f"tab:{name}", fit=True))
        for name, table in tables.items()
    ]
    floats = [rf"\input{{tables/{name}}}" for name in tables]
    for drawing in drawings(content):
        try:
            written += plots.save(drawing.draw(), out / "figures" / drawing.name, formats=("pdf",))
        except Exception as error:  # whatever a result holds, the rest of the bundle is written
            floats.append(f"% {drawing.name} was not drawn: {escape(' '.join(str(error).split()))}")
            continue
        floats.append(tex("figure", name=drawing.name, title=drawing.title, caption=drawing.caption, fit=FIT))
    document = tex("main", title=content.name, verdicts=made.verdicts, floats=floats, cited=bool(made.keys))
    texts = {"methods.tex": to_latex(made.methods) + "\n", "references.bib": made.bibtex(), "main.tex": document}
    return written + [write_text(out / name, text) for name, text in texts.items()]


def _tables(content: Content) -> Iterator[tuple[str, Table]]:
    for name, comparison in content.comparisons.items():
        yield f"{name}-scores", comparison.overview()
        for i, table in enumerate(comparison.differences(), start=1):
            yield f"{name}-tests-{i}", table
    for entry, panels in content.by_entry(Scores).items():
        for owner, panel in panels.items():
            table = panel.tables()[0].only("score", "value ± s.e.", "radius", "declared invariant to", "status")
            yield f"{owner}-{entry}", replace(table, title=f"{table.title}, {content.label(owner)}")
    for entry, spectra in content.by_entry(Eigenpairs).items():
        yield f"eigenvalues-{entry}", _eigenvalues(content, spectra)


def _eigenvalues(content: Content, spectra: dict[str, Eigenpairs]) -> Table:
    """Return the eigenvalues of all checkpoints: one row per checkpoint, the largest number of columns among them."""
    most = max(len(pairs.values) for pairs in spectra.values())
    rows = []
    for owner, pairs in spectra.items():
        cells = [Measured(float(v), float(r)) for v, r in zip(pairs.values, pairs.residuals, strict=True)]
        rows.append((content.label(owner), *cells, *[None] * (most - len(cells))))
    first = next(iter(spectra.values()))
    return Table(first.title, ("checkpoint", *(f"λ{i}" for i in range(1, most + 1))), tuple(rows), first.note)
