"""The flatness card and its methods paragraph."""

import re

import numpy as np
import pytest

from landscape.report import card
from landscape.report.content import gather
from landscape.report.methods import cite, methods, to_html, to_text
from landscape.statistics import detectable
from landscape.tables import Measured


@pytest.fixture(scope="module")
def made(study_file):
    return card(study_file)


def table(made, start):
    return next(one for one in made.tables if one.title.startswith(start))


def test_it_carries_gates_audit_radii_power_and_fingerprints(made):
    assert [one.title.partition(":")[0] for one in made.tables] == [
        "Gates", "Audit", "Audit of SGD, seed 0", "Scores and radii", "Power", "Fingerprints",
    ]  # fmt: skip
    assert table(made, "Audit of").rows[0] == ("keskar (0.001)", Measured(4.0), None)  # T1 moves it, T3 does not apply
    assert table(made, "Scores").rows[1][:2] == ("keskar", "0.001")
    fingerprints = {row[0]: row[1:] for row in table(made, "Fingerprints").rows}
    assert fingerprints["SGD, seed 0"] == ("a" * 12, "b" * 12, "1000", "c" * 12)
    assert made.verdicts[0].endswith("ends in spikier minima.")


def test_power_is_of_the_primary_scores(made):
    [row] = table(made, "Power").rows
    assert row[1:3] == ("keskar", "8 and 8")
    assert row[3].value == pytest.approx(2 / 12870)
    assert row[-1] == "× 10.0"


def test_the_detectable_difference_is_found_with_the_promised_power():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 8))
    a, b = (a - a.mean()) / a.std(ddof=1), (b - b.mean()) / b.std(ddof=1)
    difference = detectable(a, b)
    from scipy.stats import ttest_ind

    drawn = rng.normal(size=(2, 2000, 8))
    found = ttest_ind(drawn[0] + difference, drawn[1], axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.03)
    found = ttest_ind(drawn[0] + detectable(a, b, power=0.5), drawn[1], axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.5, abs=0.035)
    assert np.isnan(detectable(a[:1], b))


def test_the_paragraph_says_what_was_done_and_with_what(made):
    text = to_text(made.methods)
    for part in (
        "We compared SGD (8 seeds)", "4,810 parameters", "on 1,000 examples with the loss cross_entropy", "radius 0.001, 0.01",
        "relative residuals of 0.001", "was searched from a fresh random start",
        "3 probes of 4 steps", "planes of 5 × 4 points and lines of 5 points",
        "scaled filter by filter", "linear paths", "layer scale (T1)", "Holm's correction", "gates on gradient were waived",
        "landscape 0.1.0 and PyTorch",
    ):  # fmt: skip
        assert part in text
    assert "[@" not in text


def test_latex_and_bibtex_belong_together(made):
    latex, bibtex = made.latex(), made.bibtex()
    cited = {key for group in re.findall(r"\\cite\{([^}]*)\}", latex) for key in group.split(",")}
    assert cited == set(made.keys) == set(re.findall(r"^@\w+\{(.*),$", bibtex, re.MULTILINE))
    assert latex.isascii()
    assert r"labels\_\{x\}" in latex
    stripped = re.sub(r"\\[{}]", "", latex)
    assert stripped.count("{") == stripped.count("}")
    assert latex.count(r"\begin{table}") == len(made.tables)


def test_it_shows_and_saves_itself(made, tmp_path):
    assert "Flatness card of study.h5" in repr(made)
    assert "<script" not in made._repr_html_()
    starts = {"card.html": "<!DOCTYPE html>", "card.tex": r"\paragraph{Methods.}", "card.txt": "Flatness"}
    for name, start in starts.items():
        made.save(tmp_path / name)
        assert (tmp_path / name).read_text(encoding="utf-8").startswith(start)
    assert (tmp_path / "card.bib").read_text(encoding="utf-8") == made.bibtex()


def test_few_seeds_claim_nothing(study_file):
    content = gather(study_file)
    from dataclasses import replace

    few = content.comparisons["main"]
    few = few.replace(tests=tuple(replace(row, p_value=None, p_holm=None) for row in few.tests))
    told = methods(replace(content, results={**content.results, "main": few}))
    assert "no significance is claimed" in told
    assert "Holm" not in told


def test_citations():
    assert to_html("A & B" + cite(["dinh2017sharp", "holm1979simple"]), {"dinh2017sharp": 1, "holm1979simple": 2}) == (
        'A &amp; B [<a href="#ref-dinh2017sharp">1</a>, <a href="#ref-holm1979simple">2</a>]'
    )
