r"""Tables for papers: ``booktabs`` rules, uncertainties as ±, one float a table."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

from landscape.export.row_tables import row_tables
from landscape.export.tables import Cell, Table, tables
from landscape.results import Result
from landscape.results.numbers import Measured, digits
from landscape.store.files import write_text

FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{"
"""Shrinks what follows, up to a closing brace, to the width of the text where it is wider."""

_MARKUP = {
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
    "—": "---",
    "–": "--",
    "…": r"\dots{}",
    "“": "``",
    "”": "''",
    "‘": "`",
    "’": "'",
    "\u00a0": "~",
    "€": r"\texteuro{}",
}
_ACCENTS = {"\u0302": r"\hat", "\u0303": r"\tilde", "\u0304": r"\bar", "\u0307": r"\dot"}
_MATHS = {
    "−": "-",
    "±": r"\pm",
    "×": r"\times",
    "÷": r"\div",
    "·": r"\cdot",
    "°": r"^\circ",
    "≤": r"\leq",
    "≥": r"\geq",
    "≠": r"\neq",
    "≈": r"\approx",
    "∝": r"\propto",
    "∞": r"\infty",
    "∈": r"\in",
    "∫": r"\int",
    "∂": r"\partial",
    "∇": r"\nabla",
    "√": r"\surd",
    "‖": r"\|",
    "⟨": r"\langle",
    "⟩": r"\rangle",
    "→": r"\to",
    "↦": r"\mapsto",
    "↔": r"\leftrightarrow",
    "′": "'",
    "ℓ": r"\ell",
    "½": r"\tfrac12",
    "⅓": r"\tfrac13",
    "¼": r"\tfrac14",
    "⁻": "^-",
    "⁺": "^+",
    "ᵀ": r"^\top",
    "ⁿ": "^n",
    "†": r"\dagger",
    "⊙": r"\odot",
}
_GREEK = {
    "α": r"\alpha",
    "β": r"\beta",
    "γ": r"\gamma",
    "δ": r"\delta",
    "ε": r"\varepsilon",
    "ζ": r"\zeta",
    "η": r"\eta",
    "θ": r"\theta",
    "ι": r"\iota",
    "κ": r"\kappa",
    "λ": r"\lambda",
    "μ": r"\mu",
    "ν": r"\nu",
    "ξ": r"\xi",
    "π": r"\pi",
    "ρ": r"\rho",
    "ς": r"\varsigma",
    "σ": r"\sigma",
    "τ": r"\tau",
    "υ": r"\upsilon",
    "φ": r"\varphi",
    "χ": r"\chi",
    "ψ": r"\psi",
    "ω": r"\omega",
    "Γ": r"\Gamma",
    "Δ": r"\Delta",
    "Θ": r"\Theta",
    "Λ": r"\Lambda",
    "Ξ": r"\Xi",
    "Π": r"\Pi",
    "Σ": r"\Sigma",
    "Υ": r"\Upsilon",
    "Φ": r"\Phi",
    "Ψ": r"\Psi",
    "Ω": r"\Omega",
    "µ": r"\mu",
}


def latex(result: Result, path: str | os.PathLike[str], *, caption: str | None = None, label: str = "") -> Path:
    r"""Write the tables of a result as LaTeX; the document needs ``\usepackage{booktabs}``.

    Args:
        result: any result; those without a table of their own are shown by their rows, or by their summary.
        path: the file, for ``\input``.
        caption: of the first table, in LaTeX; `None`: what the table is called.
        label: ``\label`` of the first table; further ones get ``-2``, ``-3`` ….

    Returns:
        The file.

    Raises:
        LandscapeError: the place cannot be written.

    >>> import tempfile
    >>> from landscape.results import Score, Scores
    >>> one = Scores(rows=(Score(name="trace", value=2.0, standard_error=0.13),))
    >>> print(latex(one, Path(tempfile.mkdtemp()) / "scores.tex").read_text().splitlines()[7])
    trace & $2.00 \pm 0.13$ &  &  & ok \\
    """
    made = tables(result) or row_tables(result)
    texts = []
    for index, table in enumerate(made):
        suffix = f"-{index + 1}" if index else ""
        texts.append(
            table_environment(table, caption=caption if index == 0 else None, label=f"{label}{suffix}" if label else "")
        )
    return write_text(path, "\n".join(texts))


def table_environment(table: Table, *, caption: str | None = None, label: str = "", fit: bool = False) -> str:
    r"""Return a ``table`` float of a table: columns of numbers flush right, the others flush left.

    Args:
        table: the table.
        caption: in LaTeX; `None`: its title and note.
        label: for ``\ref``; empty: none.
        fit: shrink it to the width of the text where it is wider; needs ``graphicx``.
    """
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
        *([f"{FIT}%"] if fit else []),
        rf"\begin{{tabular}}{{{''.join('r' if right else 'l' for right in numeric)}}}",
        r"\toprule",
        _row([escape(name) for name in table.columns]),
        r"\midrule",
        *(_row([cell_text(cell) for cell in row]) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}" + ("}" if fit else ""),
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
    r"""Return text that LaTeX prints as it is; of other scripts than Latin and Greek, a question mark.

    >>> print(escape("50 % of a_b"), escape("λ₁ ≤ 10²"), escape("x\u0302"))
    50 \% of a\_b $\lambda$$_1$ $\leq$ 10$^2$ $\hat{x}$
    """
    return "".join(map(_character, re.findall(f".[{''.join(_ACCENTS)}]?", text, re.DOTALL)))


def _character(character: str) -> str:
    if len(character) == 2:
        return rf"${_ACCENTS[character[1]]}{{{_character(character[0]).strip('$')}}}$"
    if character in _MARKUP:
        return _MARKUP[character]
    if character.isascii() or unicodedata.name(character, "").startswith("LATIN"):
        return character
    if maths := _MATHS.get(character) or _GREEK.get(character):
        return f"${maths}$"
    shift, plain = unicodedata.decomposition(character).partition(" ")[0], unicodedata.normalize("NFKD", character)
    if shift in ("<super>", "<sub>") and plain.isascii():
        return f"${'^' if shift == '<super>' else '_'}{plain}$"
    return "?"


def _scientific(text: str) -> str:
    return re.sub(r"e([+-]\d+)", lambda found: rf" \times 10^{{{int(found[1])}}}", text)


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
