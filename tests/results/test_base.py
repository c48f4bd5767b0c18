"""Results explain themselves: schema, printing, plain form; and the package imports lazily."""

import dataclasses
import json
import subprocess
import sys
from typing import ClassVar

import numpy as np
import pytest

from landscape import exchange
from landscape.results import KINDS, Eigenpairs, Plane, Result, array, describe, plain, role_of
from landscape.results.comparison import over_radii
from landscape.store import open_study
from landscape.tables import format_table


def pairs():
    return Eigenpairs(
        values=np.array([3.0, 1.0]),
        residuals=np.array([1e-4, 2e-4]),
        vectors=np.eye(2),
        operator="hessian",
        which="LA",
        tol=1e-3,
        matvecs=12,
        converged=True,
    )


def test_every_kind_is_registered_under_its_own_slug_and_place():
    for slug, cls in KINDS.items():
        assert cls.kind == slug
        assert cls.location.split("/")[0] in ("checkpoints", "paths", "comparisons", "experiments", "trajectory")
        assert "{entry}" in cls.location


@pytest.mark.parametrize("cls", KINDS.values(), ids=lambda c: c.kind)
def test_every_array_names_its_dimensions_and_says_what_it_is(cls):
    for declared in dataclasses.fields(cls):
        if role_of(declared) in ("array", "arrays"):
            assert declared.metadata["dims"]
            assert declared.metadata["long_name"]
            assert declared.metadata["units"]


def test_results_are_frozen_and_copied_with_replace():
    result = pairs()
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.tol = 1.0
    assert result.replace(tol=1e-6).tol == 1e-6
    assert result.tol == 1e-3


def test_repr_shows_values_residuals_and_cost():
    text = repr(pairs())
    assert "3.00000 ± 0.00010" in text
    assert "12 products" in text
    assert "<table>" in pairs()._repr_html_()


def test_long_texts_of_a_repr_are_continued_below_their_first_line():
    result = pairs().replace(message=" ".join(["spikier (× 4.11, p = 0.02)"] * 12))
    lines = repr(result).splitlines()
    assert max(map(len, lines)) <= 120
    assert " ".join(" ".join(lines).split()).count("spikier (× 4.11, p = 0.02)") == 12
    assert not any(line.rstrip().endswith(("×", "p", "=")) for line in lines)


def test_html_is_escaped():
    result = pairs().replace(message="<script>")
    assert "<script>" not in result._repr_html_()


def test_plain_form_is_json():
    record = json.loads(json.dumps(pairs().to_dict()))
    assert record["values"] == [3.0, 1.0]
    assert record["converged"] is True


def test_describe_counts_what_is_not_finite():
    assert describe(np.array([1.0, np.nan] * 8)) == "(16,) in [1, 1], 8 not finite"
    assert describe(np.zeros((0, 3))) == "(0, 3) empty"
    assert plain({"a": (np.float64(1.5), np.arange(2))}) == {"a": [1.5, [0, 1]]}


def test_slices_are_looked_up_by_metric_and_data_set():
    plane = Plane(
        x=np.arange(3.0),
        y=np.arange(2.0),
        values={"train/loss": np.ones((2, 3)), "test/loss": np.zeros((2, 3))},
        computed=np.ones((2, 3), np.uint8),
    )
    assert plane.loss.shape == (2, 3)
    assert plane.value("loss", "test").sum() == 0
    with pytest.raises(KeyError, match="train/loss"):
        _ = plane.accuracy


def test_radii_are_combined_by_the_geometric_mean():
    values = np.array([[1.0, 100.0], [7.0, np.nan], [np.nan, np.nan], [-1.0, 2.0]])
    np.testing.assert_allclose(over_radii(values), [10.0, 7.0, np.nan, np.nan])


def test_columns_of_a_text_table_start_below_each_other():
    head, rule, *body = format_table(("score", "SGD"), [("lambda-max", "1.25"), ("x", "22.5")]).splitlines()
    assert {head.index("SGD"), rule.rindex(" ") + 1, body[0].index("1.25"), body[1].index("22.5")} == {12}


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Ranks(Result):
    """Effective rank of each layer's representation."""

    kind: ClassVar[str] = "ranks"
    location: ClassVar[str] = "checkpoints/{owner}/ranks/{entry}"
    index: ClassVar[str] = "layer"
    rank: np.ndarray = array("layer", long_name="effective rank", title="rank ± s.e.", error="errors")
    errors: np.ndarray = array("layer", long_name="standard error")
    examples: int


del KINDS["ranks"]  # no other test should meet it


def test_a_new_kind_of_result_needs_nothing_but_its_class(tmp_path, monkeypatch):
    monkeypatch.setitem(KINDS, "ranks", Ranks)
    Ranks(rank=np.array([3.0, 1.5]), errors=np.array([0.1, 0.02]), examples=9).save(tmp_path / "study.h5", "sgd-0/all")
    read = open_study(tmp_path / "study.h5")["sgd-0/all"]
    assert repr(read) == "Ranks\n  rank ± s.e.  3.00 ± 0.10, 1.500 ± 0.020\n  examples     9\n  time         0 s"
    assert read.table("markdown").splitlines()[2] == "| 1     | 3.00 ± 0.10   |"
    assert {name: list(column) for name, column in read.columns().items()} == {
        "layer": [1, 2], "rank": [3.0, 1.5], "errors": [0.1, 0.02],
    }  # fmt: skip
    assert "<table>" in read._repr_html_()
    assert r"$1.500 \pm 0.020$" in exchange.latex(read, tmp_path / "ranks.tex").read_text(encoding="utf-8")


def test_import_is_lazy():
    code = "import landscape, sys; print('torch' in sys.modules, 'matplotlib' in sys.modules, 'Objective' in dir(landscape))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]


def test_every_public_name_can_be_loaded():
    import landscape as ls

    for name in ls.__all__:
        assert getattr(ls, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'hessian_'"):
        _ = ls.hessian_
