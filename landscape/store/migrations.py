"""Results of earlier schemas, and what makes today's of them.

A result says by which schema version it was written. Fields that were added later with a default need nothing here; a
kind that was renamed, or whose fields changed, has an entry in `MIGRATIONS` under the last version that wrote it so.

Schema 1 had a result class for every study: they are read as `Trials`, the same numbers under the names of today.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from landscape.results import Comparison, Placebo, Result
from landscape.results.comparison import Audited
from landscape.results.effects import Effect, Finding
from landscape.results.trials import ERROR, Trials


@dataclass(frozen=True)
class Old:
    """What the group of an old result holds, read without its class.

    Attributes:
        kind: the name of its class then.
        attributes: by name; of a field of rows the number of rows, of a field of arrays their names.
        arrays: by path below the group.
        columns: of rows, by path below the group: one value per row.
        results: nested ones, by name.
    """

    kind: str
    attributes: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    columns: Mapping[str, list[Any]]
    results: Mapping[str, Result]


@dataclass(frozen=True)
class Migration:
    """How an old kind is read today.

    Attributes:
        kind: the name of its class today, which decides the name that the result goes by.
        read: makes today's result of what the file holds.
    """

    kind: str
    read: Callable[[Old], Result]


def migration_of(kind: Any, version: Any) -> Migration | None:
    """Return how a result is brought to the present schema, or `None` when it is read as it is."""
    if not isinstance(version, int):
        return None
    later = sorted(last for last, kinds in MIGRATIONS.items() if last >= version and kind in kinds)
    return MIGRATIONS[later[0]][kind] if later else None


_NAMES = {
    "variant": "architecture",
    "epochs": "epoch",
    "steps": "step",
    "train_loss": "train/loss",
    "train_accuracy": "train/accuracy",
    "train_error": "train/error",
    "test_loss": "test/loss",
    "test_accuracy": "test/accuracy",
    "test_error": "test/error",
    "lambda_max": "lambda-max",
    "filter_curvature": "filter-curvature",
    "adaptive_worst": "adaptive-worst-linf",
    "adaptive_average": "adaptive-average",
    "log10_volume_error": f"log10 volume{ERROR}",
    "relative_movement": "weight movement",
    "kernel_movement": "kernel change",
    "agreement": "agreement with linearised",
    "lr": "η",
    "momentum": "β",
    "crossing": "crosses at step",
    "late": "last quarter",
    "late_low": "lowest",
    "late_high": "highest",
    "late_batch": "batch",
}
"""What a column of rows is called today; others have spaces for underscores."""


def _trials(old: Old, rows: Sequence[Mapping[str, Any]], factors: Sequence[str], **about: Any) -> Trials:
    """Return trials that say what they were."""
    known = old.attributes
    origin = {**known.get("provenance", {}), "schema": f"1, kind {old.kind}"}
    return Trials.of(
        rows, factors=factors, study=old.kind, provenance=origin, seconds=known.get("seconds", 0.0),
        settings=known.get("settings", {}), **about,
    )  # fmt: skip


def _rows(old: Old, field: str) -> list[dict[str, Any]]:
    """Return the rows of a field under the names of today."""
    prefix = f"{field}/" if any(path.startswith(f"{field}/") for path in old.columns) else ""
    columns = {path.removeprefix(prefix): values for path, values in old.columns.items() if path.startswith(prefix)}
    names = {name: _NAMES.get(name, name.replace("_", " ")) for name in columns if "/" not in name}
    return [dict(zip(names.values(), cells, strict=True)) for cells in zip(*(columns[name] for name in names))]


def _of_rows(field: str, *factors: str) -> Callable[[Old], Trials]:
    """Read a study whose runs were rows, with scores or curves along the runs beside them."""

    def read(old: Old) -> Trials:
        rows = _rows(old, field)
        along = {
            path.removeprefix("scores/"): values for path, values in old.arrays.items() if len(values) == len(rows)
        }
        for i, row in enumerate(rows):
            row |= {_NAMES.get(name, name.replace("_", " ")): values[i] for name, values in along.items()}
            row |= {"descent": f"{row['problem']}, {row['descent']}"} if "descent" in row else {}
        curves = [name.replace("_", " ") for name, values in along.items() if values.ndim > 1]
        return _trials(old, rows, factors, arrays=curves)

    return read


def _architecture(old: Old) -> Trials:
    rows, seen = _rows(old, "rows"), set()
    for row in rows:
        name = row["architecture"]
        if name not in seen:  # planes are those of the first seed
            row |= {
                today: old.arrays[f"{field}/{name}"]
                for field, today in _PLANES.items()
                if f"{field}/{name}" in old.arrays
            }
        seen.add(name)
    grids = {"loss": old.arrays["x"], "eigen ratio": old.arrays["ratio_x"], "beta": old.arrays["epochs"]}
    return _trials(old, rows, ("architecture", "seed"), arrays=tuple(_PLANES.values()), coordinates=grids)


_PLANES = {"beta": "beta", "loss": "loss", "eigen_ratio": "eigen ratio"}


def _guesses(old: Old) -> Trials:
    rows = []
    for found_by, prefix, tried in (("guessing", "", "guesses"), ("SGD", "sgd_", "sgd_networks")):
        accuracy, loss = (old.arrays[prefix + name] for name in ("accuracy", "loss"))
        mean = float(accuracy.mean()) if len(accuracy) else np.nan
        row = {"found by": found_by, "networks": old.attributes[tried], "fit": len(accuracy), "test/accuracy": mean}
        rows.append({**row, "accuracy": accuracy, "loss": loss})
    return _trials(old, rows, ("found by",), arrays=("accuracy", "loss"))


def _grid(old: Old, axes: Mapping[str, Sequence[Any]], fields: Sequence[str]) -> list[dict[str, Any]]:
    """Return one row per cell of a grid; arrays with fewer axes than the grid are the same along the rest."""
    arrays = {path: values for path, values in old.arrays.items() if path.partition("/")[0] in fields}
    rows = []
    for place in product(*(range(len(levels)) for levels in axes.values())):
        row: dict[str, Any] = {name: levels[i] for (name, levels), i in zip(axes.items(), place, strict=True)}
        for path, values in arrays.items():
            field, _, name = path.partition("/")
            if field == "lengths":
                row[name] = values[place[: values.ndim]]
            elif field in ("scores", "errors"):
                score = values[place][: _count(old, name)]
                row[name + (ERROR if field == "errors" else "")] = score if _count(old, name) > 1 else score[0]
            else:
                row[name] = values[place]
        rows.append(row)
    return rows


def _count(old: Old, name: str) -> int:
    return max(1, int(np.isfinite(old.arrays[f"radii/{name.partition('/')[2]}"]).sum()))


def _noise_grid(old: Old, rows: list[dict[str, Any]], factors: Sequence[str], **about: Any) -> Trials:
    """Return a study of label noise; its curves stand with the last place that training got to, or its only one."""
    scores = tuple(old.attributes["scores"])
    radii = {name: old.arrays[f"radii/{name.partition('/')[2]}"] for name in scores}
    curves = {"training loss": "train/loss", "training accuracy": "train/accuracy"}
    steps = [name for name in rows[0] if name.startswith("steps to")]
    shown = ("train/accuracy", "test/error", "step", *steps, *scores)
    return _trials(
        old, rows, factors, arrays=tuple(curves), geometric=scores, shown=shown,
        coordinates={
            **{name: grid[np.isfinite(grid)] for name, grid in radii.items() if np.isfinite(grid).sum() > 1},
            **dict.fromkeys(curves, old.arrays["epochs"]),
        },
        **about,
    )  # fmt: skip


def _curves(old: Old, place: tuple[int, ...]) -> dict[str, np.ndarray]:
    names = {"training loss": "curves/train/loss", "training accuracy": "curves/train/accuracy"}
    return {name: old.arrays[path][place] for name, path in names.items()}


def _randomisation(old: Old) -> Trials:
    conditions, seeds = _rows(old, "conditions"), old.arrays["seeds"].tolist()
    rows = _grid(old, {"condition": range(len(conditions)), "seed": seeds}, ("metrics", "lengths", "scores", "errors"))
    for row in rows:
        i = row["condition"]
        row |= {**_curves(old, (i, seeds.index(row["seed"]))), "condition": conditions[i]["name"]}
        row |= {"inputs": conditions[i]["inputs"], "noise": conditions[i]["noise"]}
    words = {one["name"]: one["long name"] for one in conditions}
    return _noise_grid(old, rows, ("condition", "seed", "inputs", "noise"), words=words)


def _randomisation_table(old: Old) -> Trials:
    recipes, stages = old.attributes["recipes"], old.attributes["stages"]
    noise, seeds = old.arrays["noise"].tolist(), old.arrays["seeds"].tolist()
    axes = {"recipe": recipes, "noise": noise, "seed": seeds, "stage": stages}
    rows = _grid(old, axes, ("metrics", "lengths", "scores", "errors"))
    for i, place in enumerate(product(*map(range, map(len, (recipes, noise, seeds))))):
        last = max(rows[i * len(stages) : (i + 1) * len(stages)], key=lambda row: row["step"])
        last |= _curves(old, place)
    effects = tuple(
        Effect(
            measure=f"{row['evaluation']}/{row['score']}", factor="noise", a=f"{noise[-row['levels']]:g}", b=f"{noise[-1]:g}",
            part=f"{row['recipe']}, {row['stage']}", scale=row["scale"], difference=row["change"], sd=row["spread"],
            p_value=row["p value"], p_holm=row["p holm"], test="Page", tau=row["tau"], runs_a=row["seeds"],
            runs_b=row["seeds"], levels=row["levels"], sign_stable=row["sign stable"], primary=row["primary"],
        )
        for row in _rows(old, "trends")
    )  # fmt: skip
    placebo = old.results.get("placebo")
    findings = [
        *(Finding(f"{row['recipe']}, {row['stage']}", row["text"], row["verdict"]) for row in _rows(old, "verdicts")),
        Finding("audit", old.attributes["audit"]),
    ]
    if isinstance(placebo, Placebo):
        said = [(label, text) for label, text in placebo.summary() if label in ("false alarms", "power")]
        findings += [Finding(f"placebo, {label}", text) for label, text in said]
    at_loss = [name for name in stages if name.startswith("loss-")] or list(stages)
    drawn = [name for name in old.attributes["scores"] if name.startswith(("own/adaptive", "own/inverse"))]
    return _noise_grid(
        old, rows, tuple(axes), parts=("recipe", "stage"), effects=effects, findings=tuple(findings),
        audited=tuple(Audited(**row) for row in _rows(old, "audited")), placebo=placebo,
        words=dict(zip(recipes, old.attributes["long_names"], strict=True)) | {"noise": "p"},
        view={"x": "noise", "hue": "recipe", "where": {"stage": at_loss[-1]}, "y": ["test/error", "step", *drawn]},
    )  # fmt: skip


def _memorisation_test(old: Old) -> Trials:
    runs = old.results["runs"]
    assert isinstance(runs, Trials)
    effects = tuple(
        Effect(
            measure=row["quantity"].replace("test error", "test/error"), factor="condition", a="true-labels",
            b="random-labels", scale="log10", mean_a=np.log10(row["true"]), mean_b=np.log10(row["random"]),
            difference=np.log10(row["ratio"]), low=np.log10(row["low"]), high=np.log10(row["high"]), p_value=row["p value"],
        )
        for row in _rows(old, "contrasts")
    )  # fmt: skip
    findings = (Finding("says", old.attributes["says"]), Finding("does not say", old.attributes["does_not_say"]))
    origin = {**runs.provenance, "schema": f"1, kind {old.kind}"}
    return runs.replace(study=old.kind, effects=effects, findings=findings, view={"effects": True}, provenance=origin)


def _optimisers(old: Old) -> Trials:
    recipes, seeds = old.attributes["recipes"], old.arrays["seeds"].tolist()
    comparison = old.results["comparison"]
    assert isinstance(comparison, Comparison)
    rows = _grid(old, {"recipe": recipes, "seed": seeds}, ("metrics", "relative"))
    coordinates = {}
    for k, name in enumerate(comparison.scores):
        count = max(1, int(np.isfinite(comparison.radii[k]).sum()))
        if count > 1:
            coordinates[name] = comparison.radii[k, :count]
        for row in rows:
            place = (recipes.index(row["recipe"]), seeds.index(row["seed"]), k)
            for end, values in (("", comparison.values), (ERROR, comparison.standard_errors)):
                row[name + end] = values[place][:count] if count > 1 else values[place][0]
    for row in rows:
        i = recipes.index(row["recipe"])
        named = {"η": "lr", "β": "momentum", "batch size": "batch_size", "threshold": "thresholds"}
        row |= {today: old.arrays[name][i] for today, name in named.items()}
    return _trials(
        old, rows, ("recipe", "seed", "η", "β", "batch size"), coordinates=coordinates, comparison=comparison,
        words=dict(zip(recipes, old.attributes["long_names"], strict=True)),
        findings=tuple(Finding(f"{v.b} against {v.a}", v.text, v.verdict) for v in comparison.verdicts),
    )  # fmt: skip


_STUDIES: Mapping[str, Callable[[Old], Trials]] = {
    "architecture": _architecture,
    "basin-volume": _of_rows("rows", "poison", "seed"),
    "double-descent": _of_rows("runs", "width", "seed"),
    "edge-of-stability": _of_rows("runs", "descent", "seed", "problem", "rule"),
    "guess-and-check": _guesses,
    "kernel-regime": _of_rows("runs", "labels", "width", "seed"),
    "large-batch": _of_rows("runs", "matching", "batch", "seed"),
    "memorisation-test": _memorisation_test,
    "optimisers": _optimisers,
    "randomisation": _randomisation,
    "randomisation-table": _randomisation_table,
}
MIGRATIONS: dict[int, dict[str, Migration]] = {1: {kind: Migration("trials", read) for kind, read in _STUDIES.items()}}
"""By the last schema version that wrote a kind in that form, and the kind."""
