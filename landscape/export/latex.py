r"""Tables for papers: ``booktabs`` rules, uncertainties as ±, one float a table."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from landscape.export.files import write_text
from landscape.export.tables import Cell, Measured, Table, digits, tables
from landscape.results import Result

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "÷": r"$\div$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "∞": r"$\infty$",
    "‖": r"$\|$",
    "√": r"$\sqrt{}$",
    "∇": r"$\nabla$",
    "′": r"$'$",
    "²": r"$^2$",
    "₂": r"$_2$",
    "₁": r"$_1$",
    "₀": r"$_0$",
    "½": r"$\tfrac12$",
    "λ": r"$\lambda$",
    "σ": r"$\sigma$",
    "ρ": r"$\rho$",
    "ε": r"$\varepsilon$",
    "δ": r"$\delta$",
    "η": r"$\eta$",
    "θ": r"$\theta$",
    "—": "---",
    "–": "--",
    "…": r"\dots{}",
}


def latex(result: Result, path: str | os.PathLike[str], *, caption: str | None = None, label: str = "") -> Path:
    r"""Write the tables of a result as LaTeX; the document needs ``\usepackage{booktabs}``.

    Args:
        result: scores, a comparison, eigenpairs or an estimate.
        path: the file, for ``\input``.
        caption: of the first table, in LaTeX; `None`: what the table is called.
        label: ``\label`` of the first table; further ones get ``-2``, ``-3`` ….

    Returns:
        The file.

    Raises:
        LandscapeError: there is no table of this kind of result, or the place cannot be written.

    >>> import tempfile
    >>> from landscape.results import Score, Scores
    >>> one = Scores(rows=(Score(name="trace", value=2.0, standard_error=0.13),))
    >>> print(latex(one, Path(tempfile.mkdtemp()) / "scores.tex").read_text().splitlines()[7])
    trace & $2.00 \pm 0.13$ &  &  & ok \\
    """
    made = tables(result)
    texts = []
    for index, table in enumerate(made):
        suffix = f"-{index + 1}" if index else ""
        texts.append(
            table_environment(table, caption=caption if index == 0 else None, label=f"{label}{suffix}" if label else "")
        )
    return write_text(path, "\n".join(texts))


def table_environment(table: Table, *, caption: str | None = None, label: str = "") -> str:
    """Return a ``table`` float of a table: columns of numbers flush right, the others flush left."""
    numeric = [
        any(isinstance(row[i], Measured) for row in table.rows)
        and not any(isinstance(row[i], str) for row in table.rows)
        for i in range(len(table.columns))
    ]
    note = f" {escape(table.note)}" if table.note else ""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption if caption is not None else escape(table.title) + '.' + note}}}",
        *([rf"\label{{{label}}}"] if label else []),
        rf"\begin{{tabular}}{{{''.join('r' if right else 'l' for right in numeric)}}}",
        r"\toprule",
        _row([escape(name) for name in table.columns]),
        r"\midrule",
        *(_row([cell_text(cell) for cell in row]) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def cell_text(cell: Cell) -> str:
    r"""Write a cell as LaTeX.

    >>> print(cell_text(Measured(1.5e-5, 2e-7)), cell_text(Measured(float("inf"))), cell_text("95 %"), cell_text(None))
    $(1.500 \pm 0.020) \times 10^{-5}$ $\infty$ 95 \%
    """
    if cell is None:
        return ""
    if isinstance(cell, str):
        return escape(cell)
    mantissa, error, power = digits(cell)
    if mantissa.endswith("∞"):
        return r"$-\infty$" if mantissa.startswith("−") else r"$\infty$"
    if mantissa == "NaN":
        return "NaN"
    body = mantissa if error is None else rf"{mantissa} \pm {_scientific(error)}"
    if power == 0:
        return f"${body}$"
    return rf"${body if error is None else f'({body})'} \times 10^{{{power}}}$"


def escape(text: str) -> str:
    r"""Return text that LaTeX prints as it is.

    >>> print(escape("50 % of a_b"))
    50 \% of a\_b
    """
    return re.sub("|".join(map(re.escape, _ESCAPES)), lambda found: _ESCAPES[found[0]], text)


def _scientific(text: str) -> str:
    return re.sub(r"e([+-]\d+)", lambda found: rf" \times 10^{{{int(found[1])}}}", text)


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
