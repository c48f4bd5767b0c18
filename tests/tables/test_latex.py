"""LaTeX tables: rules, uncertainties, escapes."""

import numpy as np
import pytest

from landscape import export
from landscape.results import Comparison, Eigenpairs, Score, Scores
from landscape.results.comparison import Audited, Gate, Test, Verdict
from landscape.tables import Measured, escape
from landscape.tables.latex import cell_latex


@pytest.fixture
def comparison() -> Comparison:
    return Comparison(
        recipes=("sgd", "rand"), long_names=("SGD", "Random & labels"), scores=("trace",), radii=np.array([[np.nan]]),
        values=np.array([1.0, 3.0, 20.0, np.nan]).reshape(2, 2, 1, 1), standard_errors=np.full((2, 2, 1, 1), np.nan),
        metrics={"train/loss": np.array([[0.1, 0.1], [0.2, 0.2]])},
        gates=(Gate("sgd", "rand", "train loss", False, 1.0, 0.1, "train both to the same cross-entropy"),),
        tests=(Test("sgd", "rand", "trace", True, "log10", 1.0, 0.5, 1.5, 0.01, 0.03, 1.0, False, True, 2, 1),),
        verdicts=(Verdict("sgd", "rand", "not comparable", "text"),),
        audited=(
            Audited("sgd", "trace", "T1", 4.0, "not invariant"), Audited("sgd", "trace", "T3", float("nan"), "not applicable"),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        (Measured(2.0, 0.13), r"$2.00 \pm 0.13$"),
        (Measured(1234.5, 56.0), r"$1234 \pm 56$"),
        (Measured(0.0996, 0.00996), r"$0.0996 \pm 0.0100$"),
        (Measured(1.5e-5, 2e-7), r"$(1.500 \pm 0.020) \times 10^{-5}$"),
        (Measured(3e7, 2e8), r"$(0.3 \pm 2.0) \times 10^{8}$"),
        (Measured(1.5e-9), r"$1.5 \times 10^{-9}$"),
        (Measured(0.0, 0.0), "$0$"),
        (Measured(1.02, 0.05, mark="≈"), r"$1.020 \pm 0.050 \approx$"),
        (Measured(-2.5), "$-2.5$"),
        (Measured(float("-inf")), r"$-\infty$"),
        (Measured(float("nan"), 1.0), "NaN"),
        (None, ""),
        ("a_b & 50 %", r"a\_b \& 50 \%"),
    ],
)
def test_cells(cell, expected):
    assert cell_latex(cell) == expected


def test_every_character_of_our_own_tables_is_ascii_in_latex(comparison):
    for table in comparison.tables():
        texts = [table.title, table.note, *table.columns, *(c for row in table.rows for c in row if isinstance(c, str))]
        for text in texts:
            assert escape(text).isascii(), text


def test_every_text_of_the_registry_can_be_set():
    from landscape.scores.register import REGISTRY

    for score in REGISTRY.values():
        for text in (score.slug, score.title, score.formula, score.source, score.remark, score.unit):
            assert escape(text).count("?") == text.count("?"), f"{score.slug}: {text}"


def test_letters_stay_and_unknown_scripts_become_question_marks():
    assert escape("Müller, Mądry") == "Müller, Mądry"
    assert escape("σ′² ℓ₂ 雪") == r"$\sigma$$'$$^2$ $\ell$$_2$ ?"


def test_a_table_has_the_rules_of_booktabs_and_as_many_cells_as_columns(tmp_path):
    pairs = Eigenpairs(
        values=np.array([3.0, 1.0]), residuals=np.array([0.01, 0.02]), operator="hessian", which="LA", tol=1e-3,
        matvecs=9, converged=True,
    )  # fmt: skip
    text = export.latex(pairs, tmp_path / "eigen.tex", caption="Mine.", label="tab:eigen").read_text()
    assert [line for line in text.splitlines() if line.endswith("rule")] == [r"\toprule", r"\midrule", r"\bottomrule"]
    assert r"\caption{Mine.}" in text
    assert r"\label{tab:eigen}" in text
    assert r"1 & $3.000 \pm 0.010$ \\" in text
    assert r"\begin{tabular}{lr}" in text


def test_a_comparison_gives_means_tests_and_gates(comparison, tmp_path):
    text = export.latex(comparison, tmp_path / "all.tex", label="tab:all").read_text()
    assert text.count(r"\begin{table}") == 4
    assert r"trace & $2.0 \pm 1.4$ & $20$ \\" in text  # one seed: no spread
    assert r"\caption{Differences: Random \& labels against SGD." in text
    assert r"trace (primary) & log10 & $1$ & [0.5, 1.5] & $0.01$ & $0.03$ & $1$ &  \\" in text
    assert r"\label{tab:all-2}" in text
    assert "failed" in text
    assert r"SGD & trace & $4$ & T1 \\" in text  # T3 applies nowhere: no column


def test_scores_that_are_not_defined_stay_empty():
    panel = Scores(rows=(Score(name="keskar", value=float("nan"), status="not defined"),))
    assert "value ± s.e." not in panel.tables()[0].columns
