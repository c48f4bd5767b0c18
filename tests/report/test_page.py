"""The report: complete, self-contained, safe and the same every time."""

import base64
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import ClassVar

import h5py
import numpy as np
import pytest

from landscape import plots
from landscape.errors import LandscapeError
from landscape.report import report
from landscape.results import KINDS, Estimate, Line, Result, rows
from landscape.slices import topology


class Page(HTMLParser):
    """Collects tags and text, and checks that every element is closed where it should be."""

    VOID = ("meta", "img", "br")

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def written(study_file, tmp_path_factory):
    return report(study_file, tmp_path_factory.mktemp("page") / "report.html")


@pytest.fixture(scope="module")
def page(written):
    return Page(written.read_text(encoding="utf-8"))


def test_every_part_is_there_and_linked_from_the_top(page):
    titles = {attrs["id"] for attrs in page.all("section")}
    assert titles >= {
        "verdict", "gates", "comparison", "figures", "audit", "power", "fingerprints", "checkpoints", "other-results",
        "methods", "provenance", "bibliography", "scores-and-radii",
    }  # fmt: skip
    links = {attrs["href"] for attrs in page.all("a") if attrs["href"].startswith("#")}
    targets = {f"#{attrs['id']}" for _, attrs in page.tags if "id" in attrs}
    assert links <= targets
    assert {f"#{title}" for title in titles} <= links


def test_nothing_is_fetched_or_run(page, written):
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "video", "base", "form"})
    for _, attrs in page.tags:
        assert not any(name.startswith("on") for name in attrs)
        assert attrs.get("src", "data:image/").startswith("data:image/")
    assert "url(" not in written.read_text(encoding="utf-8").partition("</style>")[0]
    assert "default-src 'none'" in written.read_text(encoding="utf-8")


def test_names_from_the_file_are_text_not_markup(page, written):
    assert "<script" not in written.read_text(encoding="utf-8")
    assert r"Random <script>alert(1)</script> & labels_{x} $\frac{$ 100% #~^" in "".join(page.text)


def test_figures_are_inside_and_tables_scroll_in_their_own_box(page, written):
    images = page.all("img")
    assert len(images) == 8  # scores, effects, planes, lines, paths, eigenvalues, density, audit
    for image in images:
        assert base64.b64decode(image["src"].partition("base64,")[2]).lstrip().startswith(b"<?xml")
        assert image["alt"]
    text = written.read_text(encoding="utf-8")
    assert text.count("<table>") == text.count("tabindex='0'><table>")
    assert ".scroll { overflow-x: auto" in text
    assert 'name="viewport"' in text


def test_what_is_cited_is_listed_and_nothing_else(page):
    cited = {attrs["href"].removeprefix("#ref-") for attrs in page.all("a") if "#ref-" in attrs["href"]}
    listed = {attrs["id"].removeprefix("ref-") for attrs in page.all("li")}
    assert cited == listed
    assert listed >= {
        "keskar2017large", "dinh2017sharp", "li2018visualizing", "epperly2024xtrace", "wu2000thick", "holm1979simple",
        "pearlmutter1994fast", "ghorbani2019investigation", "frankle2020linear",
    }  # fmt: skip
    source = "".join(page.text)
    assert all(f"{{{key}," in source for key in listed)  # BibTeX of each


def test_the_same_study_gives_the_same_bytes(study_file, written, tmp_path):
    again = report(study_file, tmp_path / "again.html")
    assert again.read_bytes() == written.read_bytes()


def test_verdict_and_gates_say_what_the_study_says(page):
    text = "".join(page.text)
    assert "ends in spikier minima." in text
    classes = [attrs.get("class") for attrs in page.all("td")]
    assert classes.count("passed") == 1
    assert classes.count("failed") == 1


def test_numbers_keep_their_errors(written):
    assert re.search(r"0\.100&nbsp;±&nbsp;0\.010", written.read_text(encoding="utf-8"))


@pytest.fixture
def small(tmp_path):
    line = Line(x=np.arange(3.0), values={"train/loss": np.ones(3)})
    line.save(tmp_path / "small.h5", "best/line")
    return tmp_path / "small.h5"


def test_a_study_without_comparison_has_a_report_too(small, tmp_path):
    page = Page(report(small, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert [attrs["id"] for attrs in page.all("section")] == ["figures", "methods", "provenance"]
    assert "lines of 3 points." in "".join(page.text)


@dataclass(frozen=True)
class Gadget:
    arm: str
    value: float
    value_error: float
    passed: bool


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Gadgets(Result):
    """Gadgets of a kind that this package will learn later."""

    kind: ClassVar[str] = "gadgets"
    location: ClassVar[str] = "experiments/{entry}"
    gadgets: tuple[Gadget, ...] = rows(Gadget)
    verdict: str = "seen"


del KINDS["gadgets"]  # no other test should meet it


def test_results_of_any_kind_have_their_summary_rows_and_figure(tmp_path, monkeypatch):
    found = Gadgets(gadgets=(Gadget("a & b", 1.5, 0.25, True), Gadget("c", 2.5, 0.5, False)))
    monkeypatch.setitem(KINDS, "gadgets", Gadgets)
    monkeypatch.setitem(plots.KINDS, "gadgets", plots.summary)
    path = tmp_path / "study.h5"
    found.save(path, "first")
    topology(np.array([3.0, 1.0, 2.0, 0.0, 5.0])).save(path, "sgd-0/line")
    text = report(path, tmp_path / "report.html").read_text(encoding="utf-8")
    Page(text)
    assert "<td>a &amp; b</td><td class='number'>1.50&nbsp;±&nbsp;0.25</td><td>yes</td>" in text
    assert "<th>quantity</th><th>value</th>" in text
    assert "gadgets: first" in text
    assert "Gadgets of a kind that this package will learn later." in text
    assert text.count("<img") == 2
    assert "<h3>Topology: line of sgd-0</h3>" in text


@pytest.mark.parametrize("error", [LandscapeError, ZeroDivisionError])
def test_a_figure_that_fails_says_why_and_does_not_take_the_report_along(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error("no <ink>")

    monkeypatch.setitem(plots.KINDS, "topology", fail)
    topology(np.arange(3.0)).save(tmp_path / "study.h5", "sgd-0/line")
    text = report(tmp_path / "study.h5", tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Not drawn: no &lt;ink&gt;" in text
    assert "topology: sgd-0/line" in text


def test_results_that_cannot_be_read_are_named_and_the_others_shown(small, tmp_path):
    topology(np.arange(3.0)).save(small, "best/shape")
    with h5py.File(small, "r+") as file:
        file["checkpoints/best/topology/shape"].attrs["kind"] = "hologram"
    text = report(small, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "1 result, 1 not readable" in text
    assert "holds a &#x27;hologram&#x27;" in text
    assert text.count("<img") == 1


def test_estimates_share_a_table(tmp_path):
    for owner in ("sgd-0", "sgd-1"):
        one = Estimate(value=2.0, standard_error=0.13, matvecs=9, method="xtrace", quantity="trace")
        one.save(tmp_path / "study.h5", f"{owner}/trace")
    text = report(tmp_path / "study.h5", tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.count("2.00&nbsp;±&nbsp;0.13") == 2
    assert text.count("<th>method</th>") == 1


def test_what_cannot_be_read_or_written_is_said(small, tmp_path):
    with pytest.raises(LandscapeError, match=r"no file absent\.h5"):
        report(tmp_path / "absent.h5", tmp_path / "report.html")
    (tmp_path / "file").touch()
    with pytest.raises(LandscapeError, match="cannot write"):
        report(small, tmp_path / "file" / "report.html")
