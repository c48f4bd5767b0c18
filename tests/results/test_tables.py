"""Tables of results: every kind has one, with the numbers that were measured beside their errors."""

import dataclasses
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from landscape.errors import LandscapeError
from landscape.plots.thumbnails import _decisive
from landscape.results import (
    KINDS,
    Audit,
    AuditRow,
    Comparison,
    CriticalPoint,
    Diagonal,
    Directions,
    Eigenpairs,
    Estimate,
    LayerRow,
    Layers,
    Line,
    Minimum,
    Placebo,
    Plane,
    Reading,
    Result,
    SamplingError,
    ScaleCurvature,
    Score,
    Scores,
    Smoothness,
    SpectralDensity,
    Topology,
    Trajectory,
    Volume,
    printed,
    rows,
)  # fmt: skip
from landscape.results.comparison import WAIVED, Gate, Test
from landscape.tables import Measured

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))
from study_examples import Maker

X = np.linspace(-1, 1, 5)
SPECTRUM = {"operator": "hessian", "matvecs": 9}


def lines(result):
    """The cells below the rule of the text table: two spaces between columns."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in result.table().splitlines()[2:]]


def header(result):
    return [cell.strip() for cell in result.table("markdown").splitlines()[0].split("|")[1:-1]]


def directions(count=2):
    return Directions(norms=np.arange(1.0, count + 1), cosines=np.eye(count), direction_kind="gaussian")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # means of what the schema alone draws: all NaN, or inf − inf
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_shows_itself_in_every_style(kind):
    for seed in range(6):
        result = Maker(seed, sizes=(2, 3, 7)).result(KINDS[kind])
        try:
            repr(result)
            text, *others = (result.table(style) for style in ("text", "markdown", "html", "latex"))
        except (ValueError, KeyError, IndexError, ArithmeticError, TypeError, LandscapeError):
            continue  # numbers that no computation gives
        assert type(result).__name__ in result._repr_html_()
        if text:  # else a table of no stages
            assert [start in other for start, other in zip(("| ", "<table>", r"\toprule"), others, strict=True)] == [
                True
            ] * 3
            assert set((text.splitlines() + [""])[1]) <= {"-", " "}


def test_another_style_is_refused():
    with pytest.raises(LandscapeError, match="a table style of 'rtf', expected one of text, markdown"):
        critical().table("rtf")


def test_eigenvalues_stand_with_residuals_gaps_and_the_bound_that_follows():
    pairs = Eigenpairs(
        values=np.array([4.0, 1.0]), residuals=np.array([0.1, 0.02]), gaps=np.array([2.5, np.nan]), which="LA", tol=1e-3,
        converged=True, **SPECTRUM,
    )  # fmt: skip
    assert lines(pairs) == [["1", "4.00 ± 0.10", "2.5", "0.004"], ["2", "1.000 ± 0.020", "—", "—"]]
    assert lines(pairs.replace(gaps=None))[0] == ["1", "4.00 ± 0.10"]


def test_scores_are_rounded_to_their_error():
    panel = Scores(
        rows=(Score(name="trace", value=0.0099257, standard_error=0.0012), Score(name="margin", value=-1.0673)),
        examples=5,
    )
    assert [line[1] for line in lines(panel)] == ["0.0099 ± 0.0012", "-1.0673"]
    assert dict(panel.summary())["trace"] == "0.0099 ± 0.0012"
    tiny = Scores(rows=(Score(name="trace", value=1.5e-7, standard_error=2e-9),), examples=5)
    assert lines(tiny)[0][1] == "(1.500 ± 0.020)e-7"


def test_an_audit_marks_what_did_not_move_and_shows_errors_of_what_may_have():
    def row(transformation, verdict, after, error=0.1, compared="ratio"):
        return AuditRow(
            score="trace", radius=None, transformation=transformation, before=2.0, after=after, ratio=after / 2.0,
            standard_error=error, verdict=verdict, declared=False, compared=compared,
        )  # fmt: skip

    audit = Audit(
        rows=(
            row("T1", "invariant", 2.0), row("T2", "within error", 2.1), row("T3", "not applicable", np.nan),
            row("T4", "not invariant", 8.0, None), row("T5", "not invariant", 1.5, None, "difference"),
        )
    )  # fmt: skip
    assert lines(audit) == [["trace", "1 =", "1.05 ± 0.10 ≈", "—", "4", "-0.5"]]
    assert audit.measured("trace") == "T1 =, T2 ≈, T4 ×4, T5 −0.5"


def test_layers_stand_with_all_three_errors_and_exact_ones_without():
    rows = (
        LayerRow("0.weight", 6, 2.0, 0.1, 3.0, 0.2, 0.75, 0.05),
        LayerRow("0.bias", 2, 1.0, 0.0, 1.0, 0.0, 0.25, 0.0),
    )
    layers = Layers(rows=rows, missed=0.1, missed_error=0.0, tol=1e-3, converged=True, probes=0, passes=1, **SPECTRUM)
    assert lines(layers) == [
        ["0.weight", "6", "2.00 ± 0.10", "3.00 ± 0.20", "75.0% ± 5.0%"],
        ["0.bias", "2", "1", "1", "25.0%"],
    ]
    assert "±" not in dict(layers.summary())["missed by the block diagonal"]


def test_a_line_has_one_line_per_point():
    line = Line(x=X, values={"train/loss": X**2, "train/accuracy": np.full(5, 0.5)})
    assert header(line) == ["x", "train/loss", "train/accuracy"]
    assert lines(line)[1] == ["-0.5", "0.25", "0.5"]
    assert len(lines(line)) == 5


def test_a_plane_has_one_line_per_metric_with_where_its_ends_are():
    loss = (X - 0.5) ** 2 + 2 * (X[:, None] + 0.5) ** 2  # rows are y
    plane = Plane(x=X, y=X, values={"train/loss": loss}, computed=np.ones((5, 5)))
    assert lines(plane) == [["train/loss", "0.75", "0", "(0.5, -0.5)", "6.75", "(-1, 1)"]]
    away = plane.replace(x=X + 0.25, values={"train/loss": np.where(loss > 6, np.inf, loss)})
    assert lines(away) == [["train/loss", "—", "0", "(0.75, -0.5)", "5.5", "(-0.25, 1)"]]
    nothing = plane.replace(values={"train/loss": np.full((5, 5), np.nan)})
    assert lines(nothing) == [["train/loss", "—", "—", "—", "—", "—"]]


def test_a_volume_names_three_coordinates_and_its_frame_has_x_fastest():
    value = X[:, None, None] * 100 + X[:, None] * 10 + X
    volume = Volume(x=X, y=X, z=X, values={"train/loss": value}, computed=np.ones((5, 5, 5)), directions=directions(3))
    assert lines(volume) == [["train/loss", "0", "-111", "(-1, -1, -1)", "111", "(1, 1, 1)"]]
    columns = volume.columns()
    assert np.allclose(columns["train/loss"], columns["x"] + 10 * columns["y"] + 100 * columns["z"])
    assert columns["x"][:3].tolist() == [-1.0, -0.5, 0.0]
    assert dict(volume.summary())["directions"] == "gaussian, not normalised"


def test_directions_stand_with_lengths_and_angles():
    assert lines(directions()) == [["1", "1", "1.000", "0.000"], ["2", "2", "0.000", "1.000"]]


def test_a_diagonal_shows_its_order_statistics():
    values = np.random.default_rng(0).permutation(101) / 10
    diagonal = Diagonal(values=values, standard_errors=np.full(101, 0.1), method="hutchinson", **SPECTRUM)
    shown = {label: (int(index), entry) for label, index, entry in lines(diagonal)}
    assert [entry for _, entry in shown.values()] == [
        f"{v:.2f} ± 0.10" for v in (0, 0.5, 2.5, 5, 7.5, 9.5, 10)
    ]  # fmt: skip
    assert values[shown["largest"][0]] == 10


def density(values, error, **more):
    grid = np.linspace(-1, 1, 201)
    return SpectralDensity(
        grid=grid, density=values(grid), standard_error=np.full(201, error), nodes=np.zeros((1, 2)), weights=np.ones((1, 2)),
        width=0.1, size=10, **SPECTRUM, **more,
    )  # fmt: skip


def bumps(grid):
    return np.exp(-0.5 * ((grid + 0.5) / 0.1) ** 2) + 0.3 * np.exp(-0.5 * ((grid - 0.5) / 0.1) ** 2)


def test_a_density_lists_outliers_and_peaks_above_their_error():
    found = density(bumps, 0.1, outliers=np.array([7.0, 9.0]))
    assert lines(found) == [
        ["outlier", "9", "one eigenvalue"],
        ["outlier", "7", "one eigenvalue"],
        ["peak", "-0.5", "1.00 ± 0.10"],
        ["peak", "0.5", "0.30 ± 0.10"],
    ]
    assert [line[1] for line in lines(density(bumps, 0.2))] == ["-0.5"]
    assert [line[1] for line in lines(density(bumps, np.nan))] == ["-0.5", "0.5"]


def test_a_density_counts_peaks_at_its_ends_and_negative_ones_on_a_logarithmic_axis():
    assert [line[1] for line in lines(density(lambda grid: 1 - grid, 0.01))] == ["-1"]
    found = density(bumps, 0.0, axis="log")
    both = found.replace(
        grid=10.0**found.grid, negative_density=found.density[::-1], negative_standard_error=found.standard_error
    )
    assert header(both)[-1] == "density per decade ± s.e."
    assert [float(line[1]) > 0 for line in lines(both)] == [True, True, False, False]


def test_minima_stand_in_their_coordinates_only():
    minimum = Minimum(
        x=0.5, y=None, z=None, value=0.1, saddle=np.inf, persistence=np.inf, basin_share=1.0, boundary=True
    )
    found = Topology(
        minima=(minimum,), tree=(), smad=np.nan, smad_normalised=np.nan, smad_weighted=np.nan, min_persistence=0.0,
        metric="train/loss", window=((-1.0, 1.0),), resolution=(5,),
    )  # fmt: skip
    assert lines(found) == [["0.5", "0.1", "∞", "∞", "100.0%", "yes"]]
    assert header(found)[0] == "x"
    assert "y" not in header(found)


@pytest.fixture
def reading():
    return Reading(
        metric="train/loss", centre=1.0, lowest=0.5, curvature=(2.0, 3.0), hessian=(2.5, 3.5), asymmetry=(0.0, 0.1),
        half_widths={"0.1": ((0.3, np.inf), (0.4, 0.5))}, roughness=(0.0, 0.2), total_variation=0.05, nonconvex=0.25,
        volume_fraction={"0.1": 0.125}, window=((-1.0, 1.0), (-2.0, 2.0)), resolution=(5, 7), masked=2,
    )  # fmt: skip


def test_a_reading_has_one_line_per_axis(reading):
    assert lines(reading) == [
        ["x", "2", "2.5", "0.3", "∞", "0", "0"],
        ["y", "3", "3.5", "0.4", "0.5", "0.1", "0.2"],
    ]
    assert "hessian" not in header(reading.replace(hessian=None))
    assert reading.columns()["half_width_plus/0.1"] == [np.inf, 0.5]
    assert reading.columns()["hessian"] == [2.5, 3.5]


def test_a_reading_prints_words_instead_of_its_fields(reading):
    told = dict(reading.summary())
    assert (told["at the centre"], told["at the lowest point"]) == ("1", "0.5")
    assert told["half-widths by level"] == "0.1: (0.3, inf), (0.4, 0.5)"
    assert told["not convex"] == "25.0%"
    assert told["share of the window by level"] == "0.1: 12.5%"


def test_scales_stand_with_their_rounding_error():
    curvature = ScaleCurvature(
        h=np.array([0.1, 1.0]), kappa=np.array([2.0, 3.0]), rounding=np.array([0.5, 0.0]), hessian=2.1
    )
    assert lines(curvature) == [["0.1", "2.00 ± 0.50"], ["1", "3"]]
    assert list(curvature.columns()) == ["h", "kappa", "rounding"]


def test_a_trajectory_has_one_line_per_checkpoint():
    run = Trajectory(
        directions=directions(), points=np.array([[3.0, 4.0], [0.0, 0.0]]), off_plane=np.array([0.5, 0.0]),
        explained=np.array([0.9, 0.1]), values={"train/loss": np.array([2.0, 1.0])},
    )  # fmt: skip
    assert lines(run) == [["0", "3", "4", "0.5", "2"], ["1", "0", "0", "0", "1"]]
    assert {name: list(column) for name, column in run.columns().items()} == {
        "along_1": [3.0, 0.0], "along_2": [4.0, 0.0], "off_plane": [0.5, 0.0], "train/loss": [2.0, 1.0],
    }  # fmt: skip


def test_smoothness_has_one_line_per_point_of_the_run():
    found = Smoothness(
        eta=np.array([0.1, 0.2]), loss=np.array([[1.0, 0.5]]), gradient_change=np.array([[0.2, 0.1]]),
        gradient_norm=np.array([2.0]), beta=np.array([1.5]),
    )  # fmt: skip
    assert lines(found) == [["1", "2", "1.5", "0.5", "1", "0.1", "0.2"]]
    assert found.columns()["beta"].tolist() == [1.5]


def test_sampling_errors_stand_beside_their_eigenvalues():
    found = SamplingError(
        values=np.array([2.0, 1.0]), standard_errors=np.array([0.1, 0.2]), bootstrap=np.ones((3, 2)), trace=1.0,
        trace_error=0.1, trace_probe_error=0.1, subset_sizes=np.array([10, 5]), subset_means=np.array([2.0, 2.5]), bias=0.1,
        bias_error=0.1, n=10, groups=5, tol=0.1, enough=True, needed=10, verdict="enough", operator="hessian",
    )  # fmt: skip
    assert lines(found) == [["1", "2.00 ± 0.10", "5.0%"], ["2", "1.00 ± 0.20", "20.0%"]]
    assert list(found.columns()) == ["rank", "values", "standard_errors"]
    told = dict(found.summary())
    assert told["eigenvalues"] == "2.00 ± 0.10, 1.00 ± 0.20"
    assert told["largest on subsets"] == "2.5 on 5, 2 on 10"
    assert told["trace"] == "1.00 ± 0.10 (examples) ± 0.1 (probes)"


def test_a_placebo_has_one_line_per_shift():
    found = Placebo(
        shifts=np.array([0.0, 1.0]), called=np.array([0.02, 0.9]), significant=np.array([[0.05, 0.95]]), scores=("keskar",),
        recipe="sgd", seeds=16, arm=8, resamples=200, level=0.05,
    )  # fmt: skip
    assert lines(found) == [["× 1.00", "2.00%", "5.00%"], ["× 10.00", "90.00%", "95.00%"]]
    assert list(found.columns()) == ["shift", "called", "called_error", "significant/keskar"]


def critical(**errors):
    return CriticalPoint(
        loss=0.1, gradient_norm=0.0, noise_ratio=0.5, lambda_max=2.0, lambda_min=-0.5, negative_mass=0.2, critical=True,
        verdict="saddle", products=9,
        **{"lambda_max_error": 0.0, "lambda_min_error": 0.0, "negative_mass_error": 0.0} | errors,
    )  # fmt: skip


def test_what_was_computed_exactly_shows_no_error():
    told = dict(critical().summary())
    assert (told["largest eigenvalue"], told["smallest eigenvalue"]) == ("2", "-0.5")
    assert told["negative share of the spectrum"] == "20.00%"
    told = dict(critical(lambda_max_error=0.1, lambda_min_error=0.01, negative_mass_error=0.015).summary())
    assert (told["largest eigenvalue"], told["smallest eigenvalue"]) == ("2.00 ± 0.10", "-0.500 ± 0.010")
    assert told["negative share of the spectrum"] == "20.00% ± 1.50%"
    assert next(critical().summary()) == ("verdict", "saddle")


def test_one_probe_is_told_to_show_no_spread():
    one = Estimate(value=2.0, standard_error=np.nan, method="hutchinson", quantity="trace", **SPECTRUM)
    assert dict(one.summary())["trace"] == "2"
    assert dict(one.summary())["error"] == "unknown: one probe shows no spread"
    exact = one.replace(standard_error=0.0, error_kind="exact")
    assert "error" not in dict(exact.summary())
    assert dict(exact.replace(standard_error=0.25).summary())["trace"] == "2.00 ± 0.25"


def test_only_tables_that_add_to_the_numbers_are_folded_below_them():
    assert "<summary>table</summary>" not in critical()._repr_html_()
    assert "<summary>table</summary>" in Line(x=X, values={"train/loss": X**2})._repr_html_()


def gate(name, passed, note=""):
    return Gate(a="a", b="b", gate=name, passed=passed, value=2.0, limit=1.0, note=note)


def compared(**changes):
    return Comparison(**{
        "recipes": ("a", "b"), "long_names": ("A", "B"), "scores": ("trace",), "radii": np.array([[np.nan]]),
        "values": np.ones((2, 1, 1, 1)), "standard_errors": np.zeros((2, 1, 1, 1)), "metrics": {}, "gates": (), "tests": (),
        "verdicts": (), "audited": (),
    } | changes)  # fmt: skip


def test_a_comparison_says_which_gates_failed_and_which_were_waived():
    gates = (gate("seeds", True, "six at least"), gate("gradient", True, WAIVED), gate("train loss", False))
    assert dict(compared(gates=gates).summary())["gates"] == "failed: train loss; waived by the user: gradient"
    assert dict(compared(gates=gates[:2]).summary())["gates"] == "waived by the user: gradient"
    [table] = compared(gates=gates).conditions()
    assert [(row[0], row[1], row[4]) for row in table.rows] == [
        ("seeds", "passed", "six at least"), ("gradient", "waived", ""), ("train loss", "failed", ""),
    ]  # fmt: skip
    assert dict(compared(gates=gates[:1]).summary())["gates"] == "all passed"


def test_the_picture_of_a_comparison_holds_the_scores_that_decide():
    row = Test(
        a="a", b="b", score="trace", primary=False, scale="log10", difference=1.0, low=0.5, high=1.5, p_value=None,
        p_holm=None, superiority=1.0, equivalent=False, sign_stable=True, seeds_a=8, seeds_b=8,
    )  # fmt: skip
    deciding = dataclasses.replace(row, score="adaptive-average", primary=True)
    assert _decisive(compared(tests=(row, deciding))) == [deciding]
    alone = compared(tests=(row,))
    assert _decisive(alone) is alone


def test_scores_that_are_metrics_as_well_stand_in_one_table_only():
    both = compared(scores=("loss",), metrics={"train/loss": np.ones((2, 1))})
    assert [row[0] for row in both.overview().rows] == ["train/loss"]
    assert [row[0] for row in compared().overview().rows] == ["trace"]


@dataclasses.dataclass(frozen=True)
class Run:
    name: str
    width: int
    value: float
    standard_error: float
    trace: float | None
    trace_error: float
    share: float = dataclasses.field(metadata=printed("part", percent=1))
    fitted: bool
    parts: tuple[int, ...]
    remark: str = dataclasses.field(default="kept", metadata=printed(hidden=True))
    empty: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Runs(Result):
    """Runs of a program."""

    kind: ClassVar[str] = "runs"
    location: ClassVar[str] = "experiments/{entry}"
    first_runs: tuple[Run, ...] = rows(Run)
    others: tuple[Run, ...] | None = rows(Run, optional=True)


del KINDS["runs"]  # no other test should meet it


def test_a_table_is_read_off_the_schema_with_errors_beside_their_numbers():
    run = Run("a", np.int64(3), np.float32(1.5), 0.1, 2.0, 0.2, 0.25, np.bool_(True), (1, 2))
    [table] = Runs(first_runs=(run, run)).tables()
    assert table.title == "Runs of a program"
    assert table.columns == ("name", "width", "value", "trace", "part", "fitted", "parts")
    assert table.rows[0] == (
        "a", 3, Measured(1.5, 0.1), Measured(2.0, 0.2), Measured(0.25, percent=1), "yes", "1, 2"
    )  # fmt: skip
    first, second = Runs(first_runs=(run,) * 5, others=(run,)).tables()
    assert (first.title, len(first.rows), second.title, len(second.rows)) == ("First runs", 5, "Others", 1)
    assert (len(first.head(2).rows), first.head(2).note, first.head(5)) == (2, "The first 2 of 5 rows.", first)
    unknown = dataclasses.replace(run, trace=float("nan"))
    assert "trace" not in Runs(first_runs=(unknown,)).tables()[0].columns
