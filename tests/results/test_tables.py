"""Tables of results: every kind has one, with the numbers that were measured beside their errors."""

import dataclasses
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from landscape import results as r
from landscape.errors import LandscapeError
from landscape.plots.thumbnails import _decisive
from landscape.results.comparison import WAIVED, Gate, Test
from landscape.tables import Measured

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))
from study_examples import Maker

X = np.linspace(-1, 1, 5)
NAN, INF, A = np.nan, np.inf, np.array
SPECTRUM = {"operator": "hessian", "matvecs": 9}
LOSS = (X - 0.5) ** 2 + 2 * (X[:, None] + 0.5) ** 2  # rows are y


def lines(result):
    """The cells below the rule of the text table: two spaces between columns."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in result.table().splitlines()[2:]]


def header(result):
    return [cell.strip() for cell in result.table("markdown").splitlines()[0].split("|")[1:-1]]


def directions(count=2):
    return r.Directions(norms=np.arange(1.0, count + 1), cosines=np.eye(count), direction_kind="gaussian")


def critical(**errors):
    return r.CriticalPoint(
        loss=0.1, gradient_norm=0.0, noise_ratio=0.5, lambda_max=2.0, lambda_min=-0.5, negative_mass=0.2, critical=True,
        verdict="saddle", products=9,
        **{"lambda_max_error": 0.0, "lambda_min_error": 0.0, "negative_mass_error": 0.0} | errors,
    )  # fmt: skip


def audited(transformation, verdict, after, error=0.1, compared="ratio"):
    return r.AuditRow(
        score="trace", radius=None, transformation=transformation, before=2.0, after=after, ratio=after / 2.0,
        standard_error=error, verdict=verdict, declared=False, compared=compared,
    )  # fmt: skip


def density(values, error, **more):
    grid = np.linspace(-1, 1, 201)
    return r.SpectralDensity(
        grid=grid, density=values(grid), standard_error=np.full(201, error), nodes=np.zeros((1, 2)), weights=np.ones((1, 2)),
        width=0.1, size=10, **SPECTRUM, **more,
    )  # fmt: skip


def bumps(grid):
    return np.exp(-0.5 * ((grid + 0.5) / 0.1) ** 2) + 0.3 * np.exp(-0.5 * ((grid - 0.5) / 0.1) ** 2)


PAIRS = r.Eigenpairs(
    values=A([4.0, 1.0]), residuals=A([0.1, 0.02]), gaps=A([2.5, NAN]), which="LA", tol=1e-3, converged=True, **SPECTRUM
)
PLANE = r.Plane(x=X, y=X, values={"train/loss": LOSS}, computed=np.ones((5, 5)))
LAYERS = r.Layers(
    rows=(r.LayerRow("0.weight", 6, 2.0, 0.1, 3.0, 0.2, 0.75, 0.05), r.LayerRow("0.bias", 2, 1.0, 0.0, 1.0, 0.0, 0.25, 0.0)),
    missed=0.1, missed_error=0.0, tol=1e-3, converged=True, probes=0, passes=1, **SPECTRUM,
)  # fmt: skip
TOPOLOGY = r.Topology(
    minima=(r.Minimum(0.5, None, None, 0.1, INF, INF, 1.0, True),), tree=(), smad=NAN, smad_normalised=NAN,
    smad_weighted=NAN, min_persistence=0.0, metric="train/loss", window=((-1.0, 1.0),), resolution=(5,),
)  # fmt: skip
READING = r.Reading(
    metric="train/loss", centre=1.0, lowest=0.5, curvature=(2.0, 3.0), hessian=(2.5, 3.5), asymmetry=(0.0, 0.1),
    half_widths={"0.1": ((0.3, INF), (0.4, 0.5))}, roughness=(0.0, 0.2), total_variation=0.05, nonconvex=0.25,
    volume_fraction={"0.1": 0.125}, window=((-1.0, 1.0), (-2.0, 2.0)), resolution=(5, 7), masked=2,
)  # fmt: skip
ONE = r.Estimate(value=2.0, standard_error=NAN, method="hutchinson", quantity="trace", **SPECTRUM)
EXAMPLES = {
    # what: (result, its table, what its columns are called, part of its summary)
    "eigenvalues with residuals, gaps and the bound that follows": (
        PAIRS, [["1", "4.00 ± 0.10", "2.5", "0.004"], ["2", "1.000 ± 0.020", "—", "—"]],
        ["rank", "values", "residuals", "gaps"], {},
    ),
    "eigenvalues without gaps": (PAIRS.replace(gaps=None), [["1", "4.00 ± 0.10"], ["2", "1.000 ± 0.020"]], None, {}),
    "scores rounded to their error": (
        r.Scores(rows=(r.Score(name="trace", value=0.0099257, standard_error=0.0012), r.Score(name="margin", value=-1.0673))),
        [["trace", "0.0099 ± 0.0012", "0", "ok"], ["margin", "-1.0673", "0", "ok"]], None, {"trace": "0.0099 ± 0.0012"},
    ),
    "a tiny score": (
        r.Scores(rows=(r.Score(name="trace", value=1.5e-7, standard_error=2e-9),)),
        [["trace", "(1.500 ± 0.020)e-7", "0", "ok"]], None, {},
    ),
    "an audit marks what did not move": (
        r.Audit(rows=(
            audited("T1", "invariant", 2.0), audited("T2", "within error", 2.1), audited("T3", "not applicable", NAN),
            audited("T4", "not invariant", 8.0, None), audited("T5", "not invariant", 1.5, None, "difference"),
        )),
        [["trace", "1 =", "1.05 ± 0.10 ≈", "—", "4", "-0.5"]], None, {"trace": "survives T1, T2"},
    ),
    "layers with all three errors, exact ones without": (
        LAYERS, [["0.weight", "6", "2.00 ± 0.10", "3.00 ± 0.20", "75.0% ± 5.0%"], ["0.bias", "2", "1", "1", "25.0%"]],
        None, {"missed by the block diagonal": "10.0%"},
    ),
    "a line": (
        r.Line(x=X[:2], values={"train/loss": X[:2] ** 2, "train/accuracy": np.full(2, 0.5)}),
        [["-1", "1", "0.5"], ["-0.5", "0.25", "0.5"]], ["x", "train/loss", "train/accuracy"], {},
    ),
    "a plane with where its ends are": (
        PLANE, [["train/loss", "0.75", "0", "(0.5, -0.5)", "6.75", "(-1, 1)"]], ["x", "y", "train/loss", "computed"], {},
    ),
    "a plane away from the origin, with what is infinite": (
        PLANE.replace(x=X + 0.25, values={"train/loss": np.where(LOSS > 6, INF, LOSS)}),
        [["train/loss", "—", "0", "(0.75, -0.5)", "5.5", "(-0.25, 1)"]], None, {},
    ),
    "a plane of nothing": (
        PLANE.replace(values={"train/loss": np.full((5, 5), NAN)}), [["train/loss", *"—————"]], None, {},
    ),
    "a volume": (
        r.Volume(x=X, y=X, z=X, values={"train/loss": X[:, None, None] * 100 + X[:, None] * 10 + X},
                 computed=np.ones((5, 5, 5)), directions=directions(3)),
        [["train/loss", "0", "-111", "(-1, -1, -1)", "111", "(1, 1, 1)"]], None, {"directions": "gaussian, not normalised"},
    ),
    "directions with lengths and angles": (directions(), [["1", "1", "1.000", "0.000"], ["2", "2", "0.000", "1.000"]], None, {}),
    "a density lists outliers and peaks above their error": (
        density(bumps, 0.1, outliers=A([7.0, 9.0])),
        [["outlier", "9", "one eigenvalue"], ["outlier", "7", "one eigenvalue"], ["peak", "-0.5", "1.00 ± 0.10"],
         ["peak", "0.5", "0.30 ± 0.10"]], None, {},
    ),
    "a density of large errors": (density(bumps, 0.2), [["peak", "-0.5", "1.00 ± 0.20"]], None, {}),
    "a density of one probe": (density(bumps, NAN), [["peak", "-0.5", "1"], ["peak", "0.5", "0.3"]], None, {}),
    "a density whose peak is at its end": (density(lambda grid: 1 - grid, 0.01), [["peak", "-1", "2.000 ± 0.010"]], None, {}),
    "minima in their coordinates only": (TOPOLOGY, [["0.5", "0.1", "∞", "∞", "100.0%", "yes"]], None, {}),
    "a reading per axis": (
        READING, [["x", "2", "2.5", "0.3", "∞", "0", "0"], ["y", "3", "3.5", "0.4", "0.5", "0.1", "0.2"]],
        ["axis", "curvature", "hessian", "half_width_minus/0.1", "half_width_plus/0.1", "asymmetry", "roughness"],
        {"at the centre": "1", "at the lowest point": "0.5", "half-widths by level": "0.1: (0.3, inf), (0.4, 0.5)",
         "not convex": "25.0%", "share of the window by level": "0.1: 12.5%"},
    ),
    "scales with their rounding error": (
        r.ScaleCurvature(h=A([0.1, 1.0]), kappa=A([2.0, 3.0]), rounding=A([0.5, 0.0]), hessian=2.1),
        [["0.1", "2.00 ± 0.50"], ["1", "3"]], ["h", "kappa", "rounding"], {},
    ),
    "a trajectory per checkpoint": (
        r.Trajectory(directions=directions(), points=A([[3.0, 4.0], [0.0, 0.0]]), off_plane=A([0.5, 0.0]),
                     explained=A([0.9, 0.1]), values={"train/loss": A([2.0, 1.0])}),
        [["0", "3", "4", "0.5", "2"], ["1", "0", "0", "0", "1"]], ["along_1", "along_2", "off_plane", "train/loss"], {},
    ),
    "smoothness per point": (
        r.Smoothness(eta=A([0.1, 0.2]), loss=A([[1.0, 0.5]]), gradient_change=A([[0.2, 0.1]]), gradient_norm=A([2.0]),
                     beta=A([1.5])),
        [["1", "2", "1.5", "0.5", "1", "0.1", "0.2"]], ["point", "gradient_norm", "beta"], {},
    ),
    "sampling errors": (
        r.SamplingError(
            values=A([2.0, 1.0]), standard_errors=A([0.1, 0.2]), bootstrap=np.ones((3, 2)), trace=1.0, trace_error=0.1,
            trace_probe_error=0.1, subset_sizes=A([10, 5]), subset_means=A([2.0, 2.5]), bias=0.1, bias_error=0.1, n=10,
            groups=5, tol=0.1, enough=True, needed=10, verdict="enough", operator="hessian",
        ),
        [["1", "2.00 ± 0.10", "5.0%"], ["2", "1.00 ± 0.20", "20.0%"]], ["rank", "values", "standard_errors"],
        {"eigenvalues": "2.00 ± 0.10, 1.00 ± 0.20", "largest on subsets": "2.5 on 5, 2 on 10",
         "trace": "1.00 ± 0.10 (examples) ± 0.1 (probes)"},
    ),
    "a placebo per shift": (
        r.Placebo(shifts=A([0.0, 1.0]), called=A([0.02, 0.9]), significant=A([[0.05, 0.95]]), scores=("keskar",), recipe="sgd",
                  seeds=16, arm=8, resamples=200, level=0.05),
        [["× 1.00", "2.00%", "5.00%"], ["× 10.00", "90.00%", "95.00%"]],
        ["shift", "called", "called_error", "significant/keskar"], {},
    ),
    "one probe": (ONE, [["trace", "2", "hutchinson", "9"]], None, {"trace": "2", "error": "unknown: one probe shows no spread"}),
    "several probes": (
        ONE.replace(standard_error=0.25), [["trace", "2.00 ± 0.25", "hutchinson", "9"]], None, {"trace": "2.00 ± 0.25"},
    ),
    "what was computed exactly": (
        critical(), None, None,
        {"largest eigenvalue": "2", "smallest eigenvalue": "-0.5", "negative share of the spectrum": "20.00%"},
    ),
    "what was not": (
        critical(lambda_max_error=0.1, lambda_min_error=0.01, negative_mass_error=0.015), None, None,
        {"largest eigenvalue": "2.00 ± 0.10", "smallest eigenvalue": "-0.500 ± 0.010",
         "negative share of the spectrum": "20.00% ± 1.50%"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("result", "table", "columns", "told"), EXAMPLES.values(), ids=EXAMPLES)
def test_what_stands_in_table_columns_and_summary(result, table, columns, told):
    assert table is None or lines(result) == table
    assert columns is None or list(result.columns()) == columns
    assert dict(result.summary()).items() >= told.items()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # means of what the schema alone draws: all NaN, or inf − inf
@pytest.mark.parametrize("kind", r.KINDS)
def test_every_kind_shows_itself_in_every_style(kind):
    for seed in range(6):
        result = Maker(seed, sizes=(2, 3, 7)).result(r.KINDS[kind])
        try:
            repr(result)
            text, *others = (result.table(style) for style in ("text", "markdown", "html", "latex"))
        except (ValueError, KeyError, IndexError, ArithmeticError, TypeError, LandscapeError):
            continue  # numbers that no computation gives
        assert type(result).__name__ in result._repr_html_()
        if text:  # else a table of no stages
            assert all(start in other for start, other in zip(("| ", "<table>", r"\toprule"), others, strict=True))
            assert set((text.splitlines() + [""])[1]) <= {"-", " "}


def test_another_style_is_refused():
    with pytest.raises(LandscapeError, match="a table style of 'rtf', expected one of text, markdown"):
        critical().table("rtf")


def test_headings_name_what_is_there_and_nothing_else():
    assert header(EXAMPLES["a line"][0]) == ["x", "train/loss", "train/accuracy"]
    assert header(TOPOLOGY)[:2] == ["x", "value"]
    assert "hessian" not in header(READING.replace(hessian=None))
    assert EXAMPLES["an audit marks what did not move"][0].measured("trace") == "T1 =, T2 ≈, T4 ×4, T5 −0.5"
    assert "error" not in dict(ONE.replace(standard_error=0.0, error_kind="exact").summary())
    assert next(critical().summary()) == ("verdict", "saddle")


def test_columns_of_a_volume_have_x_fastest():
    columns = EXAMPLES["a volume"][0].columns()
    assert np.allclose(columns["train/loss"], columns["x"] + 10 * columns["y"] + 100 * columns["z"])
    assert columns["x"][:3].tolist() == [-1.0, -0.5, 0.0]


def test_a_diagonal_shows_its_order_statistics():
    values = np.random.default_rng(0).permutation(101) / 10
    diagonal = r.Diagonal(values=values, standard_errors=np.full(101, 0.1), method="hutchinson", **SPECTRUM)
    shown = {label: (int(index), entry) for label, index, entry in lines(diagonal)}
    expected = [f"{v:.2f} ± 0.10" for v in (0, 0.5, 2.5, 5, 7.5, 9.5, 10)]
    assert [entry for _, entry in shown.values()] == expected
    assert values[shown["largest"][0]] == 10


def test_a_density_counts_negative_peaks_on_a_logarithmic_axis():
    found = density(bumps, 0.0, axis="log")
    both = found.replace(
        grid=10.0**found.grid, negative_density=found.density[::-1], negative_standard_error=found.standard_error
    )
    assert header(both)[-1] == "density per decade ± s.e."
    assert [float(line[1]) > 0 for line in lines(both)] == [True, True, False, False]


def test_only_tables_that_add_to_the_numbers_are_folded_below_them():
    assert "<summary>table</summary>" not in critical()._repr_html_()
    assert "<summary>table</summary>" in r.Line(x=X, values={"train/loss": X**2})._repr_html_()


def compared(**changes):
    return r.Comparison(**{
        "recipes": ("a", "b"), "long_names": ("A", "B"), "scores": ("trace",), "radii": np.array([[NAN]]),
        "values": np.ones((2, 1, 1, 1)), "standard_errors": np.zeros((2, 1, 1, 1)), "metrics": {}, "gates": (), "tests": (),
        "verdicts": (), "audited": (),
    } | changes)  # fmt: skip


def test_a_comparison_says_which_gates_failed_and_which_were_waived():
    def gate(name, passed, note=""):
        return Gate(a="a", b="b", gate=name, passed=passed, value=2.0, limit=1.0, note=note)

    gates = (gate("seeds", True, "six at least"), gate("gradient", True, WAIVED), gate("train loss", False))
    assert dict(compared(gates=gates).summary())["gates"] == "failed: train loss; waived by the user: gradient"
    assert dict(compared(gates=gates[:2]).summary())["gates"] == "waived by the user: gradient"
    assert dict(compared(gates=gates[:1]).summary())["gates"] == "all passed"
    [table] = compared(gates=gates).conditions()
    assert [(row[0], row[1], row[4]) for row in table.rows] == [
        ("seeds", "passed", "six at least"), ("gradient", "waived", ""), ("train loss", "failed", ""),
    ]  # fmt: skip


def test_the_picture_of_a_comparison_holds_the_scores_that_decide():
    row = Test("a", "b", "trace", False, "log10", 1.0, 0.5, 1.5, None, None, 1.0, False, True, 8, 8)
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
    share: float = dataclasses.field(metadata=r.printed("part", percent=1))
    fitted: bool
    parts: tuple[int, ...]
    remark: str = dataclasses.field(default="kept", metadata=r.printed(hidden=True))
    empty: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Runs(r.Result):
    """Runs of a program."""

    kind: ClassVar[str] = "runs"
    location: ClassVar[str] = "experiments/{entry}"
    first_runs: tuple[Run, ...] = r.rows(Run)
    others: tuple[Run, ...] | None = r.rows(Run, optional=True)


del r.KINDS["runs"]  # no other test should meet it


def test_a_table_is_read_off_the_schema_with_errors_beside_their_numbers():
    run = Run("a", np.int64(3), np.float32(1.5), 0.1, 2.0, 0.2, 0.25, np.bool_(True), (1, 2))
    [table] = Runs(first_runs=(run, run)).tables()
    assert table.title == "Runs of a program"
    assert table.columns == ("name", "width", "value", "trace", "part", "fitted", "parts")
    expected = ("a", 3, Measured(1.5, 0.1), Measured(2.0, 0.2), Measured(0.25, percent=1), "yes", "1, 2")
    assert table.rows[0] == expected
    first, second = Runs(first_runs=(run,) * 5, others=(run,)).tables()
    assert (first.title, len(first.rows), second.title, len(second.rows)) == ("First runs", 5, "Others", 1)
    assert (len(first.head(2).rows), first.head(2).note, first.head(5)) == (2, "The first 2 of 5 rows.", first)
    unknown = dataclasses.replace(run, trace=float("nan"))
    assert "trace" not in Runs(first_runs=(unknown,)).tables()[0].columns
