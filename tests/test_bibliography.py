"""One bibliography: complete, parseable, and with every paper that a score names."""

import re
from importlib.resources import files

import pytest

from landscape import bibliography
from landscape.errors import LandscapeError


def test_every_entry_of_the_file_is_read_with_what_a_reference_needs():
    text = files("landscape").joinpath("bibliography.bib").read_text(encoding="utf-8")
    assert len(bibliography.entries()) == text.count("@")
    for key, entry in bibliography.entries().items():
        assert re.fullmatch(r"[a-z]+\d{4}[a-z0-9+]+", key)
        assert all(entry[name] for name in ("author", "title", "year")), key
        assert entry["booktitle"] or entry["journal"] or entry["publisher"] or entry["eprint"], key
        assert entry["year"] in key
        assert text.count(f"{{{key},") == 1
        for _, field in entry.fields:
            assert field.count("{") == field.count("}"), key


def test_every_paper_that_a_score_names_is_there():
    from landscape.scores.register import REGISTRY

    for slug, score in REGISTRY.items():
        named = set(re.findall(r"arXiv (\d{4}\.\d{5})", score.source))
        cited = {bibliography.entry(key)["eprint"] for key in bibliography.cited_in(score.source)}
        assert named <= cited, f"add arXiv {named - cited} to bibliography.bib: {slug!r} cites it"


def test_papers_are_found_by_number_or_by_author_and_year():
    assert bibliography.cited_in("Liang et al. 2017, arXiv 1711.01530") == ("liang2019fisher",)
    assert bibliography.cited_in("Jang et al. 2022, OpenReview") == ("jang2022reparametrization",)
    assert bibliography.cited_in("Golub and Meurant 2010, section 6.2") == ("golub2010matrices",)
    assert bibliography.cited_in("Keskar et al. 2016; 2017 was another year") == ()
    assert bibliography.cited_in("") == ()
    assert bibliography.cited_in("Li et al. 2018, arXiv 1804.08838") == ("li2018measuring",)  # not the other Li of 2018
    both = bibliography.cited_in("Cortes et al. 2012, JMLR 13; Arora et al. 2019, arXiv 1901.08584")
    assert both == ("cortes2012algorithms", "arora2019fine")


def test_bibtex_comes_back_as_it_is_stored_without_our_keywords():
    text = bibliography.bibtex(["dasilva2025hide", "ainsworth2023git", "dasilva2025hide"])
    assert text.index("ainsworth") < text.index("dasilva")
    assert text.count("@") == 2
    assert "keywords" not in text
    assert r"{Hide} \& {Seek}" in text
    assert bibliography.bibtex().count("@") == len(bibliography.entries())


def test_plain_references_have_no_markup():
    assert bibliography.entry("dasilva2025hide")["title"].startswith("Hide & Seek")
    assert bibliography.entry("shoham2025flatness").text() == (
        "Shoham, Mor-Yosef and Avron (2025). Flatness After All? arXiv 2506.17809."
    )
    for entry in bibliography.entries().values():
        assert not set("{}\\") & set(entry.text())


def test_unknown_keys_are_refused():
    with pytest.raises(LandscapeError, match="no entry 'nobody2000nothing'"):
        bibliography.bibtex(["nobody2000nothing"])
