"""CSV and JSON: every digit, every kind of result; and what all formats have in common."""

import csv
import json

import numpy as np
import pytest

from landscape import export
from landscape.errors import LandscapeError
from landscape.results import Comparison, Diagonal, Eigenpairs, Estimate, Score, Scores


def columns_of(path):
    with open(path, newline="") as file:
        header, *rows = list(csv.reader(file))
    return {name: [row[i] for row in rows] for i, name in enumerate(header)}


def test_a_plane_is_one_row_per_point_with_all_digits(plane, folder, minimum):
    columns = columns_of(export.csv(plane, folder / "plane.csv"))
    loss = np.array(columns["train/loss"], dtype=float)
    minimum(loss.reshape(7, 11))
    np.testing.assert_array_equal(loss.reshape(7, 11), plane.loss)
    np.testing.assert_array_equal(np.array(columns["x"][:11], dtype=float), plane.x)
    np.testing.assert_array_equal(np.array(columns["y"][::11], dtype=float), plane.y)


def test_json_is_strict_and_complete(plane, folder, minimum):
    text = export.json(plane, folder / "plane.json").read_text()
    read = json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    minimum(np.array(read["values"]["train/loss"]))
    assert (read["kind"], read["provenance"]["gap"]) == ("plane", "NaN")
    np.testing.assert_array_equal(read["directions"]["vectors"], plane.directions.vectors)


def test_scores_keep_missing_values_empty(folder):
    panel = Scores(
        rows=(Score(name="trace", value=2.0, standard_error=0.1), Score(name="keskar", value=np.inf, radius=1.0))
    )
    columns = columns_of(export.csv(panel, folder / "scores.csv"))
    assert columns["name"] == ["trace", "keskar"]
    assert columns["value"] == ["2.0", "inf"]
    assert columns["standard_error"] == ["0.1", ""]
    assert columns["radius"] == ["", "1.0"]


def test_a_comparison_leaves_out_the_padding_of_scores_with_fewer_radii():
    result = Comparison(
        recipes=("a", "b"), long_names=("A", "B"), scores=("trace", "sam"),
        radii=np.array([[np.nan, np.nan], [0.1, 0.2]]), values=np.arange(8.0).reshape(2, 1, 2, 2),
        standard_errors=np.zeros((2, 1, 2, 2)), metrics={}, gates=(), tests=(), verdicts=(), audited=(),
    )  # fmt: skip
    columns = export.frame(result)
    assert columns["score"] == ["trace", "sam", "sam"] * 2
    assert columns["value"].tolist() == [0.0, 2.0, 3.0, 4.0, 6.0, 7.0]


def test_spectra_and_estimates_have_tables_too():
    pairs = Eigenpairs(
        values=np.array([3.0, 1.0]), residuals=np.array([0.1, 0.2]), operator="hessian", which="LA", tol=1e-3,
        matvecs=9, converged=True, history=np.ones(5),
    )  # fmt: skip
    assert {name: list(column) for name, column in pairs.columns().items()} == {
        "rank": [1, 2], "values": [3.0, 1.0], "residuals": [0.1, 0.2],
    }  # fmt: skip
    one = Estimate(value=2.0, standard_error=0.5, matvecs=4, method="hutchinson", quantity="trace")
    assert one.columns()["value"] == [2.0]
    entries = Diagonal(values=np.ones(3), standard_errors=np.zeros(3), operator="hessian", method="exact", matvecs=3)
    assert list(entries.columns()) == ["values", "standard_errors"]


@pytest.mark.parametrize("name", sorted(export.FORMATS.keys() - {"latex"}))
def test_every_format_refuses_a_place_that_cannot_be_written(name, plane, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LandscapeError, match="cannot write"):
        export.FORMATS[name](plane, tmp_path / "file" / "plane.out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
