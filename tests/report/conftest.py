"""A small study with everything a report shows, and names that try to break it."""

from dataclasses import replace

import numpy as np
import pytest

from landscape import store
from landscape.results import (
    Audit,
    AuditRow,
    Comparison,
    Directions,
    Eigenpairs,
    Estimate,
    Line,
    Path,
    Plane,
    Score,
    Scores,
    SpectralDensity,
)
from landscape.results.comparison import Audited, Gate, Test, Verdict

EVIL = r"Random <script>alert(1)</script> & labels_{x} $\frac{$ 100% #~^"
ORIGIN = {
    "package": "0.1.0", "model": "Sequential", "parameters": 4810, "loss": "cross_entropy()", "dtype": "float64",
    "device": "cpu", "mode": "eval", "examples": 1000, "weights_sha256": "a" * 64, "data_sha256": "b" * 64,
}  # fmt: skip


def comparison() -> Comparison:
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(size=(2, 8, 2, 2)))
    values[:, :, 0, 1] = np.nan
    tests = tuple(
        Test("sgd", "random", score, score == "keskar", "log10", 1.0, 0.5, 1.5, 0.001, 0.002, 1.0, False, True, 8, 8)
        for score in ("lambda-max", "keskar")
    )
    return Comparison(
        recipes=("sgd", "random"), long_names=("SGD", EVIL), scores=("lambda-max", "keskar"),
        radii=np.array([[np.nan, np.nan], [0.001, 0.01]]), values=values, standard_errors=np.full_like(values, np.nan),
        metrics={"train/loss": np.full((2, 8), 0.01)},
        gates=(
            Gate("sgd", "random", "train loss", True, 0.02, 0.1, "train both to the same cross-entropy"),
            Gate("sgd", "random", "gradient", False, 3.0, 1.0, "train on"),
        ),
        tests=tests, verdicts=(Verdict("sgd", "random", "spikier", f"{EVIL} ends in spikier minima."),),
        audited=(Audited("sgd", "keskar", "T1", 4.0, "not invariant"),),
        provenance={**ORIGIN, "level": 0.05, "margin": 0.05, "waive": ("gradient",)},
    )  # fmt: skip


@pytest.fixture(scope="session")
def study_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "study.h5"
    x, y = np.linspace(-1, 1, 5), np.linspace(-1, 1, 4)
    directions = Directions(
        vectors=np.eye(2, 5), norms=np.ones(2), cosines=np.eye(2), direction_kind="gaussian", normalize="filter"
    )
    with store.batch(path) as writer:
        writer.save(comparison(), "main")
        for owner, sharp in (("sgd-0", 1.0), ("random-0", 9.0), ("random-1", 8.0)):
            panel = Scores(
                rows=(
                    Score(name="lambda-max", value=sharp, long_name="largest eigenvalue", invariant_to="T4 T5"),
                    Score(name="keskar", value=0.1 * sharp, standard_error=0.01, radius=0.001),
                ),
                provenance=ORIGIN,
            )
            writer.save(panel, f"{owner}/scores")
            loss = sharp * (x**2 + y[:, None] ** 2)
            plane = Plane(x=x, y=y, values={"train/loss": loss}, computed=np.ones((4, 5)), directions=directions)
            writer.save(plane, f"{owner}/plane")
            for index in range(2):
                writer.save(Line(x=x, values={"train/loss": sharp * x**2}), f"{owner}/line-{index}")
            pairs = Eigenpairs(
                values=np.array([3.0, 2.0]) * sharp, residuals=np.full(2, 0.01), operator="Hessian", which="LA", tol=1e-3,
                matvecs=20, converged=True, certificate="checked", missed_probability=0.3, margin=0.1, check_matvecs=4,
            )  # fmt: skip
            writer.save(pairs, f"{owner}/top2")
        grid = np.linspace(-1, 1, 9)
        density = SpectralDensity(
            grid=grid, density=np.full(9, 0.5), standard_error=np.zeros(9), nodes=np.zeros((3, 4)),
            weights=np.full((3, 4), 0.25), operator="Hessian", width=0.1, size=10, matvecs=12,
        )  # fmt: skip
        writer.save(density, "sgd-0/density")
        writer.save(
            Estimate(value=2.0, standard_error=0.1, matvecs=9, method="xtrace", quantity="trace"), "sgd-0/trace"
        )
        moved = AuditRow(
            score="keskar", radius=0.001, transformation="T1", before=1.0, after=4.0, ratio=4.0, standard_error=None,
            verdict="not invariant", declared=False,
        )  # fmt: skip
        rows = (moved, replace(moved, transformation="T3", ratio=np.nan, verdict="not applicable"))
        writer.save(Audit(rows=rows, examples=100), "sgd-0/audit")
        writer.save(Path(x=np.linspace(0, 1, 5), values={"train/loss": x**2}), "sgd-to-random")
        writer.describe_checkpoint("sgd-0", {"file": "sgd.safetensors", "sha256": "c" * 64})
    return path
