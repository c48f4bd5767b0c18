r"""Tables as LaTeX: ``booktabs`` rules, uncertainties as ±, one float per table."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from landscape.tables.numbers import LATEX, number_text
from landscape.tables.table import Cell, Table, as_measured

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
_SIGNS = r"""
− - ± \pm × \times ÷ \div · \cdot ° ^\circ ≤ \leq ≥ \geq ≠ \neq ≈ \approx ∝ \propto ∞ \infty ∈ \in ∫ \int
∂ \partial ∇ \nabla √ \surd ‖ \| ⟨ \langle ⟩ \rangle → \to ↦ \mapsto ↔ \leftrightarrow ′ ' ℓ \ell ½ \tfrac12
⅓ \tfrac13 ¼ \tfrac14 ⁻ ^- ⁺ ^+ ᵀ ^\top ⁿ ^n † \dagger ⊙ \odot α \alpha β \beta γ \gamma δ \delta ε \varepsilon
ζ \zeta η \eta θ \theta ι \iota κ \kappa λ \lambda μ \mu ν \nu ξ \xi π \pi ρ \rho ς \varsigma σ \sigma τ \tau
υ \upsilon φ \varphi χ \chi ψ \psi ω \omega Γ \Gamma Δ \Delta Θ \Theta Λ \Lambda Ξ \Xi Π \Pi Σ \Sigma
Υ \Upsilon Φ \Phi Ψ \Psi Ω \Omega µ \mu
"""
_MATHS = dict(zip(_SIGNS.split()[::2], _SIGNS.split()[1::2], strict=True))


def table_latex(table: Table, *, caption: str | None = None, label: str = "", fit: bool = False) -> str:
    r"""Write a table as a ``table`` float: columns of numbers flush right, the others flush left; needs ``booktabs``.

    Args:
        table: the table.
        caption: in LaTeX; `None`: its title and note.
        label: for ``\ref``; empty: none.
        fit: shrink it to the width of the text where it is wider; needs ``graphicx``.
    """
    note = f" {escape(table.note)}" if table.note else ""
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption if caption is not None else escape(table.title) + '.' + note}}}",
        *([rf"\label{{{label}}}"] if label else []),
        *([f"{FIT}%"] if fit else []),
        rf"\begin{{tabular}}{{{''.join('r' if right else 'l' for right in table.numeric)}}}",
        r"\toprule",
        _row([escape(name) for name in table.columns]),
        r"\midrule",
        *(_row([cell_latex(cell, table.significant) for cell in row]) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}" + ("}" if fit else ""),
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def cell_latex(cell: Cell, significant: int = 4) -> str:
    r"""Write a cell as LaTeX.

    >>> from landscape.tables.numbers import Measured
    >>> print(cell_latex(Measured(1.5e-5, 2e-7)), cell_latex(Measured(float("inf"))), cell_latex("95 %"), cell_latex(None))
    $(1.500 \pm 0.020) \times 10^{-5}$ $\infty$ 95 \%
    """
    if cell is None:
        return ""
    return escape(str(cell)) if isinstance(cell, str | int) else number_text(as_measured(cell), significant, LATEX)


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
    if maths := _MATHS.get(character):
        return f"${maths}$"
    shift, plain = unicodedata.decomposition(character).partition(" ")[0], unicodedata.normalize("NFKD", character)
    if shift in ("<super>", "<sub>") and plain.isascii():
        return f"${'^' if shift == '<super>' else '_'}{plain}$"
    return "?"


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
